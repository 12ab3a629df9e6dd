"""The marks of the last rows of a partition, findable by mark and by event: whole batches at a time.

A mark is 64 bits that stand for a row: the high ones for its session and event id, the low ones for its content. Marks
lie in a ring, the newest over the oldest. To find one, each has a bucket, by the bits of its event; of a bucket the
number of its newest row is known, and of each row the number of the one before it in the same bucket:

    number    7    8    9   10         rows are numbered as they are admitted
    bucket    a    b    a    a         newest of a: 10, of b: 8
    before    -    -    7    9         so a's rows are 10, 9, 7

Nothing is ever taken out: a number that the ring has left behind ends its chain, and so all older ones.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.codes import mixed
from features.segments import changes

CONTENT_BITS = 24
"""A mark's low bits tell the content apart, the high ones the session and event id."""

_EVENT = np.uint64(CONTENT_BITS)
_NOBODY = -1
_BUCKETS_A_ROW = 4


_CONTENT = np.uint64((1 << CONTENT_BITS) - 1)


def marks_of(
    session: NDArray[np.uint64], event: NDArray[np.uint64], timestamp_ms: NDArray[np.int64], kind: NDArray[np.uint8]
) -> NDArray[np.uint64]:
    """Return the mark of each row: of the codes of its session and event id, and its content."""
    content = mixed(timestamp_ms.view(np.uint64), kind.astype(np.uint64))
    return (mixed(session, event) & ~_CONTENT) | (content & _CONTENT)


def are_repeats(marks: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Say of each row whether one before it in the batch has the same session and event id."""
    events = marks >> _EVENT
    by_event = np.argsort(events, kind="stable")
    repeats = np.empty(len(marks), dtype=np.bool_)
    repeats[by_event] = ~changes(events[by_event])
    return repeats


class Found(NamedTuple):
    """What is remembered of each of some marks."""

    number: NDArray[np.int64]
    """Of the row with this very mark, negative if there is none."""
    knows_event: NDArray[np.bool_]
    """Whether there is a row of the same session and event id, with this content or another."""


class Recent:
    """The marks of the last `horizon` rows.

    Args:
        horizon: How many.
    """

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.seen = 0
        """Rows so far, forgotten ones too: the number of the next one."""
        self._ring = np.zeros(horizon, dtype=np.uint64)
        self._before = np.full(horizon, _NOBODY, dtype=np.int64)
        self._bucket = np.uint64((1 << (_BUCKETS_A_ROW * horizon - 1).bit_length()) - 1)
        self._newest = np.full(int(self._bucket) + 1, _NOBODY, dtype=np.int64)
        self._written = 0
        """Rows so far when the last piece was taken."""

    @property
    def oldest(self) -> int:
        """The number of the oldest row that is remembered."""
        return max(self.seen - self.horizon, 0)

    def find(self, marks: NDArray[np.uint64]) -> Found:
        """Look for rows with these marks."""
        number = np.full(len(marks), _NOBODY, dtype=np.int64)
        knows_event = np.zeros(len(marks), dtype=np.bool_)
        newest = self._newest[self._bucket_of(marks)]
        rows = np.flatnonzero(newest >= self.oldest)
        at = newest[rows]
        while len(rows):
            place = at % self.horizon
            met, wanted = self._ring[place], marks[rows]
            knows = (met ^ wanted) >> _EVENT == 0
            if knows.any():
                knows_event[rows[knows]] = True
                same = met == wanted
                number[rows[same]] = at[same]
            at = self._before[place]
            goes_on = at >= self.oldest
            rows, at = rows[goes_on], at[goes_on]
        return Found(number, knows_event)

    def add(self, marks: NDArray[np.uint64]) -> None:
        """Remember rows, oldest first; as many of the oldest are forgotten as no longer fit."""
        for start in range(0, len(marks), self.horizon):
            self._add(marks[start : start + self.horizon])

    def _add(self, marks: NDArray[np.uint64]) -> None:
        """Remember at most `horizon` rows. Those of one bucket are chained to each other, the first to what it held."""
        numbers = np.arange(self.seen, self.seen + len(marks))
        places, bucket = numbers % self.horizon, self._bucket_of(marks)
        by_bucket = np.argsort(bucket, kind="stable")
        grouped, before = bucket[by_bucket], np.empty_like(numbers)
        before[1:] = numbers[by_bucket][:-1]
        first = changes(grouped)
        before[first] = self._newest[grouped[first]]
        self._before[places[by_bucket]] = before
        self._newest[grouped] = numbers[by_bucket]  # of a bucket that comes twice the last one stays
        self._ring[places] = marks
        self.seen += len(marks)

    def _bucket_of(self, marks: NDArray[np.uint64]) -> NDArray[np.int64]:
        bucket: NDArray[np.int64] = (marks >> _EVENT & self._bucket).view(np.int64)
        return bucket

    def piece(self, part: int, of: int) -> "RingPiece":
        """Return the marks since the last piece, and one part of the ring; `of` pieces in a row have all of it."""
        new = np.arange(max(self._written, self.oldest), self.seen) % self.horizon
        used = min(self.seen, self.horizon)
        first, end = (min(self.horizon * each // of, used) for each in (part, part + 1))
        self._written = self.seen
        return RingPiece(self.seen, self._ring[new], first, self._ring[first:end])

    def restore(self, pieces: Iterable["RingPiece"]) -> None:
        """Take over what pieces hold, the oldest first. The next piece has everything."""
        for piece in pieces:
            self._ring[piece.first : piece.first + len(piece.ring)] = piece.ring
            self._ring[np.arange(piece.seen - len(piece.recent), piece.seen) % self.horizon] = piece.recent
            self.seen = piece.seen
        marks = self._ring[np.arange(self.oldest, self.seen) % self.horizon]
        self.seen = self._written = self.oldest
        self.add(marks)


class RingPiece(NamedTuple):
    """Part of the ring as one snapshot writes it.

    Attributes:
        seen: Rows so far.
        recent: Marks of the last of them.
        first: Place in the ring where `ring` begins.
        ring: Marks by place.
    """

    seen: int
    recent: NDArray[np.uint64]
    first: int
    ring: NDArray[np.uint64]
