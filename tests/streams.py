"""Awkward streams: the records of one partition, made so that every rule of event time is met at its edges.

The rows of a few sessions interleave. Rows come again, near and far; ids come again with other content;
clocks are late, exactly at each limit, and wild. To hit the limits to the millisecond the writer runs the
reference alongside: it knows the watermark, the candidate and each session's latest time. One writer serves
both hypothesis (small, shrinks) and a seed (long).
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate

from hypothesis import strategies as st

from tests.builders import A_MINUTE_MS, Record, an_event
from tests.reference import (
    AHEAD_MS,
    EVENT_TYPES,
    LATENESS_MS,
    SESSION_GAP_MS,
    ReferenceAdmission,
    ReferenceRow,
    ReferenceSessions,
)
from tests.reference_habits import USUAL, ReferenceProfile, ReferenceRhythm

HOUR_MS = 3_600_000
STEPS_MS = (1_000, 0, 1, 7, 60_000, 600_000, SESSION_GAP_MS, SESSION_GAP_MS + 1)
BACK_MS = (1, 1_000, 60_000, SESSION_GAP_MS, LATENESS_MS)
WILD_MS = (AHEAD_MS + 1, 2 * HOUR_MS, 24 * HOUR_MS, 30 * 24 * HOUR_MS)
CALM_MOVES = ("next", "next", "older", "session_edge", "late_edge")
MOVES = (*CALM_MOVES, "next", "next", "repeat", "reuse", "ahead_edge", "wild")
PAGES = (
    "/accounts",
    "/pay/12",
    "/pay/13?to=7",
    "/pay/:n#top",
    "/doc/0b9a6dd0-7a3c-4a8f-9f53-5a1b2c3d4e5f",
    "/DOC/0B9A6DD0-7A3C-4A8F-9F53-5A1B2C3D4E5F/x",
    "",
    "/",
    "?",
    "/a{b}\x00c",
    "/abc",
    "/" + "\N{EURO SIGN}" * 90,
)
ADDRESSES = ("203.0.113.7", None, "198.51.100.9", "2001:db8::1")
DEVICES = ("d-1", "", "d-2", "d-3")


def _a_profile(seed: int) -> bytes:
    """Give the profile of somebody who has had some sessions on these pages."""
    dice, profile = random.Random(seed), ReferenceProfile()
    for _ in range(4 * seed):
        rhythm = ReferenceRhythm()
        for at in range(dice.randrange(1, 40)):
            gap = dice.choice((0, 7, 1_000, 60_000)) if at else None
            rhythm.add(gap, dice.randrange(2_000), dice.choice(("/accounts", "/pay/:n", "/")), dice.randrange(3))
        latest_ms = A_MINUTE_MS - dice.randrange(30 * 24 * HOUR_MS)
        device, ip = dice.choice(DEVICES), dice.choice(ADDRESSES) or ""
        profile.learn(rhythm.steps, latest_ms - 1_000, latest_ms, device, ip, [256 * seed] * USUAL)
    return profile.to_bytes()


PROFILES = (b"", _a_profile(1), _a_profile(9))
"""Of a user of whom nothing is known, little, and much."""


@dataclass(frozen=True, slots=True)
class Stream:
    """The records of one partition in offset order, and the duplicate horizon to read them with."""

    records: list[Record]
    horizon: int

    @property
    def rows(self) -> list[ReferenceRow]:
        """The same records as the reference takes them."""
        return [ReferenceRow.from_record(record) for record in self.records]


@dataclass(frozen=True, slots=True)
class Cut:
    """A way to read n rows: the length of each batch, and whether a snapshot and restore follow it."""

    lengths: list[int]
    restored: list[bool]

    def batches(self) -> Iterator[tuple[slice, bool]]:
        """Give each batch's place in the stream, and whether a restore follows it."""
        ends = list(accumulate(self.lengths))
        starts = [0, *ends]
        return zip(map(slice, starts, ends), self.restored, strict=True)


