"""The demo's child processes: started with a log each, watched, and ended by process id, whatever goes wrong.

On Linux they die with the demo even when it is killed. It never ends a process that it did not start.
"""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Self

from infra.server_process import ServerProcess

_POLL_SECONDS = 0.05
_TAIL_LINES = 15


class DemoError(RuntimeError):
    """The demo cannot go on.

    Args:
        message: Why, in one line.
        log: The last lines of a process that has to do with it.
    """

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = "".join(f"  {line}\n" for line in log.strip().splitlines()[-_TAIL_LINES:])


class StoppedEarlyError(DemoError):
    """It was told to end before the stream had begun."""


class Stop:
    """Whether somebody wants the demo to end; set by signals only."""

    def __init__(self) -> None:
        self.asked = 0
        """How often somebody asked: the second time nobody wants to wait."""

    @classmethod
    def on_signals(cls) -> Self:
        """Take over SIGINT, SIGTERM and SIGHUP."""
        stop = cls()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, stop._on_signal)
        return stop

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.asked += 1

    def wait(self, seconds: float) -> None:
        """Sleep, but not longer than until somebody asks (again)."""
        asked, until = self.asked, time.monotonic() + seconds
        while self.asked == asked and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)

    def raise_if_asked(self) -> None:
        """Raise `StoppedEarlyError` if somebody has asked."""
        if self.asked:
            msg = "stopped before the stream had begun"
            raise StoppedEarlyError(msg)


class Children:
    """Everything that the demo has started.

    Args:
        stack: Ends what is left, last started first.
        folder: Takes a log a process.
    """

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self._watched: list[ServerProcess] = []
        self._servers: dict[int, str] = {}

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str], grace_seconds: float) -> ServerProcess:
        """Start a process that is to live until `end`.

        Args:
            name: For people; its log is `<name>.log`.
            command: Program and arguments.
            env: The whole environment.
            grace_seconds: How long it may take to end if the demo fails.
        """
        process = ServerProcess(name, self._folder / f"{name}.log")
        self._stack.callback(process.stop, grace_seconds)
        process.start(command, env=env)
        self._watched.append(process)
        return process

    def watch_server(self, name: str, pid: int) -> None:
        """Watch a server that somebody else ends."""
        self._servers[pid] = name

    def check(self) -> None:
        """Raise `DemoError` if one is dead that is to live."""
        for process in self._watched:
            if not process.is_running:
                raise death_of(process)
        for pid, name in self._servers.items():
            if _has_ended(pid):
                msg = f"{name} has ended, see the logs in {self._folder}"
                raise DemoError(msg)

    def end(self, process: ServerProcess, grace_seconds: float) -> int:
        """Ask a process to end, kill it after the grace, and return its exit status (negative: the signal)."""
        self._watched.remove(process)
        process.stop(grace_seconds)
        return process.wait()


def _has_ended(pid: int) -> bool:
    """Look whether a child has ended, and leave its exit status to whoever started it."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def death_of(process: ServerProcess) -> DemoError:
    """Say how a process has ended, and what it said last."""
    return DemoError(f"the {process.name} {ending_of(process.wait())}, see {process.log_file}", process.log_tail())


def ending_of(status: int) -> str:
    """Put an exit status into words.

    >>> ending_of(1), ending_of(-9)
    ('ended with exit status 1', 'was ended by SIGKILL')
    """
    return f"ended with exit status {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"
