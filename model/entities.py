"""What the stores would have known of an event's input when it came, from a stored stream."""

from collections import defaultdict, deque

import numpy as np
import polars as pl

WINDOW_MS = 24 * 3_600_000
MOST_USERS = 256
"""Counts stop here, as in the store: more users say no more."""


def with_input_users(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the column `input_users`: how many users typed an event's masked input in the 24 h before it.

    Args:
        frame: Events in stream order, columns of `EVENT_FRAME`.
    """
    typed = frame.select("input_hash", "user_id", "timestamp").with_row_index("at").drop_nulls("input_hash")
    users = np.zeros(frame.height)
    recent: dict[str, deque[tuple[int, str]]] = defaultdict(deque)
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for at, text, user, timestamp in typed.iter_rows():
        queue, count = recent[text], counts[text]
        while queue and queue[0][0] < timestamp - WINDOW_MS:
            _, gone = queue.popleft()
            count[gone] -= 1
            if not count[gone]:
                del count[gone]
        users[at] = min(len(count), MOST_USERS)
        queue.append((timestamp, user))
        count[user] = count.get(user, 0) + 1
    return frame.with_columns(pl.Series("input_users", users))
