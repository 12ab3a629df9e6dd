"""Running aggregates of many sessions at once: the one clever file.

A batch holds events of many sessions, a few of each. A record-at-a-time program would look up each event's session,
add to its sums, and read the features off. Here the whole batch is done in a few NumPy passes a column:

    slot       7  7  7 | 12 12 | 31        events grouped by session, in offset order inside a group
    value      1  0  1 |  1  1 |  0        for example: was this a failed login?
    cumsum     1  1  2 |  3  4 |  4        one running sum over the whole batch ...
    minus      0       |  2    |  4        ... less what it had come to before the group ...
    plus       5       |  0    |  9        ... plus what the session carried into the batch
             = 6  6  7 |  1  2 |  9        the session's own running sum, after each event

The last value of each group goes back to the session's slot in the table; that is what it carries into the next
batch. Where a session pauses for long, its next event begins a new *instance*: the group is cut there into two
*segments*, and the second one starts from nothing.

Only integers are carried, and integer sums do not round: where a stream is cut into batches cannot change one bit
of a result. Whoever adds a kind of aggregate here must keep that true.
"""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.session_table import Carried, SessionTable, StateError

NEVER_MS = -(2**42)
"""The latest timestamp of a session that has had no event."""

_LATEST = Carried("<i8", NEVER_MS)
_LATEST_TIME_MS = 2**42
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
    last_row: NDArray[np.intp]
    """The last row of each closing segment."""


@dataclass(frozen=True, slots=True)
class _Trace:
    """One column of one batch: what each segment started from, and what it had come to after each row."""

    before: NDArray[Any]
    after: NDArray[Any]

    def at(self, row: int, segment: int, start: int) -> NDArray[Any]:
        """Return the value just before a row that does not begin its instance."""
        value: NDArray[Any] = self.before[segment] if row == start else self.after[row - 1]
        return value


@dataclass(frozen=True, slots=True)
class _SetTrace:
    """The same for a set of codes. The sets after each row would be large: kept is which row added its code."""

    before: NDArray[np.uint32]
    code: NDArray[np.uint32]
    added: NDArray[np.bool_]

    def at(self, row: int, segment: int, start: int) -> NDArray[np.uint32]:
        """Return the set just before a row that does not begin its instance."""
        value: NDArray[np.uint32] = self.before[segment].copy()
        news = self.code[start:row][self.added[start:row]]
        size = np.count_nonzero(value)
        value[size : size + len(news)] = news
        return value


