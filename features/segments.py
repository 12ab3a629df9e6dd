"""How a batch is cut into the pieces along which aggregates run, and what can be run along them: arithmetic only.

The picture of `features/running.py` is done here. In most small batches no session has two rows. Then nothing runs
along the rows, each row only adds to what its session carries, and what would look along the rows is left out
(`apart`): half of a small batch's time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

LATEST_TIME_MS = 2**42
_LIFT = np.int64(2**44)
"""More than any two values of a running maximum differ by; see `_running_max`."""


@dataclass(frozen=True, slots=True)
class Segments:
    """The pieces of a batch: runs of neighbouring rows that belong to one instance of one session."""

    start: NDArray[np.intp]
    """The first row of each segment."""
    of_row: NDArray[np.intp]
    """The segment of each row."""
    slot: NDArray[np.int64]
    """The session of each segment, by its slot in the table."""
    goes_on: NDArray[np.bool_]
    """Whether the segment goes on with an instance that the table holds; otherwise it begins one."""
    closing: NDArray[np.intp]
    """The last segment of each session; what it leaves goes back to the table."""
    closing_slot: NDArray[np.int64]
    """The session of each closing segment."""
    last_row: NDArray[np.intp]
    """The last row of each closing segment."""
    lift: NDArray[np.int64]
    """For each row, see `_running_max`; empty if they are apart."""
    apart: bool
    """Whether no session has two rows: each row is a segment."""

    @classmethod
    def of_rows_apart(cls, slot: NDArray[np.int64], begins: NDArray[np.bool_]) -> Self:
        """Make each row a segment."""
        row = np.arange(len(slot))
        return cls(row, row, slot, ~begins, row, slot, row, row[:0], apart=True)

    @classmethod
    def of(cls, slot: NDArray[np.int64], new_session: NDArray[np.bool_], begins: NDArray[np.bool_]) -> Self:
        """Begin a segment where a session begins in the batch, and where an instance begins."""
        new_segment = new_session | begins
        start = np.flatnonzero(new_segment)
        slot_of_segment = slot[start]
        last_row = np.append(start[1:], len(slot)) - 1
        closing = np.append(np.flatnonzero(changes(slot_of_segment))[1:], len(start))[: len(start)] - 1
        of_row = np.cumsum(new_segment) - 1
        return cls(
            start=start,
            of_row=of_row,
            slot=slot_of_segment,
            goes_on=~begins[start],
            closing=closing,
            closing_slot=slot_of_segment[closing],
            last_row=last_row[closing],
            lift=of_row * _LIFT,
            apart=False,
        )

    def running_sum(self, added: NDArray[np.int64], carried: NDArray[Any]) -> NDArray[np.int64]:
        """Add up along the last axis, each segment from what it carried: the picture."""
        if self.apart:
            before, total = carried, added
        else:
            total, start = np.cumsum(added, axis=-1), self.start
            before = (carried - total[..., start] + added[..., start])[..., self.of_row]
        summed: NDArray[np.int64] = before + total
        return summed

    def running_max(self, values: NDArray[np.int64], carried: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the running maximum of each segment from what it carried. Everything lies within +-2**42."""
        if self.apart:
            return np.maximum(values, carried)
        return _running_max(values, self.start, self.lift, carried)

    def last_known(self, codes: NDArray[np.uint64], carried: NDArray[Any]) -> NDArray[np.uint64]:
        """Return the last code that is not 0 up to each row, or the carried one: (columns, rows)."""
        if self.apart:
            return np.where(codes != 0, codes, carried)
        known_at = np.maximum.accumulate(np.where(codes != 0, np.arange(codes.shape[1]), -1), axis=1)
        in_segment = known_at >= self.start[self.of_row]
        known = codes[np.arange(len(codes))[:, None], known_at]
        return np.where(in_segment, known, carried[:, self.of_row])

    def earlier(self, codes: NDArray[np.uint64], carried: NDArray[Any]) -> NDArray[np.uint64]:
        """Return the codes of the rows before each row, the nearest first, going on in what was carried.

        Args:
            codes: One a row.
            carried: (count, segments), the nearest first.
        """
        if self.apart:
            return carried.copy()
        row = np.arange(len(codes))
        place = row - self.start[self.of_row]
        before = np.empty((len(carried), len(codes)), dtype=np.uint64)
        for back in range(1, len(carried) + 1):
            in_batch = codes[np.maximum(row - back, 0)]
            in_table = carried[np.maximum(back - 1 - place, 0), self.of_row]
            before[back - 1] = np.where(place >= back, in_batch, in_table)
        return before

    def one_earlier(self, after: NDArray[Any], before: NDArray[Any]) -> NDArray[Any]:
        """Move columns down by one row: inside a segment the row before, at its start what the segment started from."""
        return before if self.apart else _one_earlier(after, self.start, before)


def cut(
    slot: NDArray[np.int64],
    timestamp_ms: NDArray[np.int64],
    latest_of: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    session_gap_ms: int,
    *,
    apart: bool,
) -> tuple[Segments, NDArray[np.int64], NDArray[np.bool_]]:
    """Cut a batch where a session begins in it, and where an instance begins.

    Args:
        slot: Each row's session; equal ones stand side by side.
        timestamp_ms: Each row's event time, from 0 to 2**42.
        latest_of: Gives the largest timestamp so far of the sessions in some slots.
        session_gap_ms: The longest pause inside an instance.
        apart: Whether it is known that no session has two rows.

    Returns:
        The segments, the largest timestamp of the session after each row, and whether a row begins an instance.
    """
    if apart:
        carried = latest_of(slot)
        latest = np.maximum(timestamp_ms, carried)
        begins = timestamp_ms - carried > session_gap_ms
        return Segments.of_rows_apart(slot, begins), latest, begins
    new_session = changes(slot)
    start, lift = np.flatnonzero(new_session), (np.cumsum(new_session) - 1) * _LIFT
    carried = latest_of(slot[start])
    latest = _running_max(timestamp_ms, start, lift, carried)
    begins = timestamp_ms - _one_earlier(latest, start, carried) > session_gap_ms
    return Segments.of(slot, new_session, begins), latest, begins


def changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Say where a value differs from the one before; the first one does."""
    differs = np.ones(len(values), dtype=np.bool_)
    np.not_equal(values[1:], values[:-1], out=differs[1:])
    return differs


def _one_earlier(after: NDArray[Any], start: NDArray[np.intp], before: NDArray[Any]) -> NDArray[Any]:
    """Move columns down by one row: inside a segment the row before, at its start what the segment started from."""
    earlier = np.empty_like(after)
    earlier[..., 1:] = after[..., :-1]
    earlier[..., start] = before
    return earlier


def _running_max(
    values: NDArray[np.int64], start: NDArray[np.intp], lift: NDArray[np.int64], carried: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the running maximum of each segment, which starts from what it carried.

    One `maximum.accumulate` does them all: each segment is lifted above everything before it (`lift`: its number times
    `_LIFT`), so that the maximum cannot see across, and lowered again afterwards. With values within +-2**42 that
    fits 2**18 segments in an int64.
    """
    lifted = values + lift
    lifted[start] = np.maximum(lifted[start], carried + lift[start])
    highest: NDArray[np.int64] = np.maximum.accumulate(lifted) - lift
    return highest
