"""Facts about entities (devices, users, inputs) as sorted columns: what was seen with what, since when.

A fact is: entity E was seen in relation R with member M, first and last at these minutes, so many times. Two facts of
the same three are one: the earlier first, the later last, the sum of the counts. So it makes no difference in which
order, in which batches or over which partitions events arrive; what is asked of facts is a function of the set of
events alone, and that is what makes it exact after a crash and the same with one worker as with three.

Rows are kept sorted, as two runs: what came lately is small and is sorted with every batch, and goes into the large one
when that has grown by an eighth (O'Neil et al., The Log-Structured Merge-Tree, Acta Informatica 33, 1996).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from features.snapshot import pack, unpack

_KIND = "facts"
_LATELY = 4_096
"""Rows that came lately may be so many at least, before they are put to the others."""
_PART = 8
_COLUMNS = {"entity": "<u8", "relation": "|u1", "member": "<u8", "first": "<u4", "last": "<u4", "count": "<u4"}


@dataclass(frozen=True, slots=True)
class Facts:
    """Some facts, one an element in every array; sorted by entity, relation, member, and no two with the same three.

    Attributes:
        entity: uint64 code.
        relation: uint8.
        member: uint64 code; what it is a code of depends on the relation.
        first: uint32, minutes since 1970.
        last: uint32, minutes since 1970.
        count: uint32, how often.
    """

    entity: NDArray[np.uint64]
    relation: NDArray[np.uint8]
    member: NDArray[np.uint64]
    first: NDArray[np.uint32]
    last: NDArray[np.uint32]
    count: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.entity)

    @classmethod
    def none(cls) -> Self:
        """Return no facts."""
        return cls(**{name: np.empty(0, dtype=dtype) for name, dtype in _COLUMNS.items()})

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> Self:
        """Return the facts of all parts, in order; the parts need not be in order, nor without repetition."""
        rows = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        order = np.lexsort((rows["member"], rows["relation"], rows["entity"]))
        rows = {name: column[order] for name, column in rows.items()}
        if not len(order):
            return cls(**rows)
        same = np.ones(len(order) - 1, dtype=np.bool_)
        for name in ("entity", "relation", "member"):
            same &= rows[name][1:] == rows[name][:-1]
        starts = np.flatnonzero(np.concatenate([[True], ~same]))
        folded = {name: rows[name][starts] for name in ("entity", "relation", "member")}
        folded["first"] = np.minimum.reduceat(rows["first"], starts)
        folded["last"] = np.maximum.reduceat(rows["last"], starts)
        folded["count"] = np.add.reduceat(rows["count"], starts).astype(np.uint32)
        return cls(**folded)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Self:
        """Return some of the facts, in their order."""
        return type(self)(**{name: getattr(self, name)[rows] for name in _COLUMNS})

    def of(self, entities: NDArray[np.uint64]) -> Self:
        """Return all facts of some entities.

        Args:
            entities: Rising, each once.
        """
        starts = np.searchsorted(self.entity, entities, side="left")
        sizes = np.searchsorted(self.entity, entities, side="right") - starts
        ends = np.cumsum(sizes)
        rows = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)
        return self.take(rows)


class FactTable:
    """The facts of one shard.

    Args:
        keep: By relation, for how many minutes behind the horizon a fact is kept.
        most: Of one entity in one relation, so many members are kept: those seen last.
    """

    def __init__(self, keep: Mapping[int, int], most: int) -> None:
        self._keep = np.zeros(max(keep) + 1, dtype=np.int64)
        self._keep[list(keep)] = list(keep.values())
        self._most = most
        self._main, self._lately = Facts.none(), Facts.none()
        self._horizon = 0

    def __len__(self) -> int:
        return len(self._main) + len(self._lately)

    def add(self, facts: Facts, horizon: int) -> None:
        """Take note of facts, in any order.

        Args:
            facts: Any.
            horizon: The minute behind which no event can come any more. What is kept is counted from here, and not
                from the newest fact: else an event of a partition that lags would find others' facts gone.
        """
        self._horizon = max(self._horizon, horizon)
        self._lately = Facts.merged([self._lately, facts])
        if len(self._lately) > max(_LATELY, len(self._main) // _PART):
            self._settle()

    def of(self, entities: NDArray[np.uint64]) -> Facts:
        """Return all facts of some entities; some may be older than is kept.

        Args:
            entities: Rising, each once.
        """
        return Facts.merged([self._main.of(entities), self._lately.of(entities)])

    def _settle(self) -> None:
        """Make one run of the two, without what is too old and without the members too many."""
        every = Facts.merged([self._main, self._lately])
        fresh = every.take(every.last + self._keep[every.relation] >= self._horizon)
        self._main, self._lately = fresh.take(_are_newest(fresh, self._most)), Facts.none()

    def evict(self, most: int) -> int:
        """Forget the facts of entities that were not seen for longest, until at most so many facts are left.

        Returns:
            How many entities are gone. Then counts of theirs begin anew: this costs exactness, and is to be told.
        """
        if len(self) <= most:
            return 0
        self._settle()
        starts = np.flatnonzero(np.diff(self._main.entity, prepend=~self._main.entity[:1]))
        if len(self) <= most:
            return 0
        sizes = np.diff(starts, append=len(self._main))
        seen = np.maximum.reduceat(self._main.last, starts)
        by_age = np.argsort(seen, kind="stable")
        gone = by_age[: int(np.searchsorted(np.cumsum(sizes[by_age]), len(self) - most)) + 1]
        kept = np.ones(len(starts), dtype=np.bool_)
        kept[gone] = False
        self._main = self._main.take(np.repeat(kept, sizes))
        return len(gone)

    def snapshot(self) -> bytes:
        """Return the facts as bytes."""
        self._settle()
        return pack(_KIND, {name: getattr(self._main, name) for name in _COLUMNS}, {"horizon": self._horizon})

    def restore(self, stored: bytes) -> None:
        """Take over what a snapshot holds.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        snapshot = unpack(_KIND, stored)
        self._main = Facts(**{name: snapshot.columns[name] for name in _COLUMNS})
        self._lately, self._horizon = Facts.none(), int(snapshot.scalars["horizon"])


def _are_newest(facts: Facts, most: int) -> NDArray[np.bool_]:
    """Say which facts are among the newest of their entity and relation; of equally new ones the larger members."""
    group = np.concatenate([[True], (np.diff(facts.entity) != 0) | (np.diff(facts.relation) != 0)])[: len(facts)]
    starts = np.flatnonzero(group)
    sizes = np.diff(starts, append=len(facts))
    kept = np.ones(len(facts), dtype=np.bool_)
    for start, size in zip(starts[sizes > most].tolist(), sizes[sizes > most].tolist(), strict=True):
        rows = slice(start, start + size)
        oldest = np.lexsort((facts.member[rows], facts.last[rows]))[: size - most]
        kept[start + oldest] = False
    return kept
