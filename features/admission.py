"""Which events of a partition count: duplicates and late ones are set aside, and the watermark moves.

Every decision is made by row, in offset order, from what was admitted before it; a batch is only a way to make many
at once. The rules, in the order in which they are tried:

- *duplicate*: the same event (session, id, type, timestamp) is among the last `HORIZON` admitted rows;
- *late*: older than the watermark by more than the lateness;
- otherwise *admitted*: remembered, and the watermark becomes the largest admitted timestamp.

One wild clock must not make a partition's honest events late: a row more than `AHEAD_MS` ahead of the watermark is
admitted but only held as a candidate. The watermark follows when a row of another session is as far ahead, and then
to the smaller of the two. At the start the watermark is before all time, so the same rule finds the first one.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from features.codes import mixed
from features.events import EventColumns
from features.snapshot import pack, unpack

HORIZON = 262_144
AHEAD_MS = 60 * 60_000
DEFAULT_LATENESS_MS = 60 * 60_000

ADMITTED, DUPLICATE, LATE = 0, 1, 2
"""Verdicts on a row."""

_KIND = "admission"
_BEFORE_ALL_TIME = -(2**62)
_CONTENT_BITS = 24
"""A mark's low bits tell the content apart, the high ones the session and event id."""
_LOW = np.uint64((1 << _CONTENT_BITS) - 1)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What was decided on a batch.

    Attributes:
        verdict: uint8, one of `ADMITTED`, `DUPLICATE`, `LATE` a row.
        id_reused: Admitted rows whose session and event id came before with other content.
        watermark_ms: The watermark after the batch, None while there is none.
    """

    verdict: NDArray[np.uint8]
    id_reused: int
    watermark_ms: int | None


@dataclass(frozen=True, slots=True)
class _Candidate:
    """The row that is far ahead of the watermark, waiting for one of another session."""

    timestamp_ms: int
    session: int


@dataclass(frozen=True, slots=True)
class _Rows:
    """A batch as admission sees it."""

    mark: NDArray[np.uint64]
    """64 bits that stand for the row: see `_CONTENT_BITS`."""
    session: NDArray[np.uint64]
    timestamp_ms: NDArray[np.int64]


class Admission:
    """The admission state of one partition.

    Args:
        lateness_ms: How far behind the watermark a row may be.
        horizon: Among how many last admitted rows a duplicate is found.
    """

    def __init__(self, lateness_ms: int = DEFAULT_LATENESS_MS, horizon: int = HORIZON) -> None:
        self.lateness_ms = lateness_ms
        self.counts = {"dead": 0, "duplicate": 0, "late": 0}
        """Records of the partition that ended here, since its beginning."""
        self._watermark = _BEFORE_ALL_TIME
        self._candidate: _Candidate | None = None
        self._recent = _Recent(horizon)
        self._marks_at: deque[tuple[int, int]] = deque()
        """How many rows had been admitted at which watermark, for `horizon_ms`."""

    @property
    def watermark_ms(self) -> int | None:
        """The largest admitted timestamp, None while no two sessions have agreed on one."""
        return None if self._watermark == _BEFORE_ALL_TIME else self._watermark

    @property
    def horizon_ms(self) -> int:
        """Over how much event time a repeat is still found; counted from the last start of the process."""
        return self._marks_at[-1][1] - self._marks_at[0][1] if self._marks_at else 0

    def _note_horizon(self) -> None:
        if self.watermark_ms is not None:
            self._marks_at.append((self._recent.seen, self.watermark_ms))
        while len(self._marks_at) > 1 and self._marks_at[1][0] <= self._recent.seen - self._recent.horizon:
            self._marks_at.popleft()

    def judge(self, events: EventColumns) -> Verdicts:
        """Decide on a batch of valid events, in offset order."""
        rows = _rows(events)
        verdict, reused = self._at_once(rows) or self._one_by_one(rows)
        self._note_horizon()
        self.counts["duplicate"] += int(np.count_nonzero(verdict == DUPLICATE))
        self.counts["late"] += int(np.count_nonzero(verdict == LATE))
        return Verdicts(verdict, reused, self.watermark_ms)

    def _at_once(self, rows: _Rows) -> tuple[NDArray[np.uint8], int] | None:
        """Decide on a batch without known ids and wild clocks; return None, having done nothing, if it has any."""
        before = np.maximum.accumulate(np.append(np.int64(self._watermark), rows.timestamp_ms))
        if (rows.timestamp_ms - before[:-1] > AHEAD_MS).any() or self._recent.meets(rows.mark):
            return None
        late = rows.timestamp_ms < before[:-1] - self.lateness_ms
        self._recent.remember(rows.mark[~late], all_new=True)
        self._move(int(before[-1]))
        return np.where(late, LATE, ADMITTED).astype(np.uint8), 0

    def _one_by_one(self, rows: _Rows) -> tuple[NDArray[np.uint8], int]:
        """Decide row by row: the rules as they are said."""
        verdict = np.zeros(len(rows.mark), dtype=np.uint8)
        reused = 0
        columns = (rows.mark.tolist(), rows.session.tolist(), rows.timestamp_ms.tolist())
        for row, (mark, session, timestamp_ms) in enumerate(zip(*columns, strict=True)):
            if self._recent.has(mark):
                verdict[row] = DUPLICATE
            elif timestamp_ms < self._watermark - self.lateness_ms:
                verdict[row] = LATE
            else:
                reused += self._recent.knows_id_of(mark)
                self._recent.remember(rows.mark[row : row + 1])
                self._see(timestamp_ms, session)
        return verdict, reused

    def _see(self, timestamp_ms: int, session: int) -> None:
        """Let one admitted row move the watermark, or wait for another to agree with it."""
        if timestamp_ms - self._watermark <= AHEAD_MS:
            self._move(max(self._watermark, timestamp_ms))
            return
        held = self._candidate
        if held is None or held.session == session:
            first_ms = timestamp_ms if held is None else min(held.timestamp_ms, timestamp_ms)
            self._candidate = _Candidate(first_ms, session)
            return
        newer = held if held.timestamp_ms > timestamp_ms else _Candidate(timestamp_ms, session)
        self._candidate = newer
        self._move(min(held.timestamp_ms, timestamp_ms))

    def _move(self, watermark_ms: int) -> None:
        """Set the watermark; a candidate that is no longer far ahead of it has had its say."""
        self._watermark = watermark_ms
        if self._candidate is not None and self._candidate.timestamp_ms - watermark_ms <= AHEAD_MS:
            self._candidate = None

    def snapshot(self) -> bytes:
        """Write the state as bytes."""
        held = self._candidate
        scalars: dict[str, Any] = {
            "watermark": self._watermark,
            "candidate_ms": held.timestamp_ms if held else None,
            "counts": self.counts,
        }
        session = np.array([held.session if held else 0], dtype=np.uint64)
        return pack(_KIND, {"recent": self._recent.in_order(), "candidate_session": session}, scalars)

    def restore(self, stored: bytes) -> Self:
        """Take over the state of a snapshot; return self.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        snapshot = unpack(_KIND, stored)
        self._watermark = snapshot.scalars["watermark"]
        self.counts |= snapshot.scalars["counts"]
        held_ms = snapshot.scalars["candidate_ms"]
        session = int(snapshot.columns["candidate_session"][0])
        self._candidate = None if held_ms is None else _Candidate(held_ms, session)
        marks = snapshot.columns["recent"]
        self._recent.remember(marks, all_new=not self._recent.meets(marks))
        return self


