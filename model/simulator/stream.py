"""Many sessions at once, as one stream at an exact rate.

Event k of the stream is due k / rate seconds after the start. At each such moment the open session whose next event
has waited longest has it; if none is due, a new session begins. So sessions begin exactly as often as the rate
needs, pauses inside a session are its own (to a few moments), and nothing has to be tuned. The stream starts in the
middle of things: with the sessions that would be open by then if the bank had always been there.
"""

import heapq
import random
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import polars as pl

from model.simulator.attacks import Campaign
from model.simulator.bank import People, attacks_a_campaign
from model.simulator.config import SimulatorConfig
from model.simulator.customers import DAY_MS
from model.simulator.history import known_after_ms
from model.simulator.sessions import Step
from schemas.events import EVENT_FRAME, EVENT_TYPE_CODES

BEGINS_MS = 20 * DAY_MS + 10 * 3_600_000
"""When in the bank's life the stream begins: the tenth hour of a day; dormant customers have slept for weeks."""

_BUSY = 0.8
"""Sessions a day of a customer who is sure to be taken when it is their turn by lot."""

_PAST_MS = 300_000
"""How far back sessions begin that are open at the start: a mean session and a half. A longer past costs more time."""

_RECENT_MS = 20_000
"""The time before the start in which the rate is matched."""


@dataclass(frozen=True, slots=True)
class SimulatedEvent:
    """One event of the stream.

    Attributes:
        record: The fields of a BankingUIEvent.
        due_ms: When it is to be sent, after the start.
        label: 1 from its session's onset of an attack on.
        kind: The attack kind of its session, empty for honest ones.
        known_after_ms: How long after its onset the bank knows of the attack, 0 for honest ones.
    """

    record: dict[str, Any]
    due_ms: float
    label: int
    kind: str
    known_after_ms: int

    @property
    def session_id(self) -> str:
        """The session that it belongs to."""
        session_id: str = self.record["session_id"]
        return session_id


@dataclass(slots=True, order=True)
class _Open:
    """A session under way; ordered by when its next event is due."""

    due_ms: float
    number: int
    session_id: str = field(compare=False)
    user_id: str = field(compare=False)
    kind: str = field(compare=False)
    steps: Iterator[Step] = field(compare=False)
    next: Step = field(compare=False)
    known_after_ms: int = field(compare=False)
    latest_ms: int = field(compare=False, default=0)

    def go_on(self, from_ms: float) -> bool:
        """Turn to the next event, a pause after this moment; say whether there is one."""
        following = next(self.steps, None)
        if following is None:
            return False
        self.next = following
        self.due_ms = from_ms + following.pause_ms
        return True


