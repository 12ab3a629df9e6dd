"""PERFORMANCE.md, out of the figures that benchmarks have left in a folder; it is never written by hand."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.bench import next_size

_HEAD = """# Performance

Written by `python -m tests.bench --report` from the runs of `make bench` in `var/bench`; the newest figures of each
scenario. One lane is one process; Kafka, Redis and the load generator are outside the count, and share the machine's
cores with it. CPU is that of the whole process tree by /proc. Recovery snapshots (every 5 s), duplicate filter, dead
letters, page counts and features in Redis are on. A rate is only printed when the results of its run are right: page
counts against a recount, flags (session, triggering event, level) against a plain program that goes event by event.

- **plain_loop**: that program, with its own Kafka consumer, fastavro, dictionary of sessions, one call of the model a
  batch, redis-py pipeline and flags; the yardstick of the same run. `ratio_to_plain_loop`: events by CPU second of the
  service to those of the plain loop, the start of the processes left out in both.
- **throughput**: the fixed work (20,000 live sessions, 100 trees x 31 leaves, no look-ups) from a topic that is full
  already. `_with_start`: the start of the process included.
- **receive_to_flag_SIZE**: from a poll of so many events of four partitions to its flags, inside the process, without
  servers; `ratio_to_plain_loop` is the median delay to that of the plain loop's own code, poll by poll in turns.
- **latency_RATE**: from when an event was meant to be sent (open load: a stall counts for all events it holds up)
  to the broker's time of its flag, ms; the broker's clock has whole milliseconds, so up to 1 ms is missing. `null`: did
  not come within the run. The median of the runs; `worst` of all. Look-ups are on. Of the same delays, `acknowledged`
  is the way of an event to the broker (and back) alone, and `decided` ends where the service makes the flag: where
  `acknowledged` is not a few ms, the broker had no core, and the figure says more of the machine than of the service.
  `redis_visible`: from when a session's newest vector was decided, the `updated_at` of its hash, to when Redis
  acknowledged it, ms, of all vectors of the run, its warm-up included; estimated within the buckets of
  `fraud_vector_visible_seconds`, each 30 % wide up to 2 s.
  `stalls`: times over 20 ms in which the worker did not turn to new records, in all runs with their warm-up, by cause:
  `snapshot` (the state was taken and sinks drained), `batch` (busy with what it had read), `waiting` (no core, or a
  store did not answer), `collector`; `longest_ms` is the upper bound of the longest one's bucket.
- **two_lanes**: `times_one_lane` is twice the CPU time of one lane over that of two. **live_sessions**, **hot_key**:
  cost of an event by CPU, and memory. **cluster_latency**: two lanes against two workers of the engine's own cluster.
- **start**: from the start of the process to the broker's time of its first flag.
- `load`: 1 minute load average when the scenario had ended. On shared cores compare ratios and CPU, not wall time.
- The last section computes from the newest figures what the next size would need; it is not measured.
"""


def write_report(folder: Path, file: Path) -> None:
    """Write the newest figures of each scenario, whole runs and short ones apart, and what the next size would need.

    Args:
        folder: With one JSON file a run.
        file: Where to.
    """
    runs = sorted((json.loads(path.read_text()) for path in folder.glob("result-*.json")), key=lambda run: run["at"])
    lines = [_HEAD]
    for short, title in ((False, "`make bench`"), (True, "`make bench SHORT=1`")):
        newest = _newest(run for run in runs if run["short"] is short)
        if newest:
            lines += [f"## {title}", "", *_section(newest), ""]
    lines += next_size.section(_newest(runs), next_size.event_bytes())
    file.write_text("\n".join(lines).rstrip("\n") + "\n")


def _newest(runs: Iterable[dict[str, Any]]) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Return by scenario the newest run that has it, and its figures; of runs in order of time."""
    return {figures["scenario"]: (run, figures) for run in runs for figures in run["figures"]}


def _section(newest: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    lines = ["| scenario | figures | load |", "|---|---|---|"]
    for name, (_, figures) in newest.items():
        lines.append(f"| {name} | {_told(figures)} | {figures['load']:g} |")
    dated = [{**run["machine"], "at": run["machine"]["at"][:10]} for run, _ in newest.values()]
    machines = {json.dumps(machine): machine for machine in dated}
    lines.append("")
    for machine in machines.values():
        packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
        told = [machine[name] for name in ("cpu", "system", "kafka", "redis")]
        lines.append(f"- {machine['at']}: {'; '.join(told)}; Python {machine['python']}, {packages}")
    return lines


def _told(figures: Mapping[str, Any]) -> str:
    """Return figures for a person, without what only a program wants."""
    hidden = ("scenario", "load", "runs", "unit")
    return ", ".join(f"{name} {_number(value)}" for name, value in figures.items() if name not in hidden)


def _number(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "(" + "; ".join(f"{name}: {_told(one)}" for name, one in value.items()) + ")"
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}" if isinstance(value, float) else str(value)


def table(figures: list[dict[str, Any]]) -> str:
    """Return the figures of a run as a table for the terminal."""
    width = max((len(one["scenario"]) for one in figures), default=0)
    return "\n".join(f"{one['scenario']:{width}}  {_told(one)}" for one in figures)
