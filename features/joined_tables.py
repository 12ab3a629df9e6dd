"""The session tables of several partitions as one, for the time of a batch.

Each partition has a table of its own, which is stored and moved by itself. But a call of the features costs the same
for ten rows as for a hundred, and a lane has a batch of each of its partitions at a time: so they go through together.
A slot of the joined tables says which table and which slot there; rows are ordered by table.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.session_table import Carried, SessionTable

_SLOT_BITS = 40
_SLOT = (1 << _SLOT_BITS) - 1


class JoinedTables:
    """Some tables, whose columns came into being in the same order: the same features asked for them.

    Args:
        tables: At least one.
    """

    def __init__(self, tables: Sequence[SessionTable]) -> None:
        self._tables = tables
        self._ends = np.arange(1, len(tables) + 1) << _SLOT_BITS

    def slots_of(self, session_ids: Sequence[Sequence[str]]) -> NDArray[np.int64]:
        """Return the slot of each session, those of the first table first; one not seen before gets a neutral one."""
        slots = [table.slots_of(ids) + (at << _SLOT_BITS) for at, (table, ids) in self._each(session_ids)]
        return np.concatenate(slots)

    def _each(self, session_ids: Sequence[Sequence[str]]) -> Iterator[tuple[int, tuple[SessionTable, Sequence[str]]]]:
        return enumerate(zip(self._tables, session_ids, strict=True))

    def _cuts(self, slots: NDArray[np.int64]) -> list[tuple[SessionTable, slice]]:
        """Return the rows of each table, whose slots stand side by side."""
        if len(self._tables) == 1:
            return [(self._tables[0], slice(None))]
        ends = np.searchsorted(slots | _SLOT, self._ends).tolist()
        places = map(slice, [0, *ends[:-1]], ends)
        return list(zip(self._tables, places, strict=True))

    def numbers(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what sessions carry in numbers: a copy, (sessions, columns)."""
        own = slots & _SLOT
        rows = [table.numbers[own[place]] for table, place in self._cuts(slots)]
        return np.concatenate(rows) if len(rows) > 1 else rows[0]

    def wide(self, name: str, carried: Carried, slots: NDArray[np.int64]) -> NDArray[Any]:
        """Return the set or the tally that sessions carry under a name: a copy, (sessions, width)."""
        own = slots & _SLOT
        for table in self._tables:
            table.column(name, carried)
        rows = [table.columns[name][own[place]] for table, place in self._cuts(slots)]
        return np.concatenate(rows) if len(rows) > 1 else rows[0]

    def write(self, slots: NDArray[np.int64], numbers: NDArray[np.int64], wide: Mapping[str, NDArray[Any]]) -> None:
        """Let sessions carry other values; see `SessionTable.write`."""
        own = slots & _SLOT
        for table, place in self._cuts(slots):
            table.write(own[place], numbers[place], {name: rows[place] for name, rows in wide.items()})

    def places(self, names: tuple[str, ...], carried: Carried) -> slice:
        """Return where in `numbers` some columns lie that are used together: in all tables at the same place."""
        for table in self._tables[1:]:
            table.places(names, carried)
        return self._tables[0].places(names, carried)

    @property
    def neutral(self) -> NDArray[np.int64]:
        """What a session without events carries in numbers."""
        return self._tables[0].neutral

    @property
    def neutral_row(self) -> bytes:
        """All that it carries, as `row_bytes` writes it."""
        return self._tables[0].neutral_row

    def row_bytes(self, values: dict[str, NDArray[Any]]) -> bytes:
        """Write one session's carried values; see `SessionTable.row_bytes`."""
        return self._tables[0].row_bytes(values)
