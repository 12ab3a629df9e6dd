"""What the store knows of one masked input: since when anybody types it, and who did in the last day.

The same value in many users' sessions is a password that is being tried, or the account of a mule. A user's own earlier
typing says nothing, so the newest few users are kept by their codes: a user is not counted as one of the others.
"""

from typing import NamedTuple, Self

from features.codes import code_of
from features.segments import LATEST_TIME_MS

NEWEST = 4
"""Users whose codes are kept. A user who typed before them is counted among the others: by then they are many."""
MOST_USERS = 256
"""Counts end here: more users say no more."""
_CODE = 0xFFFF_FFFF


class KnownInput(NamedTuple):
    """One masked input.

    Attributes:
        since_ms: When anybody first typed it, in the last 60 days.
        users: How many users did in the last 24 h, at most `MOST_USERS`.
        newest: The codes of the newest of them, the newest first, at most `NEWEST`.
    """

    since_ms: int
    users: int
    newest: tuple[int, ...]

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read what `as_text` wrote.

        Raises:
            ValueError: If it is something else.
        """
        since, users, *codes = text.split(" ")
        known = cls(int(since), int(users), tuple(int(code, 16) for code in codes))
        is_sound = 0 < known.since_ms < LATEST_TIME_MS and len(known.newest) <= known.users <= MOST_USERS
        if not is_sound or len(known.newest) > NEWEST or any(not 0 <= code <= _CODE for code in known.newest):
            msg = "expected a time in ms, a number of users, and the codes of up to 4 of them"
            raise ValueError(msg)
        return known

    def as_text(self) -> str:
        """Write it as it lies in the store: decimal, decimal, then codes in hexadecimal."""
        return " ".join([str(self.since_ms), str(self.users), *(f"{code:08x}" for code in self.newest)])

    def others_than(self, user_id: str) -> int:
        """Return how many users typed it who are not this one."""
        return self.users - (user_code(user_id) in self.newest)


def user_code(user_id: str) -> int:
    """Return what the store knows a user by here: 32 bits, so that no flag carries another user's id."""
    return code_of(user_id) & _CODE
