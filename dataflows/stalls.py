"""When the worker could not turn to new records for a while: how long that was, and what kept it.

A worker is one thread. While it takes a snapshot, works on a large batch or waits for a store, records wait: that is
the tail of the delay. Each such time is counted under its cause:

- `snapshot`: the engine took the state of the steps, and the sinks drained.
- `collector`: Python looked for reference cycles.
- `batch`: the thread was busy with what it had read last.
- `waiting`: it was not: it had no core, or waited for a store.
"""

import gc
import time
from collections.abc import Callable
from typing import Literal

from observability import metrics

STALL_SECONDS = 0.02
"""What is shorter is no stall: a batch of a few thousand records takes longer than this only under load."""
_MOSTLY = 0.5

Cause = Literal["snapshot", "collector", "batch", "waiting"]


class Stalls:
    """Watches the turns of one worker thread; to be used by that thread alone.

    Args:
        wall: A clock in seconds.
        cpu: The thread's own time on a core, in seconds.
    """

    def __init__(self, wall: Callable[[], float] = time.monotonic, cpu: Callable[[], float] = time.thread_time) -> None:
        self._wall = wall
        self._cpu = cpu
        self._turned, self._used = wall(), cpu()
        self._took_snapshot = False
        self._collecting_since = 0.0
        self._collected = 0.0
        gc.callbacks.append(self._on_collection)

    def turn(self) -> None:
        """Note that the worker turns to new records; count the time since it last did, if that was a stall."""
        now, used = self._wall(), self._cpu()
        took = now - self._turned
        if took > STALL_SECONDS:
            metrics.STALLS.labels(self._cause(took, used - self._used)).observe(took)
        self._turned, self._used = now, used
        self._took_snapshot, self._collected = False, 0.0

    def snapshot(self) -> None:
        """Note that a snapshot is taken."""
        self._took_snapshot = True

    def close(self) -> None:
        """Watch no longer."""
        gc.callbacks.remove(self._on_collection)

    def _cause(self, took: float, used: float) -> Cause:
        if self._took_snapshot:
            return "snapshot"
        if self._collected > took * _MOSTLY:
            return "collector"
        return "batch" if used > took * _MOSTLY else "waiting"

    def _on_collection(self, phase: str, _: object) -> None:
        if phase == "start":
            self._collecting_since = self._wall()
        else:
            self._collected += self._wall() - self._collecting_since
