"""The fixed work: seeded BankingUIEvents, written as bytes at once, so that millions can be made in seconds.

About 30 events a session, many sessions at a time, 5,000 events of each second of event time, one in twenty up to 2 s
out of order (never within its session), 12 pages, one session in fifty a machine. Nothing here asks what time it is.
"""

import hashlib
import json
from array import array
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import numpy as np

from schemas.events import EVENT_TYPES

_NAMES = "home login accounts transfer payees settings help cards statements logout loans support"
PAGES = tuple(f"/{name}" for name in _NAMES.split())
START_MS = 1_750_000_000_000
EVENTS_A_SECOND = 5_000
"""Of event time."""

EVENTS_A_SESSION = 30
MACHINES = 0.02
KEY = slice(43, 79)
"""Where the session id lies in a value: behind 5 bytes of framing, a length, 36 of event id, a length."""

_INDEX = slice(30, 42)
_BLOCK = 65_536
_GOOD = (("page_view", 0.45), ("click", 0.75), ("input", 0.9), ("login", 0.95), ("transfer", 0.98))
_BAD = (("login_failed", 0.3), ("transfer", 0.5), ("input", 0.7), ("click", 1.0))


@dataclass(frozen=True, slots=True)
class Work:
    """What the work is.

    Attributes:
        events: How many.
        live: Sessions at a time.
        fill: Whether the first events open one session each, so that all are live soonest.
        probes: Share of events that are a session of their own, one that the reference model flags at once.
        hot: Share of events that belong to a single session.
        seed: Of everything random.
    """

    events: int
    live: int = 20_000
    fill: bool = False
    probes: float = 0.0
    hot: float = 0.0
    seed: int = 7

    @property
    def name(self) -> str:
        """Names a file of it: as long as this module is the same, the same name is the same work."""
        facts = json.dumps(asdict(self)).encode() + Path(__file__).read_bytes()
        return f"work-{self.events}-{hashlib.sha256(facts).hexdigest()[:12]}"


@dataclass(slots=True)
class _Session:
    """A session on the wire: what stands before and behind the fields that change from event to event."""

    before: bytes
    device: bytes
    address: bytes
    input_hash: bytes
    is_machine: bool
    last_ms: int = 0


@dataclass(slots=True)
class Events:
    """Values one after the other, and where each ends; `len` and index as a list has them."""

    data: bytes | bytearray = field(default_factory=bytearray)
    ends: "array[int]" = field(default_factory=lambda: array("Q", [0]))
    machines: bytearray = field(default_factory=bytearray)
    """1 for the events of a machine: what a model is to find out."""

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, at: int) -> bytes:
        return bytes(self.data[self.ends[at] : self.ends[at + 1]])

    def __iter__(self) -> Iterator[bytes]:
        return (self[at] for at in range(len(self)))


def made(work: Work, folder: Path) -> Path:
    """Return the file of some work, which is made where it is missing; `read` opens it."""
    file = folder / f"{work.name}.bin"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        events = make(work)
        np.array(events.ends, dtype=np.uint64).tofile(file.with_suffix(".ends"))
        partial = file.with_suffix(".partial")
        partial.write_bytes(events.data)
        partial.rename(file)
    return file


def read(file: Path) -> Events:
    """Read the values of a file that `made` gave."""
    ends = array("Q")
    ends.frombytes(file.with_suffix(".ends").read_bytes())
    return Events(file.read_bytes(), ends)


def index_of(event_id: str) -> int:
    """Return the place of an event in its work, which its id ends with."""
    return int(event_id[24:], 16)


def is_probe(value: bytes) -> bool:
    """Tell whether a value is the one event of a probe."""
    return value[KEY].startswith(b"ffff")


def make(work: Work) -> Events:
    """Make all events."""
    out = Events()
    sessions = _Sessions(work)
    for at, draw in enumerate(_draws(work)):
        value, is_machine = sessions.event(at, draw)
        out.data += value
        out.ends.append(len(out.data))
        out.machines.append(is_machine)
    return out


_Draw = tuple[int, float, float, float, int, int, float, float, int]


