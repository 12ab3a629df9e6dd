"""`python -m model.evaluate`: measure the current model on simulated worlds that training never saw.

Their seeds, attack parameters and habits are others; nothing is fitted here but the models that show what each family
of features is worth. Writes MODEL_CARD.md and its plots. The last line is a JSON object.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.ablation import worth_of_families
from model.artifacts import Artifact, ArtifactError, ArtifactShelf
from model.card import card
from model.card_plots import draw
from model.command_line import DEFAULT_SHELF, argument_parser, refuse, say, whole
from model.examples import Examples, examples_of, split_by_time, together, warm_up_ms
from model.fitting import Plan, prepared
from model.metrics import calibration_of, intervals_of, metrics_of, sessions_of, typed_before
from model.scorer import Scorer
from model.simulated import UNSEEN_WORLDS, world
from model.simulator import SimulatorConfig

PROG = "python -m model.evaluate"
CARD, PLOTS = Path("MODEL_CARD.md"), Path("model/card")
_TIMED_ROWS, _TIMES = 5_000, 9
_ABLATION_ROWS = 300_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line, None for the process's own.

    Returns:
        The exit code: 0, or 2 where there is no sound model.
    """
    given = _parsed(arguments)
    try:
        shelf = ArtifactShelf(given.models)
        artifact = shelf.load(shelf.current())
    except ArtifactError as error:
        return refuse(PROG, error)
    scorer = Scorer(artifact)
    worlds = {f"world {UNSEEN_WORLDS + number}": _world(given, number) for number in range(given.worlds)}
    figures: dict[str, dict[str, Any]] = {}
    for name, examples in worlds.items():
        figures[name] = metrics_of(examples, scorer.score(examples.matrix))
        say(json.dumps({name: figures[name]}))
    everything = together(list(worlds.values()))
    scores = scorer.score(everything.matrix)
    overall = figures["together"] = metrics_of(everything, scores)
    sessions = sessions_of(everything, scores)
    score_us = _score_us(scorer, everything.matrix)
    if given.card:
        worth = _worth(given, artifact, next(iter(worlds.values())))
        recall = {name: one["recall_by_kind"] for name, one in figures.items() if name != "together"}
        plots = draw(PLOTS, sessions, calibration_of(everything, scores), worth, recall)
        more = {"intervals": intervals_of(sessions), "worth": worth, "plots": plots, "score_us": score_us}
        more["typed_before"] = typed_before(everything)
        CARD.write_text(card(artifact.manifest, figures, more), encoding="utf-8")
    shown = ("average_precision", "auc", "recall_by_kind", "flagged_before_transfer")
    say(json.dumps({name: overall[name] for name in shown} | {"score_us": score_us}))
    return 0


def _world(given: argparse.Namespace, number: int) -> Examples:
    """Return a world's events, without the time in which nobody's normal is known yet."""
    config = SimulatorConfig(customers=given.customers)
    events, labels = world(UNSEEN_WORLDS + number, given.seed + number, given.days, config)
    examples = examples_of(events, labels)
    return examples.take(examples.start_ms >= warm_up_ms(events))


def _worth(given: argparse.Namespace, artifact: Artifact, test: Examples) -> dict[str, dict[str, float]]:
    """Return what each family of features is worth, by models of the current one's size on one training world."""
    training = artifact.manifest.training
    plan = Plan(training["seed"], training["max_iter"], training["max_leaf_nodes"])
    events, labels = world(0, plan.seed, given.days, SimulatorConfig(customers=given.customers))
    train = prepared(split_by_time(events, labels).train, plan.seed, _ABLATION_ROWS)
    return worth_of_families(train, test, plan)


def _score_us(scorer: Scorer, matrix: NDArray[np.float64]) -> float:
    """Return the microseconds an event of a call over a full batch: the least of some, the others were disturbed."""
    batch = matrix[:_TIMED_ROWS]
    took = []
    for _ in range(_TIMES):
        started = perf_counter()
        scorer.score(batch)
        took.append(perf_counter() - started)
    return round(min(took) / len(batch) * 1e6, 2)


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(PROG, "Measure the current model on simulated worlds it has not seen.")
    add = parser.add_argument
    add("--seed", type=whole(0), default=1_001, help="of the first world")
    add("--worlds", type=whole(1, 100), default=3, help="how many")
    add("--days", type=whole(1, 365), default=45, help="of each world")
    add("--customers", type=whole(2, 1_000_000), default=3_000, help="of each world")
    add("--models", type=Path, default=DEFAULT_SHELF, help="directory of the models")
    add("--card", action="store_true", help=f"write {CARD} and its plots, with what each family of features is worth")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