@dataclass(frozen=True, slots=True)
class Running:
    """The running aggregates of one batch, whose rows are grouped by session.

    Each method takes one value a row and returns the aggregate of the row's instance after that row (`previous`:
    before it). It carries its state in the table's column of the name it is given, so a name can be used only once.
    """

    table: SessionTable
    segments: Segments
    begins: NDArray[np.bool_]
    """Whether a row is the first of its instance."""
    latest_ms: NDArray[np.int64]
    """The largest timestamp of the instance, after each row."""
    _numbers: NDArray[np.int64]
    """What each segment starts from: the table's numbers of its session, or neutral ones."""
    _traces: dict[str, _Trace | _SetTrace] = field(default_factory=dict)

    @classmethod
    def over(
        cls,
        table: SessionTable,
        slot: NDArray[np.int64],
        timestamp_ms: NDArray[np.int64],
        session_gap_ms: int,
    ) -> Self:
        """Cut a batch into segments.

        A row more than `session_gap_ms` after the session's largest timestamp begins a new instance.

        Args:
            table: The sessions' state.
            slot: Each row's session; equal ones stand side by side.
            timestamp_ms: Each row's event time, from 0 to 2**42.
            session_gap_ms: The longest pause inside an instance.

        Raises:
            StateError: If a time lies outside, which would spoil the running maxima.
        """
        if len(timestamp_ms) and not 0 <= timestamp_ms.min() <= timestamp_ms.max() < _LATEST_TIME_MS:
            msg = (
                f"event times must lie from 0 to {_LATEST_TIME_MS} ms, got {timestamp_ms.min()} to {timestamp_ms.max()}"
            )
            raise StateError(msg)
        new_session = np.diff(slot, prepend=-1) != 0
        start, of_row = np.flatnonzero(new_session), np.cumsum(new_session) - 1
        carried = table.column("latest_ms", _LATEST)[slot[start]]
        latest = _running_max(timestamp_ms, start, of_row, carried)
        begins = timestamp_ms - _one_earlier(latest, start, carried) > session_gap_ms
        segments = _cut(slot, new_session, begins)
        numbers = table.numbers[segments.slot]
        numbers[~segments.goes_on] = table.neutral
        running = cls(table, segments, begins, latest, numbers)
        running._leave("latest_ms", _Trace(running._carried("latest_ms", _LATEST), latest))
        return running

    def since_latest_ms(self, at_most: int) -> NDArray[np.int64]:
        """Return how far each row moved its instance's largest timestamp: 0 where it began it, or was an older row."""
        before = self._before("latest_ms")
        return np.where(self.begins, 0, np.minimum(self.latest_ms - before, at_most))

    def sums(self, **values: ArrayLike) -> dict[str, NDArray[np.int64]]:
        """Add up integers or booleans, each column for itself and all in one go: the module's picture.

        Args:
            values: One value a row, or one for all rows, by the name of the column.
        """
        names, start = list(values), self.segments.start
        carried = np.array([self._carried(name, Carried("<i8")) for name in names])
        added = np.empty((len(names), len(self.begins)), dtype=np.int64)
        for column, value in zip(added, values.values(), strict=True):
            column[:] = value
        total = np.cumsum(added, axis=1)
        after = total + (carried - total[:, start] + added[:, start])[:, self.segments.of_row]
        self._traces.update({name: _Trace(*columns) for name, *columns in zip(names, carried, after, strict=True)})
        places = [self.table.place[name] for name in names]
        slots = self.segments.slot[self.segments.closing]
        self.table.numbers[slots[:, None], places] = after[:, self.segments.last_row].T
        return dict(zip(names, after, strict=True))

    def max(self, name: str, values: NDArray[np.int64], neutral: int = 0) -> NDArray[np.int64]:
        """Keep the largest, at least the neutral value. Everything lies within +-2**42."""
        carried = self._carried(name, Carried("<i8", neutral))
        after = _running_max(values, self.segments.start, self.segments.of_row, carried)
        return self._leave(name, _Trace(carried, after))

    def min(self, name: str, values: NDArray[np.int64], neutral: int) -> NDArray[np.int64]:
        """Keep the smallest, at most the neutral value. Everything lies within +-2**42."""
        carried = self._carried(name, Carried("<i8", neutral))
        after = -_running_max(-values, self.segments.start, self.segments.of_row, -carried)
        return self._leave(name, _Trace(carried, after))

    def first(self, name: str, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Keep the value of the instance's first row."""
        carried = self._carried(name, Carried("<i8"))
        kept = np.where(self.segments.goes_on, carried, values[self.segments.start])
        return self._leave(name, _Trace(carried, kept[self.segments.of_row]))

    def previous(self, name: str, codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the last known code *before* each row, 0 where there is none. A code of 0 is not known."""
        carried = self._carried(name, Carried("<u8"))
        known_at = np.maximum.accumulate(np.where(codes != 0, np.arange(len(codes)), -1))
        in_segment = known_at >= self.segments.start[self.segments.of_row]
        after = np.where(in_segment, codes[known_at], carried[self.segments.of_row])
        self._leave(name, _Trace(carried, after))
        return self._before(name)

    def distinct(self, name: str, codes: NDArray[np.uint64], at_most: int) -> NDArray[np.int64]:
        """Count the different codes, up to `at_most`: then the set is full, and later ones are not remembered.

        Codes are told apart by their low 32 bits, which halves the largest column of the table.
        """
        carried = self._carried(name, Carried("<u4", width=at_most))
        code = np.maximum(codes.astype(np.uint32), 1)
        size = np.count_nonzero(carried, axis=1)
        row, segment, place = self._new_members(code, carried, size)
        sets = carried.copy()
        sets[segment, place] = code[row]
        added = np.zeros(len(code), dtype=np.bool_)
        added[row] = True
        self._traces[name] = _SetTrace(carried, code, added)
        self._put_back(name, sets[self.segments.closing])
        total = np.cumsum(added)
        start = self.segments.start
        counted: NDArray[np.int64] = total + (size - (total[start] - added[start]))[self.segments.of_row]
        return counted

    def _new_members(
        self, code: NDArray[np.uint32], sets: NDArray[np.uint32], size: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Find the rows whose code is new to their segment's set; return row, segment, and place in the set."""
        unseen = np.flatnonzero(~(sets[self.segments.of_row] == code[:, None]).any(axis=1))
        of_segment_and_code = self.segments.of_row[unseen] << 32 | code[unseen]
        _, first = np.unique(of_segment_and_code, return_index=True)
        row = np.sort(unseen[first])
        segment = self.segments.of_row[row]
        place = size[segment] + np.arange(len(row)) - np.searchsorted(segment, segment)
        fits = place < sets.shape[1]
        return row[fits], segment[fits], place[fits]

    def state_before(self, row: int) -> bytes:
        """Return all that the row's instance carried just before it, as `SessionTable.row_bytes` writes it."""
        segment = int(self.segments.of_row[row])
        start = int(self.segments.start[segment])
        if self.begins[row]:
            return self.table.neutral_row
        return self.table.row_bytes({name: trace.at(row, segment, start) for name, trace in self._traces.items()})

    def after(self, name: str) -> NDArray[Any]:
        """Return a column that this batch has already computed, after each row."""
        return self._column(name).after

    def _column(self, name: str) -> _Trace:
        trace = self._traces[name]
        if isinstance(trace, _SetTrace):
            msg = f"state column {name}: it is a set, which has no one value a row"
            raise StateError(msg)
        return trace

    def _carried(self, name: str, carried: Carried) -> NDArray[Any]:
        """Return what each segment starts from."""
        if name in self._traces:
            msg = f"state column {name}: two features of one batch carry under this name"
            raise StateError(msg)
        column = self.table.column(name, carried)
        if not carried.width and self.table.place[name] < self._numbers.shape[1]:
            return self._numbers[:, self.table.place[name]].view(carried.dtype)
        values = column[self.segments.slot]
        values[~self.segments.goes_on] = carried.neutral
        return values

    def _before(self, name: str) -> NDArray[Any]:
        """Return a column's value just before each row."""
        trace = self._column(name)
        return _one_earlier(trace.after, self.segments.start, trace.before)

    def _leave(self, name: str, trace: _Trace) -> NDArray[Any]:
        """Write the last value of each session back to the table, and keep the column for `state_before`."""
        self._traces[name] = trace
        self._put_back(name, trace.after[self.segments.last_row])
        return trace.after

    def _put_back(self, name: str, values: NDArray[Any]) -> None:
        self.table.columns[name][self.segments.slot[self.segments.closing]] = values


def _cut(slot: NDArray[np.int64], new_session: NDArray[np.bool_], begins: NDArray[np.bool_]) -> Segments:
    """Begin a segment where a session begins in the batch, and where an instance begins."""
    new_segment = new_session | begins
    start = np.flatnonzero(new_segment)
    slot_of_segment = slot[start]
    closing = np.flatnonzero(np.diff(slot_of_segment, append=-1))
    return Segments(
        start=start,
        of_row=np.cumsum(new_segment) - 1,
        slot=slot_of_segment,
        goes_on=~begins[start],
        closing=closing,
        last_row=np.append(start[1:], len(slot))[closing] - 1,
    )


def _one_earlier(after: NDArray[Any], start: NDArray[np.intp], before: NDArray[Any]) -> NDArray[Any]:
    """Move a column down by one row: inside a segment the row before, at its start what the segment started from."""
    earlier = np.empty_like(after)
    earlier[1:] = after[:-1]
    earlier[start] = before
    return earlier


def _running_max(
    values: NDArray[np.int64], start: NDArray[np.intp], of_row: NDArray[np.intp], carried: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return the running maximum of each segment, which starts from what it carried.

    One `maximum.accumulate` does them all: each segment is lifted above everything before it, so that the maximum
    cannot see across, and lowered again afterwards. With values within +-2**42 that fits 2**18 segments in an int64.
    """
    lift = of_row * _LIFT
    lifted = values + lift
    lifted[start] = np.maximum(lifted[start], carried + lift[start])
    highest: NDArray[np.int64] = np.maximum.accumulate(lifted) - lift
    return highest
