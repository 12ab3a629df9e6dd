"""What processes cost: CPU time and memory of a process and all its descendants, as /proc has them."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Stat(NamedTuple):
    """What one process's `stat` says; times in seconds."""

    pid: int
    parent: int
    own_cpu: float
    """Of all its threads, in user and in system mode."""
    ended_children_cpu: float
    """Of its children that have ended and were waited for."""
    memory: int
    """Resident set, bytes."""


def parse(text: str) -> Stat:
    """Read the content of a `/proc/PID/stat`; the program's name in it may hold anything, brackets too."""
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    user, system, children_user, children_system = (int(field) / _TICKS for field in fields[11:15])
    own, children = user + system, children_user + children_system
    return Stat(int(head.split(" ", 1)[0]), int(fields[1]), own, children, int(fields[21]) * _PAGE_BYTES)


def tree(root: int, stats: Iterable[Stat]) -> list[Stat]:
    """Return a process and its descendants."""
    by_parent: dict[int, list[Stat]] = {}
    found: list[Stat] = []
    for stat in stats:
        by_parent.setdefault(stat.parent, []).append(stat)
        if stat.pid == root:
            found.append(stat)
    for stat in found:
        found.extend(by_parent.get(stat.pid, ()))
    return found


def cpu_seconds(root: int) -> float:
    """Return the CPU time of a process tree since its beginning, also of what has ended in it."""
    return sum(stat.own_cpu + stat.ended_children_cpu for stat in tree(root, _all()))


def memory_bytes(root: int) -> int:
    """Return the memory of a process tree (what several share is counted for each)."""
    return sum(stat.memory for stat in tree(root, _all()))


def _all() -> Iterable[Stat]:
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            yield parse(file.read_text())
        except (OSError, ValueError):  # ended meanwhile
            continue
