"""Levels as policy: as scores, or as so many alerts a day; in a file that is changed without a release.

`python -m model.policy set review=200/day block=0.95 --sessions-a-day 50000` writes it, `show` tells what it comes to
with the current model. A running service adopts a new file at its next snapshot; every flag carries its threshold.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np

from model.artifacts import ArtifactError, ArtifactShelf, write_over
from model.command_line import DEFAULT_SHELF, argument_parser, refuse, say, whole
from model.decision import Level

PROG = "python -m model.policy"
FILE = "policy.json"
"""Its name, in the directory of the models."""
NAMES = ("review", "block")
_A_DAY = "/day"


class PolicyError(ValueError):
    """A policy cannot be used; the text says what was expected and what was there."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the levels are.

    Attributes:
        scores: By level, the calibrated score above which it is crossed.
        alerts: By level, how many sessions a day may cross it.
        sessions_a_day: How many there are; needed where alerts are named.
    """

    scores: Mapping[str, float]
    alerts: Mapping[str, float]
    sessions_a_day: int = 0

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a policy.

        Raises:
            PolicyError: If it is none.
        """
        try:
            stored = json.loads(text)
            levels, sessions = stored["levels"], int(stored.get("sessions_a_day", 0))
            scores = {name: float(each["score"]) for name, each in levels.items() if "score" in each}
            alerts = {name: float(each["alerts_a_day"]) for name, each in levels.items() if "score" not in each}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"policy: expected levels with a score or alerts_a_day each, got {type(error).__name__}: {error}"
            raise PolicyError(msg) from error
        if set(levels) != set(NAMES):
            msg = f"policy: expected the levels {', '.join(NAMES)}, got {', '.join(levels) or 'none'}"
            raise PolicyError(msg)
        if alerts and sessions < 1:
            msg = f"policy: alerts a day need sessions_a_day, got {sessions}"
            raise PolicyError(msg)
        return cls(scores, alerts, sessions)

    def to_json(self) -> str:
        """Write it."""
        levels = {name: {"score": score} for name, score in self.scores.items()}
        levels |= {name: {"alerts_a_day": alerts} for name, alerts in self.alerts.items()}
        return json.dumps({"levels": levels, "sessions_a_day": self.sessions_a_day}, indent=1) + "\n"

    def levels(self, metrics: Mapping[str, Any]) -> tuple[Level, ...]:
        """Return the levels with a model.

        Args:
            metrics: Of the model's manifest; its `tail` says which score how many sessions exceeded.

        Raises:
            PolicyError: If a budget is named and the model has no tail, or the levels do not rise within 0 to 1.
        """
        found = [(name, self.scores[name] if name in self.scores else self._threshold(name, metrics)) for name in NAMES]
        if not all(0 < score < 1 for _, score in found) or any(low[1] >= high[1] for low, high in pairwise(found)):
            told = ", ".join(f"{name} {score:.4g}" for name, score in found)
            msg = f"policy: levels must rise within 0 to 1, got {told}"
            raise PolicyError(msg)
        return tuple(Level(name, score) for name, score in found)

    def _threshold(self, name: str, metrics: Mapping[str, Any]) -> float:
        tail = metrics.get("tail")
        if not tail:
            msg = "policy: alerts a day need a model that says how its scores are spread; train one"
            raise PolicyError(msg)
        share = self.alerts[name] / self.sessions_a_day
        return float(np.interp(share, tail["share"], tail["score"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: Of the command line, None for the process's own.

    Returns:
        The exit code: 0, or 2 where the policy is none, or comes to nothing with the current model.
    """
    given = _parsed(arguments)
    try:
        shelf = ArtifactShelf(given.models)
        artifact = shelf.load(shelf.current())
        policy = _given(given) if given.command == "set" else Policy.from_json((given.models / FILE).read_text("utf-8"))
        levels = policy.levels(artifact.manifest.metrics)
        if given.command == "set":
            write_over(given.models / FILE, policy.to_json())
    except (PolicyError, ArtifactError, OSError) as error:
        return refuse(PROG, error)
    say(json.dumps({"model_id": artifact.model_id, **{level.name: level.threshold for level in levels}}))
    return 0


def _given(given: argparse.Namespace) -> Policy:
    levels: dict[str, dict[str, float]] = {}
    for each in given.levels:
        name, _, value = each.partition("=")
        try:
            is_budget = value.endswith(_A_DAY)
            levels[name] = {"alerts_a_day" if is_budget else "score": float(value.removesuffix(_A_DAY))}
        except ValueError:
            msg = f"policy: expected NAME=SCORE or NAME=ALERTS{_A_DAY}, got {each!r}"
            raise PolicyError(msg) from None
    return Policy.from_json(json.dumps({"levels": levels, "sessions_a_day": given.sessions_a_day}))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(PROG, "Say at which scores, or for how many sessions a day, a flag is raised.")
    parser.add_argument("--models", type=Path, default=DEFAULT_SHELF, help="directory of the models")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="what the policy comes to with the current model")
    change = commands.add_parser("set", help="write a policy")
    change.add_argument("levels", nargs="+", help="such as review=0.8 or review=200/day")
    change.add_argument("--sessions-a-day", type=whole(0), default=0, help="needed with alerts a day")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
