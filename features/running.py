"""Running aggregates of many sessions at once: the one clever file.

A batch holds events of many sessions, a few of each. A record-at-a-time program would look up each event's session,
add to its sums, and read the features off. Here the whole batch is done in a few NumPy passes
a column (`features/segments.py` does them):

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

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from features.joined_tables import JoinedTables
from features.segments import LATEST_TIME_MS, Segments, changes, cut
from features.session_table import Carried, StateError, tally

NEVER_MS = -(2**42)
"""The latest timestamp of a session that has had no event."""

MOST_A_PLACE, LARGEST_TALLIED = 192, 341
"""Events of one place that are counted, and the largest value that an event may add: their product fits two bytes."""

_NUMBER, _CODE = Carried("<i8"), Carried("<u8")
_LATEST, _LATEST_NAME = Carried("<i8", NEVER_MS), ("latest_ms",)


@dataclass(frozen=True, slots=True)
class _Trace:
    """Some columns of one batch: what each segment started from, and what it had come to after each row."""

    names: tuple[str, ...]
    places: slice
    """Where they lie in the table's numbers."""
    before: NDArray[Any]
    """(names, segments)."""
    after: NDArray[Any]
    """(names, rows)."""

    def at(self, row: int, segment: int, start: int) -> Iterable[NDArray[Any]]:
        """Return each column's value just before a row that does not begin its instance."""
        value: NDArray[Any] = self.before[:, segment] if row == start else self.after[:, row - 1]
        return value


@dataclass(frozen=True, slots=True)
class _SetTrace:
    """The same for a set of codes. The sets after each row would be large: kept is which row added its code."""

    names: tuple[str, ...]
    before: NDArray[np.uint32]
    at_end: NDArray[np.uint32]
    """The sets at the end of each segment."""
    code: NDArray[np.uint32]
    added: NDArray[np.bool_]

    def at(self, row: int, segment: int, start: int) -> Iterable[NDArray[Any]]:
        """Return the set just before a row that does not begin its instance."""
        value: NDArray[np.uint32] = self.before[segment].copy()
        news = self.code[start:row][self.added[start:row]]
        size = np.count_nonzero(value)
        value[size : size + len(news)] = news
        return (value,)


@dataclass(frozen=True, slots=True)
class Tallies:
    """Sums by place: of every instance, and of every place by itself.

    The tallies after each row would be large: kept is what each row added, and they are only made where they are
    asked for.
    """

    names: tuple[str, ...]
    segments: Segments
    before: NDArray[np.uint16]
    """What each segment started from, (segments, sums * places)."""
    place: NDArray[np.int64]
    """Where each row added."""
    added: NDArray[np.int64]
    """What it added to each sum, (sums, rows)."""
    width: int

    @property
    def at_end(self) -> NDArray[np.uint16]:
        """The tallies at the end of each segment."""
        cells = self.segments.of_row * self.before.shape[1] + self.place
        end = self.before.copy()
        for number, added in enumerate(self.added.astype(np.uint16)):
            np.add.at(end.reshape(-1), cells + number * self.width, added)
        return end

    def after_rows(self) -> NDArray[np.int64]:
        """Return them after each row, (rows, sums, places)."""
        by_place = np.zeros((self.before.shape[1], len(self.place)), dtype=np.int64)
        row = np.arange(len(self.place))
        for number, added in enumerate(self.added):
            by_place[self.place + number * self.width, row] = added
        total = self.segments.running_sum(by_place, self.before.T.astype(np.int64))
        return total.T.reshape(len(row), len(self.added), self.width)

    def at(self, row: int, segment: int, start: int) -> Iterable[NDArray[Any]]:
        """Return them just before a row that does not begin its instance."""
        value = self.before[segment].astype(np.int64)
        for number, added in enumerate(self.added):
            np.add.at(value, self.place[start:row] + number * self.width, added[start:row])
        return (value.astype(np.uint16),)