class Bank:
    """A bank in the middle of its day, whose events come at an exact rate.

    Making one takes 1 to 2 ms for each event a second of the rate; afterwards no event takes longer than another.

    Args:
        config: The bank.
        seed: Everything random comes from it.
        rate: Events a second.
    """

    def __init__(self, config: SimulatorConfig, seed: int, rate: float) -> None:
        self.config = config
        self.dice = random.Random(f"{seed}/stream")  # noqa: S311 - a simulation, not a secret
        self.people = People(config, seed)
        self._rate = rate
        self._campaigns: dict[str, tuple[int, int]] = {}
        self._opened = 0
        self._waiting = list(self._under_way())
        heapq.heapify(self._waiting)

    def events(self, start_ms: int) -> Iterator[SimulatedEvent]:
        """Yield the stream, without end; to be called once.

        Args:
            start_ms: Event time of the first event.
        """
        waiting = self._waiting
        for place in count():
            due_ms = place * 1000 / self._rate
            session = heapq.heappop(waiting) if waiting and waiting[0].due_ms <= due_ms else self._open(due_ms)
            yield _event(self, session, due_ms, start_ms)
            if session.go_on(due_ms):
                heapq.heappush(waiting, session)

    def uuid(self) -> str:
        """Return a version 4 UUID from the seed."""
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))

    def _open(self, due_ms: float) -> _Open:
        """Begin a session whose first event is due now."""
        number = self._opened
        self._opened += 1
        dice = self.dice
        at_ms, kind, campaign = BEGINS_MS + due_ms, "", None
        if dice.random() < self.config.attack_share:
            (kind,) = dice.choices(list(self.config.attack_mix), weights=list(self.config.attack_mix.values()))
            campaign, who = self._campaign(kind), self.people.victim(kind, dice, at_ms / DAY_MS)
        else:
            who = self._customer(at_ms / DAY_MS)
        begun = self.people.session(who, number, at_ms, kind, campaign)
        known_ms = known_after_ms(self.people, number) if kind else 0
        return _Open(due_ms, number, self.uuid(), begun.user_id, kind, begun.steps, next(begun.steps), known_ms)

    def _customer(self, day: float) -> int:
        """Draw a customer, the busy ones more often."""
        while True:
            number = self.dice.randrange(self.config.customers)
            who = self.people.customer(number)
            if not who.is_away(day) and self.dice.random() * _BUSY < who.sessions_a_day:
                return number

    def _campaign(self, kind: str) -> Campaign:
        """Return the campaign that an attack of a kind is part of: each has some attacks in a row."""
        number, left = self._campaigns.get(kind, (0, 0))
        if not left:
            number, left = number + 1, attacks_a_campaign(kind)
        self._campaigns[kind] = (number, left - 1)
        return self.people.campaign(kind, f"live/{number}")

    def _under_way(self) -> Iterator[_Open]:
        """Yield the sessions that are open at the start, each where it happens to be by then.

        Sessions begin at random moments of the past, and those that are still going on are kept. As many are tried
        as it takes for them to have had the events, just before the start, that the rate asks for.
        """
        wanted = self._rate * _RECENT_MS / 1000
        while wanted > 0:
            session = self._open(-self.dice.random() * _PAST_MS)
            is_open = True
            while is_open and session.due_ms < 0:
                wanted -= session.due_ms >= -_RECENT_MS
                is_open = session.go_on(session.due_ms)
            if is_open:
                yield session


def simulate(config: SimulatorConfig, seed: int, rate: float, start_ms: int) -> Iterator[SimulatedEvent]:
    """Return the stream of a bank, without end.

    Args:
        config: The bank.
        seed: Everything random comes from it.
        rate: Events a second.
        start_ms: Event time of the first event.
    """
    return Bank(config, seed, rate).events(start_ms)


def _event(bank: Bank, session: _Open, due_ms: float, start_ms: int) -> SimulatedEvent:
    """Give a step its time and id. Some come out of order across sessions, never inside one."""
    config, step = bank.config, session.next
    timestamp = start_ms + int(due_ms)
    if bank.dice.random() < config.out_of_order_share:
        timestamp -= bank.dice.randrange(config.out_of_order_ms + 1)
    session.latest_ms = max(timestamp, session.latest_ms)
    record = {
        "event_id": bank.uuid(),
        "session_id": session.session_id,
        "user_id": session.user_id,
        "event_type": step.event_type,
        "page": step.page,
        "element_id": step.element_id,
        "input_hash": step.input_hash,
        "timestamp": session.latest_ms,
        "latency_ms": step.latency_ms,
        "device_fingerprint": step.device,
        "ip": step.ip,
    }
    return SimulatedEvent(record, due_ms, step.label, session.kind, session.known_after_ms)


def frame_of(events: Iterable[SimulatedEvent]) -> pl.DataFrame:
    """Return events as decoding would give them, with `label` (UInt8, 0 or 1) and `kind` (String) beside them."""
    taken = list(events)
    columns: dict[str, list[Any]] = {
        name: [event.record[name] for event in taken] for name in EVENT_FRAME if name != "row"
    }
    columns["event_type"] = [EVENT_TYPE_CODES[name] for name in columns["event_type"]]
    columns |= {"row": list(range(len(taken))), "label": [event.label for event in taken]}
    columns["kind"] = [event.kind for event in taken]
    return pl.DataFrame(columns, schema={**EVENT_FRAME, "label": pl.UInt8, "kind": pl.String})
