"""`python -m dataflows.rescale`: the state of N lanes into the stores of M lanes, whole partitions at a time.

Every piece of state is keyed by its partition, so lanes are changed by moving rows from store to store, at the epoch
at which the engine would resume. Nothing is unpickled: rows are copied as they are. This file knows the tables of
one version of the engine, and refuses any other. The old stores are left as they were, but for a note that says where
their state went: nobody can start them by mistake.
"""

import argparse
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dataflows.ending import StartError
from dataflows.recovery import MOVED, claim

ENGINE = "0.21.1"
"""The version of Bytewax whose tables are meant."""

_SNAPSHOT_EPOCH = 1
_RESUME_EPOCH = 2

_RESUME_AT = """
SELECT MIN(worker_frontier) FROM fronts WHERE ex_num = (SELECT MAX(ex_num) FROM fronts)
"""
_NEWEST_STATE = """
SELECT step_id, state_key, ser_change FROM snaps AS snap
WHERE ser_change IS NOT NULL AND snap_epoch =
  (SELECT MAX(snap_epoch) FROM snaps WHERE step_id = snap.step_id AND state_key = snap.state_key AND snap_epoch < ?)
"""


class RescaleError(RuntimeError):
    """The state cannot be moved; nothing has been changed."""


@dataclass(frozen=True, slots=True)
class StateRow:
    """What the engine stored under one key: state of a step, of one partition or a piece of it."""

    step_id: str
    key: str
    stored: bytes

    @property
    def partition(self) -> str:
        """The partition: its own key, or the first part of that of a piece of its state."""
        return self.key.partition("/")[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 where the state cannot be moved, 2 for bad arguments."""
    given = _arguments(argv)
    try:
        moved = rescale(given.stores, given.to, given.lanes)
    except (RescaleError, StartError) as error:
        sys.stderr.write(f"rescale: {error}\n")
        return 1
    for lane, partitions in enumerate(moved):
        sys.stdout.write(f"{given.to / f'lane-{lane}'}: partitions {', '.join(partitions) or 'none'}\n")
    return 0


def rescale(stores: Sequence[Path], to: Path, lanes: int) -> list[list[str]]:
    """Move the state of these stores into new ones, `to`/lane-0 and so on.

    Args:
        stores: Of all lanes so far; none may be in use.
        to: A folder that does not exist yet.
        lanes: How many lanes there will be: lane p % lanes gets partition p.

    Returns:
        The partitions with state, by lane.

    Raises:
        RescaleError: If the engine is another, a store cannot be read, or two stores hold the same partition.
        StartError: If a store is in use, or is none.
    """
    if version("bytewax") != ENGINE:
        msg = f"expected bytewax {ENGINE}, whose tables are known here, got {version('bytewax')}"
        raise RescaleError(msg)
    if to.exists():
        msg = f"{to}: expected a folder that does not exist yet"
        raise RescaleError(msg)
    locks = [claim(store) for store in stores]
    try:
        rows = _all_rows(stores)
        to.mkdir(mode=0o700, parents=True)
        for lane in range(lanes):
            _write(to / f"lane-{lane}", [row for row in rows if int(row.partition) % lanes == lane])
        for store in stores:
            (store / MOVED).write_text(f"{to.resolve()}\n", encoding="utf-8")
    finally:
        for lock in locks:
            os.close(lock)
    partitions = sorted({row.partition for row in rows}, key=int)
    return [[partition for partition in partitions if int(partition) % lanes == lane] for lane in range(lanes)]


def _all_rows(stores: Sequence[Path]) -> list[StateRow]:
    owner: dict[str, Path] = {}
    rows: list[StateRow] = []
    for store in stores:
        for row in _read(store):
            if owner.setdefault(row.partition, store) != store:
                msg = f"partition {row.partition}: {owner[row.partition]} and {store} both have state of it"
                raise RescaleError(msg)
            rows.append(row)
    return rows


def _read(store: Path) -> Iterator[StateRow]:
    """Yield the state at which the engine would resume this store."""
    for part in sorted(store.glob("part-*.sqlite3")):
        with closing(sqlite3.connect(part)) as database:
            (resume_epoch,) = database.execute(_RESUME_AT).fetchone()
            for step_id, key, stored in database.execute(_NEWEST_STATE, (resume_epoch or 0,)):
                row = StateRow(step_id, key, stored)
                if not row.partition.isdecimal():
                    msg = f"{part}: step {step_id} has state of {key!r}, expected that of a partition"
                    raise RescaleError(msg)
                yield row


def _write(store: Path, rows: list[StateRow]) -> None:
    """Make a store that resumes with these rows. The engine makes the tables, in a process of its own."""
    store.mkdir(mode=0o700)
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(store), "1"], check=True)  # noqa: S603 - our own
    snaps = [(row.step_id, row.key, _SNAPSHOT_EPOCH, row.stored) for row in rows]
    with closing(sqlite3.connect(store / "part-0.sqlite3")) as database, database:
        database.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, ?)", (_SNAPSHOT_EPOCH,))
        frontier = (_RESUME_EPOCH,)
        database.execute("INSERT INTO fronts (ex_num, worker_index, worker_frontier) VALUES (0, 0, ?)", frontier)
        database.execute("INSERT INTO commits (part_index, commit_epoch) VALUES (0, ?)", (_SNAPSHOT_EPOCH,))
        database.executemany(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, ?, ?, ?)", snaps
        )


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> Any:
        """Write the line and end with 2."""
        self.exit(2, f"rescale: {message}\n")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m dataflows.rescale", description="Move the state of N lanes to M lanes.")
    parser.add_argument("stores", nargs="+", type=Path, help="recovery stores of all lanes so far; stop them first")
    parser.add_argument("--to", required=True, type=Path, help="folder for the new stores; must not exist")
    parser.add_argument("--lanes", required=True, type=int, choices=range(1, 1_001), metavar="M", help="lanes to be")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
