"""Where the demo shows things: a screen refreshed in place, or plain lines where nobody sits before a terminal."""

import os
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live

from dataflows.demo.figures import Flag
from dataflows.demo.view import Snapshot, flag_line, screen, status_line

_LINE_SECONDS = 5.0
_FLAG_LINES = 5


class Display(AbstractContextManager["Display"], Protocol):
    """Shows snapshots as they come."""

    def show(self, snapshot: Snapshot, new_flags: Iterable[Flag]) -> None:
        """Show what is going on now."""


def say(line: str) -> None:
    """Write a line to the terminal at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def display() -> Display:
    """Return what fits: plain lines without a terminal, and where NO_COLOR or CI is set."""
    console = Console()
    if os.environ.get("NO_COLOR") or os.environ.get("CI") or not console.is_terminal or console.is_dumb_terminal:
        return Lines()
    return Screen(console)


class Screen(Display):
    """Draws over what it drew before.

    Args:
        console: The terminal.
    """

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, snapshot: Snapshot, new_flags: Iterable[Flag]) -> None:  # noqa: ARG002 - the snapshot has them
        """Draw a snapshot to the terminal's present size."""
        size = self._live.console.size
        self._live.update(screen(snapshot, size.width, size.height), refresh=True)


class Lines(Display):
    """Writes a status every few seconds, and the flags of that time."""

    def __init__(self) -> None:
        self._next = 0.0
        self._flags: list[Flag] = []
        self._phase = ""

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""

    def show(self, snapshot: Snapshot, new_flags: Iterable[Flag]) -> None:
        """Write a snapshot if it is time, or if something else is going on now."""
        self._flags.extend(new_flags)
        if time.monotonic() < self._next and snapshot.phase == self._phase:
            return
        self._next, self._phase = time.monotonic() + _LINE_SECONDS, snapshot.phase
        say(status_line(snapshot))
        for flag in self._flags[-_FLAG_LINES:]:
            say(f"  {flag_line(flag)}")
        if len(self._flags) > _FLAG_LINES:
            say(f"  and {len(self._flags) - _FLAG_LINES} flags before them")
        self._flags.clear()
