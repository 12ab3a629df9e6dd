"""What the stores would have known of an event's input when it came, from a stored stream."""

from collections import defaultdict, deque

import numpy as np
import polars as pl

WINDOW_MS = 24 * 3_600_000
MOST_USERS = 256
"""Counts stop here, as in the store: more users say no more."""


def with_inputs(frame: pl.DataFrame) -> pl.DataFrame:
    """Add what was known of masked inputs when they were typed.

    Args:
        frame: Events in stream order, columns of `EVENT_FRAME`.

    Returns:
        The frame with `input_users`, how many users typed the same in the 24 h before, and `input_since_ms`, when
        anybody first did, 0 where nobody had.
    """
    typed = frame.select("input_hash", "user_id", "timestamp").with_row_index("at").drop_nulls("input_hash")
    users, since = np.zeros(frame.height), np.zeros(frame.height)
    recent: dict[str, deque[tuple[int, str]]] = defaultdict(deque)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    first: dict[str, int] = {}
    for at, text, user, timestamp in typed.iter_rows():
        queue, count = recent[text], counts[text]
        while queue and queue[0][0] < timestamp - WINDOW_MS:
            _, gone = queue.popleft()
            count[gone] -= 1
            if not count[gone]:
                del count[gone]
        users[at], since[at] = min(len(count), MOST_USERS), first.get(text, 0)
        first.setdefault(text, timestamp)
        queue.append((timestamp, user))
        count[user] = count.get(user, 0) + 1
    return frame.with_columns(pl.Series("input_users", users), pl.Series("input_since_ms", since))
