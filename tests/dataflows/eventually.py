"""Waiting for what another thread or process does: by asking, with a deadline, and never by a fixed sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], seconds: float = 10.0) -> T:
    """Ask until the answer is true, and return it; fail with the last answer when the time is up."""
    until = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < until, f"not within {seconds} s, the last answer was {answer!r}"
        time.sleep(0.005)
    return answer
