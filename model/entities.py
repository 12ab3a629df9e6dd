"""What the stores would have known of an event's input when it came, from a stored stream."""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import polars as pl

from features.inputs import MOST_USERS, NEWEST, KnownInput, user_code

WINDOW_MS = 24 * 3_600_000


@dataclass(slots=True)
class _Typed:
    """One masked input so far.

    Attributes:
        since_ms: When anybody first typed it, 0 as long as nobody did.
        recent: Who did in the window, in order.
        times: How often each of them did; who typed last comes last.
    """

    since_ms: int = 0
    recent: deque[tuple[int, str]] = field(default_factory=deque)
    times: dict[str, int] = field(default_factory=dict)

    def known_at(self, timestamp_ms: int) -> KnownInput:
        """Forget what left the window, and return what is known."""
        while self.recent and self.recent[0][0] < timestamp_ms - WINDOW_MS:
            _, user = self.recent.popleft()
            self.times[user] -= 1
            if not self.times[user]:
                del self.times[user]
        newest = tuple(user_code(user) for user in islice(reversed(self.times), NEWEST))
        return KnownInput(self.since_ms, min(len(self.times), MOST_USERS), newest)

    def add(self, timestamp_ms: int, user: str) -> None:
        """Count one more."""
        self.since_ms = self.since_ms or timestamp_ms
        self.recent.append((timestamp_ms, user))
        self.times[user] = self.times.pop(user, 0) + 1


def with_inputs(frame: pl.DataFrame) -> pl.DataFrame:
    """Add what was known of masked inputs when they were typed.

    Args:
        frame: Events in stream order, columns of `EVENT_FRAME`.

    Returns:
        The frame with `input_others`, how many other users typed the same in the 24 h before, and `input_since_ms`,
        when anybody first did, 0 where nobody had.
    """
    typed = frame.select("input_hash", "user_id", "timestamp").with_row_index("at").drop_nulls("input_hash")
    others, since = np.zeros(frame.height), np.zeros(frame.height)
    inputs: dict[str, _Typed] = defaultdict(_Typed)
    for at, text, user, timestamp in typed.iter_rows():
        known = inputs[text].known_at(timestamp)
        others[at], since[at] = known.others_than(user), known.since_ms
        inputs[text].add(timestamp, user)
    return frame.with_columns(pl.Series("input_others", others), pl.Series("input_since_ms", since))
