"""`python -m model.train`: fit a model on a simulated bank, measure it, put it on the shelf and make it current.

The last line is a JSON object. It defines no class: what is pickled from a file that runs as a program gets lost.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from model.artifacts import ArtifactShelf
from model.command_line import DEFAULT_SHELF, argument_parser, refuse, say, whole
from model.examples import ExamplesError
from model.fitting import Plan, fit_and_save
from model.simulated import simulated_examples

PROG = "python -m model.train"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line, None for the process's own.

    Returns:
        The exit code: 0, or 2 where the arguments make no training run.
    """
    plan, shelf = _parsed(arguments)
    started = perf_counter()
    examples = simulated_examples(plan.seed, plan.events)
    say(f"simulated {len(examples)} events, {int(examples.label.sum())} of them fraud")
    try:
        artifact = fit_and_save(examples, plan, shelf)
    except (ExamplesError, OSError) as error:
        return refuse(PROG, error)
    metrics = artifact.manifest.metrics
    say(json.dumps(dict(metrics), indent=2))
    result = {
        "model_id": artifact.model_id,
        "seconds": round(perf_counter() - started, 1),
        "rows": len(examples),
        "average_precision": metrics["average_precision"],
        "auc": metrics["auc"],
    }
    say(json.dumps(result))
    return 0


def _parsed(arguments: Sequence[str] | None) -> tuple[Plan, ArtifactShelf]:
    default = Plan()
    parser = argument_parser(PROG, "Fit a model on simulated sessions and make it the current one.")
    add = parser.add_argument
    add("--seed", type=whole(0), default=default.seed, help="of the simulation and the model")
    add("--events", type=whole(1, 20_000_000), default=default.events, help="events to simulate")
    add("--max-iter", type=whole(1, 5_000), default=default.max_iter, help="trees")
    add("--max-leaf-nodes", type=whole(2, 1_000), default=default.max_leaf_nodes, help="leaves a tree")
    add("--out", type=Path, default=DEFAULT_SHELF, help="directory of the models")
    given = vars(parser.parse_args(arguments))
    shelf = ArtifactShelf(given.pop("out"))
    return Plan(**given), shelf


if __name__ == "__main__":
    sys.exit(main())
