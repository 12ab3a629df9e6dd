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

from features.events import EventColumns
from features.recent import Recent, RingPiece, are_repeats
from features.snapshot import Snapshot, pack, unpack

HORIZON = 262_144
AHEAD_MS = 60 * 60_000
DEFAULT_LATENESS_MS = 60 * 60_000

ADMITTED, DUPLICATE, LATE = 0, 1, 2
"""Verdicts on a row."""

_KIND = "admission"
_BEFORE_ALL_TIME = -(2**62)


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
        self._recent = Recent(horizon)
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
        verdict = np.full(len(events.mark), ADMITTED, dtype=np.uint8)
        found = self._recent.find(events.mark)
        awkward = found.knows_event | are_repeats(events.mark)
        left = np.arange(len(verdict))
        if awkward.any():
            # Remembered even if every row before it in the batch is admitted and pushes an old one out.
            surely = found.number >= max(self._recent.seen + len(verdict) - self._recent.horizon, 0)
            verdict[surely] = DUPLICATE
            left = np.flatnonzero(~surely)
        reused = self._judge_others(events, left, awkward[left], verdict)
        self._note_horizon()
        duplicate, late = np.bincount(verdict, minlength=LATE + 1)[[DUPLICATE, LATE]].tolist()
        self.counts["duplicate"] += duplicate
        self.counts["late"] += late
        return Verdicts(verdict, reused, self.watermark_ms)

    def _judge_others(
        self, events: EventColumns, left: NDArray[np.intp], awkward: NDArray[np.bool_], verdict: NDArray[np.uint8]
    ) -> int:
        """Decide on the rows that are left: whole runs at once, and by itself each row that a run cannot have.

        Args:
            events: The batch.
            left: The places of the rows in question.
            awkward: Of each, whether its event may be remembered when it is its turn.
            verdict: Where the verdicts go.

        Returns:
            How many admitted rows have an id that came before with other content.
        """
        reused = 0
        while len(left):
            timestamp_ms = events.timestamp_ms[left]
            before = np.maximum.accumulate(np.concatenate([[self._watermark], timestamp_ms]))
            alone = awkward | (timestamp_ms - before[:-1] > AHEAD_MS)
            end = int(alone.argmax()) if alone.any() else len(left)
            run = left[:end]
            late = timestamp_ms[:end] < before[:end] - self.lateness_ms
            verdict[run[late]] = LATE
            self._recent.add(events.mark[run[~late]])
            self._move(int(before[end]))
            for row in left[end : end + 1].tolist():
                verdict[row], is_reused = self._judge_one(events, row)
                reused += is_reused
            left, awkward = left[end + 1 :], awkward[end + 1 :]
        return reused

    def _judge_one(self, events: EventColumns, row: int) -> tuple[int, bool]:
        """Decide on one row: the rules as they are said. Also tell whether its id came before with other content."""
        mark, timestamp_ms = events.mark[row : row + 1], int(events.timestamp_ms[row])
        found = self._recent.find(mark)
        if found.number[0] >= 0:
            return DUPLICATE, False
        if timestamp_ms < self._watermark - self.lateness_ms:
            return LATE, False
        self._recent.add(mark)
        self._see(timestamp_ms, int(events.session[row]))
        return ADMITTED, bool(found.knows_event[0])

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

    def snapshot(self, part: int = 0, of: int = 1) -> bytes:
        """Write one of `of` parts of the state as bytes, and what has changed since the last one was written."""
        held, piece = self._candidate, self._recent.piece(part, of)
        scalars: dict[str, Any] = {
            "watermark": self._watermark,
            "candidate_ms": held.timestamp_ms if held else None,
            "counts": self.counts,
            "seen": piece.seen,
            "ring_at": piece.first,
        }
        session = np.array([held.session if held else 0], dtype=np.uint64)
        return pack(_KIND, {"recent": piece.recent, "ring": piece.ring, "candidate_session": session}, scalars)

    def restore(self, *stored: bytes) -> Self:
        """Take over the state of as many snapshots as have all parts, the oldest first; return self.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        snapshots = [unpack(_KIND, each) for each in stored]
        self._recent.restore(map(_ring_piece, snapshots))
        newest = snapshots[-1]
        self._watermark = newest.scalars["watermark"]
        self.counts |= newest.scalars["counts"]
        held_ms = newest.scalars["candidate_ms"]
        session = int(newest.columns["candidate_session"][0])
        self._candidate = None if held_ms is None else _Candidate(held_ms, session)
        return self


def _ring_piece(snapshot: Snapshot) -> RingPiece:
    """Read the piece of the ring; 0.1.0 stored only what it remembered."""
    recent = snapshot.columns["recent"]
    ring = snapshot.columns.get("ring", recent[:0])
    return RingPiece(snapshot.scalars.get("seen", len(recent)), recent, snapshot.scalars.get("ring_at", 0), ring)
