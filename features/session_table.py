"""What every live session of a partition carries from one batch to the next: a struct of arrays."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.snapshot import pack, pack_strings, unpack, unpack_strings

_KIND = "session_table"
_COLUMN = "column:"
_MEMBERS, _SIZES = "members:", "sizes:"
_CELLS, _FILLED = "cells:", "filled:"
_PLACE_BITS = 16
_MIN_CAPACITY = 1024


class StateError(ValueError):
    """The state was asked for something that it cannot give."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What a column holds: its type, and the value of an instance that has had no event.

    Attributes:
        dtype: A NumPy integer type; floats are never carried.
        neutral: The value before the first event.
        width: 0 for one value a session, else that many.
        is_tally: Whether each of them has a meaning by its place; else they are a set of codes, 0 for empty places.
    """

    dtype: str
    neutral: int = 0
    width: int = 0
    is_tally: bool = False

    def rows(self, count: int) -> NDArray[Any]:
        """Return the column of so many sessions without events."""
        return np.full((count, self.width) if self.width else count, self.neutral, dtype=self.dtype)


def tally(places: int, sums: int) -> Carried:
    """Return a column of some sums for each of some places, up to 65,535 each."""
    return Carried("<u2", width=places * sums, is_tally=True)


class SessionTable:
    """The live sessions of one partition. A session has a slot, its position in every array.

    Which slot it has never shows in a result. Columns come into being when the features first ask for them. The
    numbers of a session lie side by side in memory, so that a batch fetches one place a session and not one a column.
    """

    def __init__(self) -> None:
        self.layout: dict[str, Carried] = {}
        self.columns: dict[str, NDArray[Any]] = {}
        """Each column by slot: of numbers, a view of `numbers`."""
        self.numbers: NDArray[np.int64] = np.empty((0, 0), dtype=np.int64)
        """All columns of one number a session, (slots, columns); unsigned ones with the same bits."""
        self.place: dict[str, int] = {}
        """Where in `numbers` a column lies."""
        self.group: dict[tuple[str, ...], slice] = {}
        """Where those lie that are used together."""
        self.neutral: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        """One row of `numbers` as a session without events has it."""
        self.neutral_row = b""
        """The same, sets and all, as `row_bytes` writes it."""
        self.slots: dict[str, int] = {}
        self.session_ids: list[str | None] = []
        """The same by slot, None where the slot is free."""
        self._free: list[int] = []
        """Slots that were in use and are not any more."""
        self._changed: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        """By slot, whether the next snapshot must have it."""
        self._id_bytes = 0

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def state_bytes(self) -> int:
        """Bytes in memory: the arrays, free slots included, and the index of session ids."""
        wide = sum(column.nbytes for name, column in self.columns.items() if name not in self.place)
        ids = sys.getsizeof(self.slots) + sys.getsizeof(self.session_ids) + self._id_bytes
        return self.numbers.nbytes + wide + self._changed.nbytes + ids

    def column(self, name: str, carried: Carried) -> NDArray[Any]:
        """Return a column by slot, made neutral for everybody if it is new.

        Raises:
            StateError: If the name already means something else.
        """
        if name not in self.layout:
            self.layout[name] = carried
            self._add(name, carried)
            self.neutral_row = self.row_bytes({name: each.rows(1)[0] for name, each in self.layout.items()})
        if self.layout[name] != carried:
            msg = f"state column {name}: it holds {self.layout[name]}, a feature asked for {carried}"
            raise StateError(msg)
        return self.columns[name]

    def places(self, names: tuple[str, ...], carried: Carried) -> slice:
        """Return where in `numbers` some columns lie that are used together; new ones are neutral for everybody.

        Raises:
            StateError: If a name already means something else, or some of them are used with others elsewhere.
        """
        if names not in self.group or self.layout[names[0]] != carried:
            for name in names:
                self.column(name, carried)
            first = self.place[names[0]]
            if [self.place[name] for name in names] != list(range(first, first + len(names))):
                msg = f"state columns {', '.join(names)}: expected them side by side, some were used with others"
                raise StateError(msg)
            self.group[names] = slice(first, first + len(names))
        return self.group[names]

    def _add(self, name: str, carried: Carried) -> None:
        column = carried.rows(self.capacity)
        if carried.width:
            self.columns[name] = column
        else:
            self.place[name] = len(self.place)
            self.neutral = np.append(self.neutral, carried.rows(1).view(np.int64))
            self._take_numbers(np.column_stack([self.numbers, column.view(np.int64)]))

    def _take_numbers(self, numbers: NDArray[np.int64]) -> None:
        """Hold all numbers in another array from now on."""
        self.numbers = numbers
        for name, place in self.place.items():
            self.columns[name] = numbers[:, place].view(self.layout[name].dtype)

    def slots_of(self, session_ids: Sequence[str]) -> NDArray[np.int64]:
        """Return each session's slot; a session not seen before gets a neutral one."""
        found = list(map(self.slots.get, session_ids))
        if None in found:
            known = zip(found, session_ids, strict=True)
            found = [self._slot_of(session_id) if slot is None else slot for slot, session_id in known]
        return np.array(found, dtype=np.int64)

    def _slot_of(self, session_id: str) -> int:
        slot = self.slots.get(session_id)
        if slot is None:
            slot = self._free.pop() if self._free else self._new_slot()
            self._take(slot, session_id)
        return slot

    def _take(self, slot: int, session_id: str) -> None:
        self.slots[session_id], self.session_ids[slot] = slot, session_id
        self._id_bytes += _entry_bytes(session_id, slot)

    def _new_slot(self) -> int:
        self._reach(len(self.session_ids) + 1)
        return len(self.session_ids) - 1

    def _reach(self, used: int) -> None:
        """Have so many slots in use at least, new ones free and neutral."""
        if used > self.capacity:
            self._grow(max(used - self.capacity, self.capacity // 4, _MIN_CAPACITY))
        self.session_ids.extend([None] * (used - len(self.session_ids)))

    @property
    def capacity(self) -> int:
        """The slots that there is memory for."""
        return len(self._changed)

    def _grow(self, more: int) -> None:
        for name, carried in self.layout.items():
            if carried.width:
                self.columns[name] = np.concatenate([self.columns[name], carried.rows(more)])
        self._take_numbers(np.concatenate([self.numbers, np.tile(self.neutral, (more, 1))]))
        self._changed = np.concatenate([self._changed, np.zeros(more, dtype=np.bool_)])

    def used(self, name: str) -> NDArray[Any]:
        """Return a column up to the last slot that was ever in use, free ones included."""
        return self.columns[name][: len(self.session_ids)]

    def write(self, slots: NDArray[np.int64], numbers: NDArray[np.int64], wide: Mapping[str, NDArray[Any]]) -> None:
        """Let sessions carry other values.

        Args:
            slots: Of the sessions, each once.
            numbers: (sessions, columns), all of them.
            wide: Those of the columns of sets and tallies that change, by name.
        """
        self.numbers[slots] = numbers
        for name, rows in wide.items():
            self.columns[name][slots] = rows
        self._changed[slots] = True

    def free(self, slots: NDArray[np.int64]) -> list[str]:
        """Forget the sessions in these slots; return their ids."""
        freed = []
        for slot in slots.tolist():
            session_id, self.session_ids[slot] = self.session_ids[slot], None
            if session_id is not None:
                del self.slots[session_id]
                self._id_bytes -= _entry_bytes(session_id, slot)
                self._free.append(slot)
                freed.append(session_id)
        self._be_neutral(slots)
        return freed

    def _be_neutral(self, slots: NDArray[np.int64]) -> None:
        wide = {name: carried.rows(len(slots)) for name, carried in self.layout.items() if carried.width}
        self.write(slots, self.neutral, wide)

    def snapshot(self, part: int = 0, of: int = 1) -> bytes:
        """Write one of `of` parts of the table as bytes, and what has changed since the last one was written.

        What is written are slots: with the session that it has, or that it is free. `of` snapshots in a row, with
        every part, have all of them.
        """
        due = self._changed[: len(self.session_ids)].copy()
        due[part::of] = True
        self._changed[:] = False
        slots = np.flatnonzero(due)
        session_ids = [self.session_ids[slot] for slot in slots.tolist()]
        is_live = np.array([session_id is not None for session_id in session_ids], dtype=np.bool_)
        columns = pack_strings([session_id for session_id in session_ids if session_id is not None])
        columns |= {"free": slots[~is_live], "slot": slots[is_live]}
        numbers = self.numbers[columns["slot"]]
        for name, place in self.place.items():
            columns[_COLUMN + name] = numbers[:, place].view(self.layout[name].dtype)
        for name in self.columns.keys() - self.place.keys():
            columns |= _packed(name, self.columns[name][columns["slot"]], self.layout[name])
        return pack(_KIND, columns)

    def restore(self, *stored: bytes) -> NDArray[np.int64]:
        """Take over the sessions of as many snapshots as have all parts, the oldest first.

        Columns that nobody asks for any more are dropped. The next snapshot has everything.

        Returns:
            The slots of sessions that lack a column which this version carries: it starts neutral for them.
        """
        lacking: set[int] = set()
        for each in stored:
            slots, missing = self._restore(unpack(_KIND, each).columns)
            lacking = lacking.union(slots) if missing else lacking.difference(slots)
        for slot, session_id in enumerate(self.session_ids):
            if session_id is None:
                self._free.append(slot)
            else:
                self._take(slot, session_id)
        self._changed[: len(self.session_ids)] = True
        return np.array(sorted(lacking), dtype=np.int64)

    def _restore(self, columns: Mapping[str, NDArray[Any]]) -> tuple[list[int], list[str]]:
        """Write the slots of one snapshot over what is there; return those with a session, and the columns missing."""
        session_ids = unpack_strings(columns)
        slots = columns.get("slot", np.arange(len(session_ids)))  # 0.1.0 had no place for them
        free = columns.get("free", slots[:0])
        self._reach(1 + max(slots.max(initial=-1), free.max(initial=-1)))
        self._be_neutral(np.concatenate([slots, free]))
        for slot in free.tolist():
            self.session_ids[slot] = None
        for slot, session_id in zip(slots.tolist(), session_ids, strict=True):
            self.session_ids[slot] = session_id
        missing = []
        for name, carried in self.layout.items():
            column = _unpacked(columns, name, carried) if carried.width else columns.get(_COLUMN + name)
            if column is None or column.dtype != carried.dtype or column.shape[1:] != carried.rows(0).shape[1:]:
                missing.append(name)
            else:
                self.columns[name][slots] = column
        return slots.tolist(), missing

    def row_bytes(self, values: dict[str, NDArray[Any]]) -> bytes:
        """Write one session's carried values: little-endian, in the order of their names."""
        layout = sorted(self.layout.items())
        return b"".join(np.asarray(values[name], dtype=carried.dtype).tobytes() for name, carried in layout)

    def put_row(self, session_id: str, row: bytes) -> None:
        """Give a session the carried values that `row_bytes` wrote.

        Raises:
            StateError: If they were written with another layout.
        """
        size = sum(carried.rows(1).nbytes for carried in self.layout.values())
        if len(row) != size:
            msg = f"carried values of a session: expected {size} bytes, got {len(row)}"
            raise StateError(msg)
        slot = self._slot_of(session_id)
        at = 0
        for name, carried in sorted(self.layout.items()):
            empty = carried.rows(1)
            self.columns[name][slot] = np.frombuffer(row, carried.dtype, empty.size, at).reshape(empty.shape)[0]
            at += empty.nbytes


def _packed(name: str, rows: NDArray[Any], carried: Carried) -> dict[str, NDArray[Any]]:
    """Write a wide column without its empty places: of most sessions, most are."""
    filled = np.count_nonzero(rows, axis=1)
    if not carried.is_tally:
        return {_MEMBERS + name: rows[rows != 0], _SIZES + name: filled}
    row, place = np.nonzero(rows)
    cells = place.astype(np.uint32) << _PLACE_BITS | rows[row, place]
    return {_CELLS + name: cells, _FILLED + name: filled}


def _unpacked(columns: Mapping[str, NDArray[Any]], name: str, carried: Carried) -> NDArray[Any] | None:
    """Read what `_packed` wrote; None where it is absent or too wide. 0.1.0 stored sets with their empty places."""
    size = columns.get((_FILLED if carried.is_tally else _SIZES) + name)
    if size is None:
        return columns.get(_COLUMN + name)
    rows = carried.rows(len(size))
    if not carried.is_tally:
        if size.max(initial=0) > carried.width:
            return None
        rows[np.arange(carried.width) < size[:, None]] = columns[_MEMBERS + name]
        return rows
    cells = columns[_CELLS + name]
    place = cells >> _PLACE_BITS
    if place.max(initial=0) >= carried.width:
        return None
    rows[np.repeat(np.arange(len(size)), size), place] = cells & ((1 << _PLACE_BITS) - 1)
    return rows


def _entry_bytes(session_id: str, slot: int) -> int:
    return sys.getsizeof(session_id) + sys.getsizeof(slot)