@dataclass(slots=True)
class Running:
    """The running aggregates of one batch, whose rows are grouped by session.

    Each method takes one value a row and returns the aggregate of the row's instance after that row (`previous`:
    before it). It starts from the table's columns of the names it is given, so a name can be used only once; when all
    is computed, `hand_back` writes to the table what each session has come to.
    """

    tables: JoinedTables
    segments: Segments
    begins: NDArray[np.bool_]
    """Whether a row is the first of its instance."""
    latest_ms: NDArray[np.int64]
    """The largest timestamp of the instance, after each row."""
    _numbers: NDArray[np.int64]
    """What each segment starts from, (segments, columns): the table's numbers of its session, or neutral ones."""
    _traces: list[_Trace] = field(default_factory=list)
    """Of the columns that lie in the table's numbers; the first one is of the latest timestamps."""
    _wide_traces: list[_SetTrace | Tallies] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)
    _places: dict[tuple[str, ...], slice] = field(default_factory=dict)

    @classmethod
    def over(
        cls,
        tables: JoinedTables,
        slot: NDArray[np.int64],
        timestamp_ms: NDArray[np.int64],
        session_gap_ms: int,
        *,
        apart: bool,
    ) -> Self:
        """Cut a batch into segments.

        A row more than `session_gap_ms` after the session's largest timestamp begins a new instance.

        Args:
            tables: The sessions' state.
            slot: Each row's session; equal ones stand side by side.
            timestamp_ms: Each row's event time, from 0 to 2**42.
            session_gap_ms: The longest pause inside an instance.
            apart: Whether it is known that no session has two rows.

        Raises:
            StateError: If a time lies outside, which would spoil the running maxima.
        """
        if len(timestamp_ms) and not 0 <= timestamp_ms.min() <= timestamp_ms.max() < LATEST_TIME_MS:
            msg = (
                f"event times must lie from 0 to {LATEST_TIME_MS} ms, got {timestamp_ms.min()} to {timestamp_ms.max()}"
            )
            raise StateError(msg)
        place = tables.places(_LATEST_NAME, _LATEST).start
        segments, latest, begins = cut(
            slot, timestamp_ms, lambda slots: tables.numbers(slots)[:, place], session_gap_ms, apart=apart
        )
        numbers = tables.numbers(segments.slot)
        numbers[~segments.goes_on] = tables.neutral
        running = cls(tables, segments, begins, latest, numbers)
        running._keep(_LATEST_NAME, running._start_of(_LATEST_NAME, _LATEST), latest[None])
        return running

    def since_latest_ms(self, at_most: int) -> NDArray[np.int64]:
        """Return how far each row moved its instance's largest timestamp: 0 where it began it, or was an older row."""
        latest = self._traces[0]
        before = self.segments.one_earlier(latest.after, latest.before)[0]
        return np.where(self.begins, 0, np.minimum(self.latest_ms - before, at_most))

    def sums(self, **values: ArrayLike) -> dict[str, NDArray[np.int64]]:
        """Add up integers or booleans, each column for itself and all in one go: the module's picture.

        Args:
            values: One value a row, or one for all rows, by the name of the column.
        """
        names = tuple(values)
        carried = self._start_of(names, _NUMBER)
        added = np.empty((len(names), len(self.begins)), dtype=np.int64)
        for column, value in zip(added, values.values(), strict=True):
            column[:] = value
        return self._keep(names, carried, self.segments.running_sum(added, carried))

    def max(self, name: str, values: NDArray[np.int64], neutral: int = 0) -> NDArray[np.int64]:
        """Keep the largest, at least the neutral value. Everything lies within +-2**42."""
        carried = self._start_of((name,), Carried("<i8", neutral))
        after = self.segments.running_max(values, carried[0])
        return self._keep((name,), carried, after[None])[name]

    def min(self, name: str, values: NDArray[np.int64], neutral: int) -> NDArray[np.int64]:
        """Keep the smallest, at most the neutral value. Everything lies within +-2**42."""
        carried = self._start_of((name,), Carried("<i8", neutral))
        after = -self.segments.running_max(-values, -carried[0])
        return self._keep((name,), carried, after[None])[name]

    def firsts(self, **values: NDArray[np.int64]) -> dict[str, NDArray[np.int64]]:
        """Keep the values of the instance's first row, by the name of the column."""
        names = tuple(values)
        carried = self._start_of(names, _NUMBER)
        at_start = np.array([value[self.segments.start] for value in values.values()])
        kept = np.where(self.segments.goes_on, carried, at_start)
        return self._keep(names, carried, kept[:, self.segments.of_row])

    def previous(self, **codes: NDArray[np.uint64]) -> dict[str, NDArray[np.uint64]]:
        """Return the last known code *before* each row, 0 where there is none. A code of 0 is not known."""
        names, given = tuple(codes), np.array(list(codes.values()))
        carried = self._start_of(names, _CODE)
        after = self.segments.last_known(given, carried)
        self._keep(names, carried, after)
        return dict(zip(names, self.segments.one_earlier(after, carried), strict=True))

    def recent(self, name: str, codes: NDArray[np.uint64], count: int) -> NDArray[np.uint64]:
        """Return the codes of the `count` rows before each row, the nearest first: (count, rows), 0 for none."""
        names = tuple(f"{name}_{place}" for place in range(1, count + 1))
        carried = self._start_of(names, _CODE)
        earlier = self.segments.earlier(codes, carried)
        self._keep(names, carried, np.concatenate([codes[None], earlier[:-1]]))
        return earlier

    def distinct(self, name: str, codes: NDArray[np.uint64], at_most: int) -> NDArray[np.int64]:
        """Count the different codes, up to `at_most`: then the set is full, and later ones are not remembered.

        Codes are told apart by their low 32 bits, which halves the largest column of the table.
        """
        carried = self._wide_at_start(name, Carried("<u4", width=at_most))
        code = np.maximum(codes.astype(np.uint32), 1)
        size = np.count_nonzero(carried, axis=1)
        row, segment, place = self._new_members(code, carried, size)
        sets = carried.copy()
        sets[segment, place] = code[row]
        added = np.zeros(len(code), dtype=np.int64)
        added[row] = 1
        self._wide_traces.append(_SetTrace((name,), carried, sets, code, added != 0))
        return self.segments.running_sum(added, size)

    def _new_members(
        self, code: NDArray[np.uint32], sets: NDArray[np.uint32], size: NDArray[np.intp]
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        """Find the rows whose code is new to their segment's set; return row, segment, and place in the set."""
        unseen = np.flatnonzero(~(sets[self.segments.of_row] == code[:, None]).any(axis=1))
        if self.segments.apart:
            unseen = unseen[size[unseen] < sets.shape[1]]
            return unseen, unseen, size[unseen]
        of_segment_and_code = self.segments.of_row[unseen] << 32 | code[unseen]
        _, first = np.unique(of_segment_and_code, return_index=True)
        row = np.sort(unseen[first])
        segment = self.segments.of_row[row]
        place = size[segment] + np.arange(len(row)) - np.searchsorted(segment, segment)
        fits = place < sets.shape[1]
        return row[fits], segment[fits], place[fits]

    def tallies(self, name: str, place: NDArray[np.int64], values: Sequence[NDArray[np.int64]], width: int) -> Tallies:
        """Count the events of each place, and add up some values by place.

        At most `MOST_A_PLACE` events a place are counted: later ones of the instance add nothing.

        Args:
            name: Of the column.
            place: Where each row adds, from 0 to `width`.
            values: What it adds, each from 0 to `LARGEST_TALLIED`.
            width: How many places there are.
        """
        before: NDArray[np.uint16] = self._wide_at_start(name, tally(width, 1 + len(values)))
        counts = self._rank_in_place(place, width) + before[self.segments.of_row, place] < MOST_A_PLACE
        added = np.array([counts, *(np.where(counts, value, 0) for value in values)], dtype=np.int64)
        made = Tallies((name,), self.segments, before, place, added, width)
        self._wide_traces.append(made)
        return made

    def _rank_in_place(self, place: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        """Count, for each row, the rows before it with its segment and place."""
        if self.segments.apart:
            return np.zeros(len(place), dtype=np.int64)
        cell = self.segments.of_row * width + place
        order = np.argsort(cell, kind="stable")
        first = np.flatnonzero(changes(cell[order]))
        rank = np.empty(len(cell), dtype=np.int64)
        rank[order] = np.arange(len(cell)) - np.repeat(first, np.diff(first, append=len(cell)))
        return rank

    def hand_back(self) -> None:
        """Let the table hold what each session carries on from the end of the batch: once, when all is computed."""
        segments = self.segments
        numbers = self._numbers[segments.closing]
        for trace in self._traces:
            numbers[:, trace.places] = trace.after[:, segments.last_row].view(np.int64).T
        wide = {trace.names[0]: trace.at_end[segments.closing] for trace in self._wide_traces}
        self.tables.write(segments.closing_slot, numbers, wide)

    def state_before(self, row: int) -> bytes:
        """Return all that the row's instance carried just before it, as `SessionTable.row_bytes` writes it."""
        segment = int(self.segments.of_row[row])
        start = int(self.segments.start[segment])
        if self.begins[row]:
            return self.tables.neutral_row
        values: dict[str, NDArray[Any]] = {}
        for trace in (*self._traces, *self._wide_traces):
            values |= zip(trace.names, trace.at(row, segment, start), strict=True)
        return self.tables.row_bytes(values)

    def after(self, name: str) -> NDArray[Any]:
        """Return a column of numbers that this batch has already computed, after each row."""
        trace = next(trace for trace in self._traces if name in trace.names)
        value: NDArray[Any] = trace.after[trace.names.index(name)]
        return value

    def _use(self, names: tuple[str, ...]) -> None:
        if not self._used.isdisjoint(names):
            msg = f"state column {min(self._used & set(names))}: two features of one batch carry under this name"
            raise StateError(msg)
        self._used.update(names)

    def _start_of(self, names: tuple[str, ...], carried: Carried) -> NDArray[Any]:
        """Return what each segment starts from: (names, segments)."""
        self._use(names)
        places = self._places[names] = self.tables.places(names, carried)
        lacking = places.stop - self._numbers.shape[1]
        if lacking > 0:  # new to everybody
            neutral = np.full((len(self._numbers), lacking), carried.neutral, dtype=carried.dtype).view(np.int64)
            self._numbers = np.concatenate([self._numbers, neutral], axis=1)
        return self._numbers[:, places].T.view(carried.dtype)

    def _wide_at_start(self, name: str, carried: Carried) -> NDArray[Any]:
        self._use((name,))
        wide = self.tables.wide(name, carried, self.segments.slot)
        wide[~self.segments.goes_on] = 0
        return wide

    def _keep(self, names: tuple[str, ...], before: NDArray[Any], after: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Keep columns for `hand_back` and `state_before`; return them by name."""
        self._traces.append(_Trace(names, self._places[names], before, after))
        return dict(zip(names, after, strict=True))
