"""`python -m model.train`: fit a model, measure it, put it on the shelf and make it current.

On anybody's stored events and labels, or, without them, on a simulated bank. The last line is a JSON object. It
defines no class: what is pickled from a file that runs as a program gets lost.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from model.artifacts import ArtifactShelf
from model.command_line import DEFAULT_SHELF, argument_parser, refuse, say, whole
from model.examples import ExamplesError, Parts, split_by_time
from model.fitting import Plan, fit_and_save, joined
from model.history import TOPIC, HistoryError, read_stored
from model.labels import LabelsError, read_labels
from model.simulated import world
from model.simulator import SimulatorConfig

PROG = "python -m model.train"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line, None for the process's own.

    Returns:
        The exit code: 0, or 2 where the arguments make no training run.
    """
    given = _parsed(arguments)
    plan = Plan(seed=given.seed, max_iter=given.max_iter, max_leaf_nodes=given.max_leaf_nodes)
    started = perf_counter()
    try:
        parts = _stored(given.events, given.labels) if given.events else _simulated(given)
        rows = len(parts.train) + len(parts.calibrate) + len(parts.test)
        say(f"{rows} events to learn from and to judge by, {int(parts.train.label.sum())} fraudulent ones to train on")
        artifact = fit_and_save(parts, plan, ArtifactShelf(given.out))
    except (ExamplesError, HistoryError, LabelsError, OSError) as error:
        return refuse(PROG, error)
    metrics = artifact.manifest.metrics
    told = {name: value for name, value in metrics.items() if name not in {"tail", "drift"}}
    say(json.dumps({"training": dict(artifact.manifest.training), "metrics": told}, indent=2))
    result = {
        "model_id": artifact.model_id,
        "seconds": round(perf_counter() - started, 1),
        "rows": rows,
        "average_precision": metrics["average_precision"],
        "auc": metrics["auc"],
    }
    say(json.dumps(result))
    return 0


def _stored(events: str, labels: Path) -> Parts:
    """Return the parts of stored events."""
    frame, left_out = read_stored(events)
    known = read_labels(labels)
    sessions = frame["session_id"].n_unique()
    unknown = known.join(frame.select("session_id").unique(), on="session_id", how="anti").height
    say(f"{frame.height} events of {sessions} sessions; left out: {dict(left_out) or 'none'}")
    say(f"{known.height} labels, {unknown} of them of sessions that are not there")
    return split_by_time(frame, known)


def _simulated(given: argparse.Namespace) -> Parts:
    config = SimulatorConfig(customers=given.customers)
    parts = []
    for number in range(given.worlds):
        events, labels = world(number, given.seed + number, given.days, config)
        say(f"simulated world {number}: {events.height} events, {labels.height} attacks")
        parts.append(split_by_time(events, labels))
    return joined(parts)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(PROG, "Fit a model on stored or simulated events and make it the current one.")
    default = Plan()
    add = parser.add_argument
    add("--events", help=f"file or directory of stored events, or {TOPIC}NAME; needs --labels")
    add("--labels", type=Path, help="csv or Parquet: session_id, label, known_at, optional onset_at, kind")
    add("--seed", type=whole(0), default=default.seed, help="of the simulation and the model")
    add("--worlds", type=whole(1, 50), default=5, help="simulated banks, without --events")
    add("--days", type=whole(1, 365), default=45, help="of each simulated bank")
    add("--customers", type=whole(2, 1_000_000), default=3_000, help="of each simulated bank")
    add("--max-iter", type=whole(0, 5_000), default=default.max_iter, help="trees; 0 chooses the size by evidence")
    add("--max-leaf-nodes", type=whole(2, 1_000), default=default.max_leaf_nodes, help="leaves a tree, with --max-iter")
    add("--out", type=Path, default=DEFAULT_SHELF, help="directory of the models")
    given = parser.parse_args(arguments)
    if (given.events is None) != (given.labels is None):
        parser.error("--events and --labels belong together")
    return given


if __name__ == "__main__":
    sys.exit(main())
