"""`python -m model.shelf list|use|rollback`: which models there are, and which one new snapshots adopt.

A running service adopts the current model at its next snapshot; no restart is needed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from model.artifacts import ArtifactError, ArtifactShelf
from model.command_line import DEFAULT_SHELF, argument_parser, refuse, say

PROG = "python -m model.shelf"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line, None for the process's own.

    Returns:
        The exit code: 0, or 2 where a model cannot be loaded or there is none to go back to.
    """
    given = _parsed(arguments)
    shelf = ArtifactShelf(given.models)
    try:
        if given.command == "list":
            _list(shelf)
        elif given.command == "use":
            shelf.set_current(given.model_id)
            say(f"current: {given.model_id}")
        else:
            say(f"current: {shelf.roll_back()}")
    except ArtifactError as error:
        return refuse(PROG, error)
    return 0


def _list(shelf: ArtifactShelf) -> None:
    """Print one JSON line a model; those of other features, or damaged, with what is wrong."""
    history = shelf.history()
    for model_id in shelf.models():
        told: dict[str, object] = {"model_id": model_id, "current": history[-1:] == [model_id]}
        try:
            metrics = shelf.load(model_id).manifest.metrics
            told |= {name: metrics.get(name) for name in ("average_precision", "auc")}
        except ArtifactError as error:
            told["unusable"] = str(error)
        say(json.dumps(told))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(PROG, "Show the models, or say which one is current.")
    parser.add_argument("--models", type=Path, default=DEFAULT_SHELF, help="directory of the models")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all models that were ever trained here")
    use = commands.add_parser("use", help="make a model current")
    use.add_argument("model_id", help="its id")
    commands.add_parser("rollback", help="go back to the model that was current before")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
