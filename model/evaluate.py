"""`python -m model.evaluate`: measure the current model on simulated banks that training never saw.

The last line is a JSON object. Figures are over all the banks together, and only on events that the model is scored
by: nothing is fitted here.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np

from model.artifacts import ArtifactError, ArtifactShelf
from model.command_line import DEFAULT_SHELF, argument_parser, refuse, say, whole
from model.examples import together
from model.metrics import metrics_of
from model.scorer import Scorer
from model.simulated import simulated_examples

PROG = "python -m model.evaluate"
_TIMED_ROWS = 5_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line, None for the process's own.

    Returns:
        The exit code: 0, or 2 where there is no sound model.
    """
    parser = argument_parser(PROG, "Measure the current model on simulated sessions it has not seen.")
    parser.add_argument("--seed", type=whole(0), default=1_001, help="of the first bank")
    parser.add_argument("--banks", type=whole(1, 100), default=3, help="simulated banks, one seed each")
    parser.add_argument("--events", type=whole(1, 20_000_000), default=100_000, help="events of each bank")
    parser.add_argument("--models", type=Path, default=DEFAULT_SHELF, help="directory of the models")
    given = parser.parse_args(arguments)
    try:
        shelf = ArtifactShelf(given.models)
        artifact = shelf.load(shelf.current())
    except ArtifactError as error:
        return refuse(PROG, error)
    trained = artifact.manifest.training["seed"]
    seeds = [seed for seed in range(given.seed, given.seed + given.banks + 1) if seed != trained][: given.banks]
    examples = together([simulated_examples(seed, given.events) for seed in seeds])
    scorer = Scorer(artifact)
    metrics = metrics_of(examples, scorer.score(examples.matrix))
    say(json.dumps({"model_id": artifact.model_id, "seeds": seeds, **metrics}, indent=2))
    shown = ("average_precision", "auc", "recall_by_kind", "flagged_before_transfer")
    say(json.dumps({name: metrics[name] for name in shown} | {"score_us": _score_us(scorer, examples.matrix)}))
    return 0


def _score_us(scorer: Scorer, matrix: np.ndarray) -> float:
    """Return the microseconds an event of one call over a full batch."""
    batch = matrix[:_TIMED_ROWS]
    started = perf_counter()
    scorer.score(batch)
    return round((perf_counter() - started) / len(batch) * 1e6, 2)


if __name__ == "__main__":
    sys.exit(main())