def _draws(work: Work) -> Iterator[_Draw]:
    """Draw the numbers of each event, many at a time."""
    dice = np.random.default_rng(work.seed)
    for start in range(0, work.events, _BLOCK):
        n = min(_BLOCK, work.events - start)
        delays = np.where(dice.random(n) < 0.05, dice.integers(0, 2_000, n), 0)
        pages = np.minimum(dice.exponential(1 / 0.3, n).astype(int), len(PAGES) - 1)
        yield from zip(
            dice.integers(0, work.live, n).tolist(),
            dice.random(n).tolist(),
            dice.random(n).tolist(),
            dice.random(n).tolist(),
            delays.tolist(),
            pages.tolist(),
            dice.gamma(2, 1, n).tolist(),
            dice.random(n).tolist(),
            dice.integers(0, 2**32, n).tolist(),
            strict=True,
        )


class _Sessions:
    """Turns draws into events, and knows the sessions that are live."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._dice = Random(work.seed)
        self._live = [self._fresh() for _ in range(work.live)]

    def event(self, at: int, draw: _Draw) -> tuple[bytes, bool]:
        """Return the value of the event at a place, and whether a machine made it."""
        slot, kind, renewed, special, delay_ms, page, latency, moved, number = draw
        filling = self._work.fill and at < self._work.live
        timestamp = START_MS + at * 1000 // EVENTS_A_SECOND
        event_id = b"\x00\x00\x00\x00\x01\x48%08x-0000-4000-8000-%012x" % (number, at)
        if special < self._work.probes and not filling:
            return event_id + self._probe(timestamp), True
        hot = special >= 1 - self._work.hot and not filling
        slot = at if filling else 0 if hot else slot
        session = self._live[slot]
        if renewed < 1 / EVENTS_A_SESSION and not filling and not hot and not (self._work.hot and slot == 0):
            session = self._live[slot] = self._fresh()
        if session.is_machine and moved < 0.05:
            session.address = _text(f"185.0.{number % 256}.{number // 256 % 256}")
        session.last_ms = max(timestamp - delay_ms, session.last_ms)
        named = next((name for name, up_to in (_BAD if session.is_machine else _GOOD) if kind < up_to), "login_failed")
        body = (
            session.before,
            _TYPES[named],
            _PAGES[page],
            b"\x02" + _text(f"btn-{number % 40}") if kind > 0.45 else b"\x00",
            session.input_hash if named == "input" else b"\x00",
            _whole(session.last_ms),
            _whole(int(latency * (20 if session.is_machine else 60))),
            session.device,
            session.address,
        )
        return event_id + b"".join(body), session.is_machine

    def _probe(self, timestamp: int) -> bytes:
        session = self._fresh(probe=True)
        end = _whole(timestamp) + _whole(1) + session.device + session.address
        return session.before + _TYPES["login_failed"] + _PAGES[1] + b"\x00\x00" + end

    def _fresh(self, *, probe: bool = False) -> _Session:
        bits = self._dice.getrandbits(128)
        session_id = (
            f"{'ffff' if probe else '0000'}{bits & 0xFFFF:04x}-{bits >> 16 & 0xFFFF:04x}-4000-8000-{bits >> 80:012x}"
        )
        user = self._dice.randrange(200_000)
        is_machine = self._dice.random() < MACHINES
        device = f"{bits:032x}" if is_machine else f"{user * 7_919:032x}"
        address = f"81.{bits & 255}.{bits >> 8 & 255}.{bits >> 16 & 255}"
        before = _text(session_id) + _text(f"user-{user:06d}")
        return _Session(before, _text(device), _text(address), b"\x02" + _text(f"{bits >> 64:016x}"), is_machine)


def _whole(number: int) -> bytes:
    """Write a number of 0 or more as Avro does."""
    rest, out = number << 1, bytearray()
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _text(text: str) -> bytes:
    """Write a text as Avro does."""
    encoded = text.encode()
    return _whole(len(encoded)) + encoded


_TYPES = {name: _whole(code) for code, name in enumerate(EVENT_TYPES)}
_PAGES = [_text(page) for page in PAGES]