@dataclass(slots=True)
class _Writer:
    """Writes one stream, record by record, from the choices of `dice`."""

    dice: random.Random
    sessions: int
    horizon: int
    walks_pages: bool
    """Whether each page is a new one, so that sessions pass the limits of distinct pages."""
    calm: bool
    """Whether repeats and wild clocks are rare, so that most batches have none."""
    now: int = A_MINUTE_MS
    records: list[Record] = field(default_factory=list)
    admission: ReferenceAdmission = field(init=False)
    so_far: ReferenceSessions = field(default_factory=ReferenceSessions)

    def __post_init__(self) -> None:
        self.admission = ReferenceAdmission(horizon=self.horizon)

    def write(self, count: int) -> list[Record]:
        for offset in range(count):
            record = {**self._one(), "offset": offset}
            self.records.append(record)
            row = ReferenceRow.from_record(record)
            if self.admission.judge(row) == "admitted":
                self.so_far.update(row)
        return self.records

    def _one(self) -> Record:
        moves = CALM_MOVES if self.calm and self.dice.random() < 0.99 else MOVES
        made: Record = getattr(self, f"_{self.dice.choice(moves)}")() if self.records else self._next()
        return made

    def _next(self) -> Record:
        left_behind = self.now < (self.admission.watermark or 0) - LATENESS_MS
        if left_behind and self.dice.random() < 0.5:
            self.now = self.admission.watermark or 0
        self.now += self.dice.choice(STEPS_MS)
        return self._at(self.now)

    def _repeat(self) -> Record:
        """An exact repeat for the filter; what the filter does not look at may differ."""
        far = self.dice.choice((1, 2, self.horizon, self.horizon + 1, len(self.records)))
        return {**self.records[-min(far, len(self.records))], "page": self._page()}

    def _reuse(self) -> Record:
        """The id of an earlier event with another type or timestamp."""
        old = self.records[-min(self.dice.choice((1, 2, self.horizon)), len(self.records))]
        if self.dice.random() < 0.5:
            return {**old, "timestamp": old["timestamp"] + self.dice.choice((1, -1, 1_000))}
        return {**old, "event_type": self._type()}

    def _older(self) -> Record:
        return self._at(self.now - self.dice.choice(BACK_MS))

    def _session_edge(self) -> Record:
        """About exactly 30 min after the session's latest row: joins, joins, restarts."""
        session_id = self._session()
        instance = self.so_far.instance(session_id)
        if instance is None:
            return self._next()
        return self._at(instance.latest + SESSION_GAP_MS + self.dice.choice((1, 0, -1)), session_id=session_id)

    def _late_edge(self) -> Record:
        """About exactly at the limit of lateness."""
        return self._at((self.admission.watermark or self.now) - LATENESS_MS + self.dice.choice((-1, 0, 1)))

    def _ahead_edge(self) -> Record:
        """About exactly as far ahead as moves the watermark, or at the candidate's time."""
        edge = (self.admission.watermark or self.now) + AHEAD_MS
        if self.admission.candidate is not None and self.dice.random() < 0.5:
            edge = self.admission.candidate[0]
        return self._at(edge + self.dice.choice((1, 0, -1)))

    def _wild(self) -> Record:
        """A clock far ahead; now and then the whole stream follows it."""
        timestamp = self.now + self.dice.choice(WILD_MS)
        if self.dice.random() > 0.75:
            self.now = timestamp
        return self._at(timestamp)

    def _at(self, timestamp: int, session_id: str | None = None) -> Record:
        number = len(self.records)
        return an_event(
            session_id=session_id or self._session(),
            event_id=f"e-{number}",
            event_type=self._type(),
            page=self._page(),
            timestamp=timestamp,
            latency_ms=self.dice.choice((120, 0, 1, 600_000)),
            device_fingerprint=self.dice.choice(DEVICES),
            ip=self.dice.choice(ADDRESSES),
            device_risk=self.dice.choice((0.0, 0.1, 1.0)),
            input_others=float(len(self.records) % 5 * 17),
            input_since_ms=float(len(self.records) % 3 * (A_MINUTE_MS - 86_400_000) // 2),
            profile=PROFILES[len(self.records) % len(PROFILES)],
            account_locked=self.dice.choice((0.0, 1.0)),
            recent_failures=self.dice.choice((0.0, 3.0)),
        )

    def _session(self) -> str:
        return f"s-{self.dice.randrange(self.sessions)}"

    def _type(self) -> str:
        return self.dice.choice(EVENT_TYPES)

    def _page(self) -> str:
        return f"/p-{len(self.records) % 40}/x" if self.walks_pages else self.dice.choice(PAGES)


def long_stream(
    seed: int, count: int, *, sessions: int = 5, horizon: int = 16, walks_pages: bool = False, calm: bool = False
) -> Stream:
    """Give a long awkward stream; the same seed gives the same stream."""
    return Stream(_Writer(random.Random(seed), sessions, horizon, walks_pages, calm).write(count), horizon)


def long_cut(seed: int, count: int, most: int = 300) -> Cut:
    """Cut `count` rows into batches of 0 to `most` rows, some of them followed by a restore."""
    dice = random.Random(seed)
    lengths: list[int] = []
    while (left := count - sum(lengths)) > 0:
        lengths.append(min(dice.choice((0, 1, 2, dice.randrange(most + 1), most)), left))
    return Cut(lengths, [dice.random() < 0.3 for _ in lengths])


@st.composite
def awkward_streams(draw: st.DrawFn, most: int = 60) -> Stream:
    """Streams of at most `most` records of one to four sessions, with horizons small enough to be passed."""
    dice = draw(st.randoms(use_true_random=False))
    horizon = draw(st.sampled_from((1_000, 1, 2, 3, 8)))
    writer = _Writer(dice, draw(st.integers(1, 4)), horizon, draw(st.booleans()), draw(st.booleans()))
    return Stream(writer.write(draw(st.integers(0, most))), horizon)


@st.composite
def cuts(draw: st.DrawFn, count: int) -> Cut:
    """Ways to read `count` rows: empty batches, single rows, all at once, and anything between."""
    ends = sorted([*draw(st.lists(st.integers(0, count), max_size=12)), count])
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    return Cut(lengths, draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))


@st.composite
def cut_streams(draw: st.DrawFn, most: int = 60) -> tuple[Stream, Cut]:
    """An awkward stream and a way to read it."""
    stream = draw(awkward_streams(most))
    return stream, draw(cuts(len(stream.records)))
