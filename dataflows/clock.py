"""The wall clock: for what people read (`flagged_at`, `updated_at`, latencies), and nothing that decides."""

import time


def now_ms() -> int:
    """Return the time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000