class _Recent:
    """The marks of the last `horizon` admitted rows, findable by mark and by event id."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.seen = 0
        """Rows admitted so far, forgotten ones too."""
        self._ring = np.zeros(horizon, dtype=np.uint64)
        self._mark_of: dict[int, int] = {}
        self._more_marks: dict[int, set[int]] = {}
        """Further marks of ids that were reused with other content: rare."""

    def has(self, mark: int) -> bool:
        """Say whether this very row is remembered."""
        event = mark >> _CONTENT_BITS
        return self._mark_of.get(event) == mark or mark in self._more_marks.get(event, ())

    def knows_id_of(self, mark: int) -> bool:
        """Say whether a row with the same session and event id is remembered."""
        return mark >> _CONTENT_BITS in self._mark_of

    def meets(self, marks: NDArray[np.uint64]) -> bool:
        """Say whether any id of these is remembered, or comes twice among them."""
        events = _events_of(marks)
        return len(set(events)) < len(events) or not self._mark_of.keys().isdisjoint(events)

    def remember(self, marks: NDArray[np.uint64], *, all_new: bool = False) -> None:
        """Add rows, oldest first; as many of the oldest are forgotten as no longer fit.

        Args:
            marks: The rows' marks.
            all_new: Whether it is known that `meets` says no of them: they go in at once then.
        """
        horizon = self.horizon
        for part in np.split(marks, range(horizon, len(marks), horizon)):
            at = (self.seen + np.arange(len(part))) % horizon
            self._forget(self._ring[at[max(horizon - self.seen, 0) :]])
            self._ring[at] = part
            self.seen += len(part)
            if all_new:
                self._mark_of.update(zip(_events_of(part), part.tolist(), strict=True))
            else:
                self._add(part.tolist())

    def _add(self, marks: list[int]) -> None:
        for mark in marks:
            event = mark >> _CONTENT_BITS
            if self._mark_of.setdefault(event, mark) != mark:
                self._more_marks.setdefault(event, set()).add(mark)

    def _forget(self, marks: NDArray[np.uint64]) -> None:
        if not self._more_marks:
            for event in _events_of(marks):
                del self._mark_of[event]
            return
        for mark in marks.tolist():
            event = mark >> _CONTENT_BITS
            others = self._more_marks.get(event)
            if others is None:
                del self._mark_of[event]
                continue
            if self._mark_of[event] == mark:
                self._mark_of[event] = others.pop()
            else:
                others.discard(mark)
            if not others:
                del self._more_marks[event]

    def in_order(self) -> NDArray[np.uint64]:
        """Return the remembered marks, oldest first."""
        count = min(self.seen, self.horizon)
        return self._ring[(self.seen - count + np.arange(count)) % self.horizon]


def _events_of(marks: NDArray[np.uint64]) -> list[int]:
    """Return the part of each mark that stands for session and event id."""
    events: list[int] = (marks >> np.uint64(_CONTENT_BITS)).tolist()
    return events


def _rows(events: EventColumns) -> _Rows:
    content = mixed(events.timestamp_ms.view(np.uint64), events.type.astype(np.uint64))
    mark = (mixed(events.session, events.event) & ~_LOW) | (content & _LOW)
    return _Rows(mark, events.session, events.timestamp_ms)
