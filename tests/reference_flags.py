"""The specification of flags: which rows raise one, and its id. As `tests/reference.py`, it imports nothing of ours."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReferenceFlag:
    """A flag: a session's instance crossed a level for the first time."""

    flag_id: str
    session_id: str
    first: int
    level: str


def reference_flag_id(session_id: str, first: int, level: str) -> str:
    """Give the id of a flag: sha256 of session id, the instance's first timestamp and level, by zero bytes."""
    return hashlib.sha256(f"{session_id}\x00{first}\x00{level}".encode()).hexdigest()


class ReferenceFlags:
    """Decides which rows raise a flag.

    A row's rank is the number of level thresholds strictly below its score. When it exceeds the highest rank
    that the instance (session_id, first timestamp) reached before, one flag is raised, at the level of that
    rank; the levels below count as crossed and none is un-crossed.

    Args:
        levels: (name, threshold), thresholds ascending.
    """

    def __init__(self, levels: Sequence[tuple[str, float]] = (("review", 0.8), ("block", 0.95))) -> None:
        self._levels = tuple(levels)
        self._highest: dict[tuple[str, int], int] = {}

    def update(self, session_id: str, first: int, score: float) -> ReferenceFlag | None:
        """Take the score of the next row of an instance; gives the flag it raises, if any."""
        rank = sum(threshold < score for _, threshold in self._levels)
        if rank <= self._highest.get((session_id, first), 0):
            return None
        self._highest[session_id, first] = rank
        level = self._levels[rank - 1][0]
        return ReferenceFlag(reference_flag_id(session_id, first, level), session_id, first, level)
