"""Scores into decisions: which level a session has crossed, and that it is said only once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from features.live_sessions import Instance, SessionRows
from features.snapshot import pack, pack_strings, unpack, unpack_strings

_KIND = "decisions"


@dataclass(frozen=True, slots=True)
class Level:
    """A level that a session crosses with its first score strictly above the threshold."""

    name: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Crossing:
    """A row of a batch that took its instance to a level for the first time."""

    row: int
    instance: Instance
    level: Level
    is_first: bool
    """Whether it is the instance's first crossing."""

    @property
    def flag_id(self) -> str:
        """The flag's name: the same after a replay, so that whoever reads flags can drop a repeat."""
        named = f"{self.instance.session_id}\0{self.instance.first_ms}\0{self.level.name}"
        return hashlib.sha256(named.encode()).hexdigest()


class Decisions:
    """The levels that the live instances of one partition have crossed."""

    def __init__(self) -> None:
        self.scored = 0
        """Events of the partition that were scored, since its beginning."""
        self._crossed: dict[str, tuple[int, int]] = {}
        """By session: which instance, by its first timestamp, and how many levels it has crossed."""

    def __len__(self) -> int:
        return len(self._crossed)

    def decide(self, rows: SessionRows, score: NDArray[np.float64], levels: Sequence[Level]) -> list[Crossing]:
        """Find the rows that take an instance to a higher level than it has reached.

        A jump over several levels is one crossing, of the highest; a level once crossed stays so.

        Args:
            rows: The features of a batch; sessions that it frees are forgotten.
            score: The calibrated score of each row, without NaN.
            levels: In rising order of their thresholds.
        """
        self.scored += len(score)
        thresholds = np.array([level.threshold for level in levels])
        rank = np.searchsorted(thresholds, score, side="left")  # the number of thresholds strictly below the score
        crossings = []
        for row in np.flatnonzero(rank).tolist():
            instance = rows.instance(row)
            before = self._rank_of(instance)
            if rank[row] > before:
                self._crossed[instance.session_id] = (instance.first_ms, int(rank[row]))
                crossings.append(Crossing(row, instance, levels[rank[row] - 1], is_first=before == 0))
        for session_id in rows.freed:
            self._crossed.pop(session_id, None)
        return crossings

    def _rank_of(self, instance: Instance) -> int:
        """Return how many levels an instance has crossed; what an earlier one of its session did is over."""
        first_ms, rank = self._crossed.get(instance.session_id, (0, 0))
        return rank if first_ms == instance.first_ms else 0

    def snapshot(self) -> bytes:
        """Write the state as bytes."""
        columns = {
            "first_ms": np.array([first_ms for first_ms, _ in self._crossed.values()], dtype=np.int64),
            "rank": np.array([rank for _, rank in self._crossed.values()], dtype=np.int64),
        }
        return pack(_KIND, columns | pack_strings(list(self._crossed)), {"scored": self.scored})

    def restore(self, stored: bytes) -> Self:
        """Take over the state of a snapshot; return self.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        snapshot = unpack(_KIND, stored)
        columns = snapshot.columns
        reached = zip(columns["first_ms"].tolist(), columns["rank"].tolist(), strict=True)
        self._crossed |= zip(unpack_strings(columns), reached, strict=True)
        self.scored = snapshot.scalars["scored"]
        return self
