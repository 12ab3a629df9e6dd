"""How a run ends: by a signal it drains, by an error it says one clear line, and it never hangs."""

import logging
import os
import signal
import sys
import threading
from types import FrameType, TracebackType

logger = logging.getLogger("fraud")


class StartError(RuntimeError):
    """The service cannot start; the message is the one line that says why."""


class Ending:
    """Whether the run is to end, and how it went.

    Args:
        stop_timeout_seconds: How long a drain may take before the process gives up: the last epoch repeats then.
    """

    def __init__(self, stop_timeout_seconds: float) -> None:
        self.stopping = False
        self.failed = False
        self._stop_timeout_seconds = stop_timeout_seconds

    def take_over(self) -> None:
        """Answer SIGTERM and SIGINT, and say errors in one line. To be called by the main thread of a service."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        sys.excepthook = self._on_error

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self.stopping:
            return
        self.stopping = True
        logger.info("%s: draining", signal.Signals(number).name)
        watchdog = threading.Timer(self._stop_timeout_seconds, self._give_up)
        watchdog.daemon = True
        watchdog.start()

    def _give_up(self) -> None:
        logger.error("not drained within %s s: leaving, the last epoch will repeat", self._stop_timeout_seconds)
        logging.shutdown()
        os._exit(1)

    def _on_error(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        """Say the root cause last, where people look; what we foresaw needs no traceback."""
        self.failed = True
        root = root_of(error)
        if is_foreseen(root):
            sys.stderr.write(f"fraud: {root}\n")
        else:
            sys.__excepthook__(kind, error, trace)
            sys.stderr.write(f"fraud: {type(root).__name__}: {root}\n")


def root_of(error: BaseException) -> BaseException:
    """Return the first cause: the engine wraps what our code raised."""
    while not is_foreseen(error):
        context = None if error.__suppress_context__ else error.__context__
        cause = error.__cause__ or context
        if cause is None:
            break
        error = cause
    return error


def is_foreseen(error: BaseException) -> bool:
    """Say whether an error is one of ours, whose message says it all."""
    package = type(error).__module__.split(".")[0]
    return package in {"schemas", "features", "model", "dataflows", "observability"}
