"""Many sessions at once, as one stream at an exact rate.

Event k of the stream is due k / rate seconds after the start. At each such moment the open session whose next event
has waited longest has it; if none is due, a new session begins. So sessions begin exactly as often as the rate
needs, pauses inside a session are its own (to a few moments), and nothing has to be tuned. The stream starts with as
many sessions under way as it will have later, each somewhere in its middle.
"""

import heapq
import random
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from model.simulator.attacks import ATTACKS
from model.simulator.config import SimulatorConfig
from model.simulator.customers import customer
from model.simulator.sessions import Step, honest
from schemas.events import EVENT_FRAME, EVENT_TYPES

_CODES = {name: code for code, name in enumerate(EVENT_TYPES)}


@dataclass(frozen=True, slots=True)
class SimulatedEvent:
    """One event of the stream.

    Attributes:
        record: The fields of a BankingUIEvent.
        due_ms: When it is to be sent, after the start.
        label: 1 from its session's onset of an attack on.
        kind: The attack kind of its session, empty for honest ones.
    """

    record: dict[str, Any]
    due_ms: float
    label: int
    kind: str

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
    latest_ms: int = field(compare=False, default=0)


class _Bank:
    """Opens sessions, one after the other, and gives ids."""

    def __init__(self, config: SimulatorConfig, seed: int) -> None:
        self.config = config
        self.dice = random.Random(f"{seed}/stream")  # noqa: S311 - a simulation, not a secret
        self._seed = seed
        self._opened = 0

    def uuid(self) -> str:
        """Return a version 4 UUID from the seed."""
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))

    def open(self, due_ms: float) -> _Open:
        """Begin a session whose first event is due now."""
        number = self._opened
        self._opened += 1
        who = customer(self.config, self._seed, self.dice.randrange(self.config.customers))
        dice = random.Random(f"{self._seed}/session/{number}")  # noqa: S311 - a simulation, not a secret
        mix = self.config.attack_mix
        kind = ""
        if dice.random() < self.config.attack_share:
            (kind,) = dice.choices(list(mix), weights=list(mix.values()))
        steps = ATTACKS[kind](self.config, who, dice) if kind else honest(self.config, who, dice)
        return _Open(due_ms, number, self.uuid(), who.user_id, kind, steps, next(steps))

    def under_way(self, rate: float) -> Iterator[_Open]:
        """Yield as many sessions as are open at this rate at any time, each at a random place."""
        many = max(int(rate * self.config.pause_seconds), 1)
        for session in (self.open(0.0) for _ in range(many)):
            for _ in range(self.dice.randrange(20)):
                following = next(session.steps, None)
                if following is None:
                    break
                session.next = following
            session.due_ms = self.dice.random() * session.next.pause_ms
            yield session


def simulate(config: SimulatorConfig, seed: int, rate: float, start_ms: int) -> Iterator[SimulatedEvent]:
    """Yield the stream, without end.

    Args:
        config: The bank.
        seed: Everything random comes from it.
        rate: Events a second.
        start_ms: Event time of the start.
    """
    bank = _Bank(config, seed)
    waiting = list(bank.under_way(rate))
    heapq.heapify(waiting)
    place = 0
    while True:
        due_ms = place * 1000 / rate
        place += 1
        session = heapq.heappop(waiting) if waiting and waiting[0].due_ms <= due_ms else bank.open(due_ms)
        yield _event(bank, session, due_ms, start_ms)
        following = next(session.steps, None)
        if following is not None:
            session.next = following
            session.due_ms = due_ms + following.pause_ms
            heapq.heappush(waiting, session)


def _event(bank: _Bank, session: _Open, due_ms: float, start_ms: int) -> SimulatedEvent:
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
    return SimulatedEvent(record, due_ms, step.label, session.kind)


def frame_of(events: Iterable[SimulatedEvent]) -> pl.DataFrame:
    """Return events as decoding would give them, with `label` (UInt8, 0 or 1) and `kind` (String) beside them."""
    taken = list(events)
    columns: dict[str, list[Any]] = {
        name: [event.record[name] for event in taken] for name in EVENT_FRAME if name != "row"
    }
    columns["event_type"] = [_CODES[name] for name in columns["event_type"]]
    columns |= {"row": list(range(len(taken))), "label": [event.label for event in taken]}
    columns["kind"] = [event.kind for event in taken]
    return pl.DataFrame(columns, schema={**EVENT_FRAME, "label": pl.UInt8, "kind": pl.String})
