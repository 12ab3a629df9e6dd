"""RELIABILITY.md, out of the figures that crash tests have left in a folder; it is never written by hand."""

import json
from pathlib import Path
from typing import Any

from tests.crash.faults import FAULTS

_HEAD = """# Reliability

Written by `python -m tests.crash --report` from the runs of `make crash-test` in `var/crash`; the newest run of each
test. Each runs the service under load on a stream with late, repeated, out-of-order, wild-clock and undecodable
records, does what its name says, and compares everything written with `tests/crash/oracle.py`: a replay of the input
topic, record by record, in plain Python.

- **lost, phantom**: flags and dead letters, by id. **wrong**: page counts / session vectors / decisions / dead letters
  / outcomes by partition (the conservation law). All of them must be 0.
- **repeated**: flags that came again with the same id, of those allowed: those appended in the snapshot interval and a
  second before a kill.
- **recovery**: the longest time from the start of a process after a kill to its first scored record, s.
- **p95**: of the pipeline while the fault lasted (before it), ms, where one process saw it from begin to end. Load and
  service share the machine's cores.
"""
_COLUMNS = (
    "test",
    "Kafka",
    "seed",
    "kills",
    "events",
    "lost",
    "phantom",
    "wrong",
    "repeated",
    "recovery",
    "p95",
    "run",
)
_RESTART_HEAD = """
## With many live sessions

What a snapshot costs, and how soon the service is back after a kill -9.

- **stall**: for how long reading stands still at a snapshot, median / most, ms; there is one every second.
- **first output**: from the start of the process to its first scored record, s; 10 s are allowed.
- **store / live state**: bytes of the recovery store beside those of the session tables in memory; 2.5 are allowed.
"""
_RESTART_COLUMNS = ("measurement", "sessions", "stall", "first output", "store bytes", "store / live state", "run")


def write_report(folder: Path, file: Path) -> None:
    """Write the table of the newest run of each test.

    Args:
        folder: With one JSON file a run; those of `tests.crash.restart` in `restart/`.
        file: Where to.
    """
    runs = _oldest_first(folder)
    newest = {(run["test"], run["kafka"], run["command"].split("--seed")[0]): run for run in runs}
    order = list(FAULTS)
    kept = sorted(newest.values(), key=lambda run: (order.index(run["test"]), run["kafka"], run["events"]))
    lines = [_HEAD, _row(_COLUMNS), _row(["---"] * len(_COLUMNS)), *(_row(_cells(run)) for run in kept)]
    lines += ["", "What each does, and the command that makes its row again:", ""]
    for run in kept:
        lines += [f"- {run['test']}, {run['kafka']}: {FAULTS[run['test']].sentence}", f"  `{run['command']}`"]
    lines += _restart_lines(_oldest_first(folder / "restart"))
    file.write_text("\n".join(lines) + "\n")


def _oldest_first(folder: Path) -> list[dict[str, Any]]:
    return sorted((json.loads(path.read_text()) for path in folder.glob("*.json")), key=lambda run: str(run["at"]))


def _restart_lines(runs: list[dict[str, Any]]) -> list[str]:
    """Return the table of the newest measurement of each kind and number of sessions; nothing where there is none."""
    newest = {(run["measurement"] == "restart", run["sessions"]): run for run in runs}
    if not newest:
        return []
    kept = [newest[key] for key in sorted(newest)]
    stalls = [str(run["sessions"]) for run in kept if run["measurement"] == "snapshot_stall"]
    command = " ".join(["python -m tests.crash.restart", *(["--sessions", *stalls] if stalls else [])])
    rows = [_row(_RESTART_COLUMNS), _row(["---"] * len(_RESTART_COLUMNS)), *(_row(_restart_cells(run)) for run in kept)]
    return [_RESTART_HEAD, *rows, "", "The command that makes all of these rows again:", "", f"`{command}`"]


def _restart_cells(run: dict[str, Any]) -> list[str]:
    output = run.get("first_output_seconds")
    return [
        run["measurement"] if run["ok"] else f"**{run['measurement']} FAILED**",
        str(run["sessions"]),
        f"{run['stall_ms_median']:g} / {run['stall_ms_max']:g}" if "stall_ms_max" in run else "",
        f"{output:g}, {run['first_output_within_10_s']}" if output is not None else "",
        str(run["store_bytes"]),
        f"{run['store_to_state']:g}",
        f"{run['at'][:10]}, {run['machine']}",
    ]


def _row(cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _cells(run: dict[str, Any]) -> list[str]:
    kinds = ("wrong_counts", "wrong_vectors", "wrong_decisions", "wrong_letters", "conservation_wrong")
    before = f" ({run['p95_before_ms']:g})" if run.get("p95_before_ms") else ""
    return [
        run["test"] if run["ok"] else f"**{run['test']} FAILED**",
        run["kafka"],
        *(str(run[name]) for name in ("seed", "kills", "events", "lost", "phantom")),
        " / ".join(str(run[name]) for name in kinds),
        f"{run['raw_repeats']} of {run['raw_repeats_allowed']}",
        f"{run['recovery_seconds_max']:g}" if run["kills"] else "",
        f"{run['p95_ms']:g}{before}" if run.get("p95_ms") else "",
        f"{run['at'][:10]}, {run['machine']}",
    ]
