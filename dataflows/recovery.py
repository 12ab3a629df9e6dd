"""The recovery store of this lane: exactly one process may use it, and it must be what it says it is.

The engine keeps snapshots in SQLite files and writes them as pickles; whoever can write there runs code in this
process. So the folder must be ours alone.
"""

import argparse
import fcntl
import os
import stat
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataflows.ending import StartError

_SQLITE = b"SQLite format 3\0"
_LOCK = "lock"

MOVED = "moved"
"""A file that says that the state lives elsewhere now; see `dataflows/rescale.py`."""


def recovery_directory(argv: Sequence[str], env: Mapping[str, str]) -> Path | None:
    """Find the recovery store as the engine does: its command line first, then the environment.

    The engine has read the same line before us, with argparse: so `-rSTORE` and `--recovery STORE` are good too.

    Args:
        argv: The command line, the program first.
        env: The environment.
    """
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-r", "--recovery-directory", default=env.get("BYTEWAX_RECOVERY_DIRECTORY"))
    named: str | None = parser.parse_known_args(list(argv[1:]))[0].recovery_directory
    return Path(named) if named else None


def process_id(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Find which process of a cluster this is, as the engine does; 0 for one that runs alone."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-i", "--process-id", type=int, default=env.get("BYTEWAX_PROCESS_ID"))
    return parser.parse_known_args(list(argv[1:]))[0].process_id or 0


def worker_count(argv: Sequence[str], env: Mapping[str, str]) -> int:
    """Find how many workers the engine has, in all processes, as it does."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-w", "--workers-per-process", type=int, default=env.get("BYTEWAX_WORKERS_PER_PROCESS") or 1)
    parser.add_argument("-a", "--addresses", default=env.get("BYTEWAX_ADDRESSES"))
    told = parser.parse_known_args(list(argv[1:]))[0]
    processes = len(told.addresses.split(";")) if told.addresses else 1
    return int(told.workers_per_process) * processes


def claim(directory: Path, process_id: int = 0) -> int:
    """Take the store for this process, until it ends.

    Args:
        directory: Made by ``python -m bytewax.recovery DIRECTORY PARTS``.
        process_id: Which process of a cluster this is: they share a store.

    Returns:
        The descriptor that holds the lock; it must stay open.

    Raises:
        StartError: If it is missing, writable by others, corrupt, in use, or its state was moved elsewhere.
    """
    _check(directory)
    if (directory / MOVED).exists():
        msg = f"recovery store {directory}: its state was moved to {(directory / MOVED).read_text().strip()}"
        raise StartError(msg)
    try:
        lock = os.open(directory / f"{_LOCK}-{process_id}", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        msg = f"recovery store {directory}: cannot be locked: {error.strerror}"
        raise StartError(msg) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        msg = f"recovery store {directory}: another process uses it"
        raise StartError(msg) from None
    return lock


def _check(directory: Path) -> None:
    parts = sorted(directory.glob("part-*.sqlite3"))
    if not parts:
        msg = (
            f"recovery store {directory}: expected part-*.sqlite3 files, found none; "
            f"make one with: {Path(sys.executable).name} -m bytewax.recovery {directory} 1"
        )
        raise StartError(msg)
    for path in (directory, *parts):
        if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            msg = f"recovery store {path}: others may write to it, which lets them run code here; chmod go-w it"
            raise StartError(msg)
    for part in parts:
        if _head(part) != _SQLITE:
            msg = f"recovery store {part}: corrupt, expected an SQLite file; see the runbook"
            raise StartError(msg)


def _head(part: Path) -> bytes:
    try:
        with part.open("rb") as file:
            return file.read(len(_SQLITE))
    except OSError as error:
        msg = f"recovery store {part}: cannot be read: {error.strerror}"
        raise StartError(msg) from None
