"""The stream of a crash test: a simulated bank in fast motion, with everything in it that goes wrong in life.

The seed decides every record but for the moment at which event time begins: the stream must lie in the past, because
events ahead of Kafka's clock are dead letters. It writes what to send and knows nothing of Kafka or of the service.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import fastavro

from model.simulator import SimulatorConfig, simulate
from tests.crash.plain_avro import framed
from tests.crash.plain_events import event_definition, without_logical_types

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
SPAN_MS = 4 * HOUR_MS
"""Event time of a whole stream, without the quiet night in it: sessions end, minutes close."""

NIGHT_MS = 75 * MINUTE_MS
NIGHT_AT = 0.55
_BEFORE_NOW_MS = SPAN_MS + NIGHT_MS + 10 * MINUTE_MS
_RECENT = 3_000
_HELD = 150
_REMEMBERED = 500
_SCHEMA_ID = 1

Keyed = tuple[str, bytes | None]
"""The Kafka key and value of a record."""


@dataclass(slots=True)
class _Mixer:
    """Turns a good stream into a real one, record by record, by the choices of `dice`."""

    dice: random.Random
    definition: Any = field(default_factory=lambda: fastavro.parse_schema(without_logical_types(event_definition())))
    recent: deque[Keyed] = field(default_factory=lambda: deque(maxlen=_RECENT))
    held: list[Keyed] = field(default_factory=list)
    before: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def mix(self, record: dict[str, Any], place: int) -> Iterator[Keyed]:
        """Yield what becomes of one good event: nearly always itself, or itself and something else, or a bad form."""
        moves: tuple[tuple[float, Callable[[dict[str, Any], int], Iterator[Keyed]]], ...] = (
            (0.006, self._repeated),
            (0.004, self._older),
            (0.003, self._late),
            (0.001, self._wild),
            (0.001, self._future),
            (0.003, self._undecodable),
            (0.003, self._invalid),
            (0.002, self._reused),
            (0.010, self._displaced),
            (0.003, self._returning),
        )
        chance = self.dice.random()
        for share, move in moves:
            chance -= share
            if chance < 0:
                yield from move(record, place)
                break
        else:
            yield from self._good(record)
        if self.held and self.dice.random() < 1 / _HELD * len(self.held):
            yield self.held.pop(self.dice.randrange(len(self.held)))

    def _framed(self, record: dict[str, Any]) -> Keyed:
        return record["session_id"], framed(_SCHEMA_ID, self.definition, record)

    def _good(self, record: dict[str, Any]) -> Iterator[Keyed]:
        keyed = self._framed(record)
        self.recent.append(keyed)
        if self.dice.random() < 0.02:
            self.before.append(record)
        yield keyed

    def _repeated(self, record: dict[str, Any], _: int) -> Iterator[Keyed]:
        """The event, and one that was sent a moment or a good while ago once more."""
        yield from self._good(record)
        near = min(self.dice.choice((1, 20, _RECENT)), len(self.recent))
        yield self.recent[-self.dice.randint(1, near)]

    def _older(self, record: dict[str, Any], _: int) -> Iterator[Keyed]:
        yield self._framed({**record, "timestamp": record["timestamp"] - self.dice.randrange(59 * MINUTE_MS)})

    def _late(self, record: dict[str, Any], _: int) -> Iterator[Keyed]:
        yield self._framed({**record, "timestamp": record["timestamp"] - self.dice.randint(HOUR_MS, 3 * HOUR_MS)})

    def _wild(self, record: dict[str, Any], _: int) -> Iterator[Keyed]:
        """One broken clock: always of one session, since two of different ones would be believed."""
        yield from self._good(record)
        ahead = self.dice.randint(HOUR_MS + 1, 3 * HOUR_MS)
        yield self._framed({**record, "session_id": "wild-clock", "timestamp": record["timestamp"] + ahead})

    def _future(self, record: dict[str, Any], _: int) -> Iterator[Keyed]:
        yield self._framed({**record, "timestamp": record["timestamp"] + 30 * 24 * HOUR_MS})

    def _undecodable(self, record: dict[str, Any], place: int) -> Iterator[Keyed]:
        key, value = self._framed(record)
        good = value or b""
        cut = self.dice.randrange(6, len(good))
        yield (
            key,
            self.dice.choice(
                (
                    good[:cut],
                    good + b"\x00",
                    b"\x01" + good[1:],
                    good[:3],
                    b"",
                    None,
                    b"\x00\x00\x00\x00\x63" + good[5:],
                    b"\x00\x00\x00\x00\x02" + good[5:],
                    b'{"event_id": "%d"}' % place,
                    good[:5] + self.dice.randbytes(80),
                    good[:40] + b"\xff\xfe" + good[42:],
                    good[:5] + b"\x01" * 70,
                    good[:5] + b"\x01" * 70_000,
                )
            ),
        )

    def _invalid(self, record: dict[str, Any], _: int) -> Iterator[Keyed]:
        key, value = self._framed(
            {
                **record,
                **self.dice.choice(
                    (
                        {"user_id": ""},
                        {"event_id": "e" * 129},
                        {"event_id": "a\x00b"},
                        {"timestamp": 0},
                        {"timestamp": -5},
                        {"timestamp": record["timestamp"] * 1000},
                        {"latency_ms": -1},
                        {"latency_ms": 600_001},
                        {"page": "/" + "p" * 4_096},
                        {"ip": "not an address"},
                        {"device_fingerprint": ""},
                        {"page": "/a{b}\x07c/" + "\N{EURO SIGN}" * 100},
                    )
                ),
            }
        )
        yield key, value

    def _reused(self, record: dict[str, Any], _: int) -> Iterator[Keyed]:
        yield from self._good(record)
        yield self._framed({**record, "event_type": "other", "page": "/again"})

    def _displaced(self, record: dict[str, Any], _: int) -> Iterator[Keyed]:
        """Comes later than its place, out of order also inside its session."""
        self.held.append(self._framed(record))
        yield from ()

    def _returning(self, record: dict[str, Any], place: int) -> Iterator[Keyed]:
        """The event, and one of a session from before: it goes on, or begins again if it is long ago."""
        yield from self._good(record)
        if self.before:
            old = self.dice.choice(self.before)
            yield self._framed({**old, "event_id": f"back-{place}", "timestamp": record["timestamp"]})


def start_before(now_ms: int) -> int:
    """Return when event time begins, so that it ends before now."""
    return now_ms - _BEFORE_NOW_MS


def stream(seed: int, count: int, start_ms: int) -> Iterator[Keyed]:
    """Yield exactly `count` records, over `SPAN_MS` of event time and a night without visitors.

    Args:
        seed: Of everything random.
        count: How many records.
        start_ms: When event time begins.
    """
    rate = count / (SPAN_MS / 1000)
    events = simulate(SimulatorConfig(attack_share=0.15), seed, rate, start_ms)
    mixer = _Mixer(random.Random(f"{seed}/crash"))
    sent = 0
    for event in events:
        night_ms = NIGHT_MS if sent > NIGHT_AT * count else 0
        record = {**event.record, "timestamp": event.record["timestamp"] + night_ms}
        for keyed in mixer.mix(record, sent):
            yield keyed
            sent += 1
            if sent == count:
                return
