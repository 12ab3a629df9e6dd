"""A model's scores by walking its trees one node at a time, for the oracle: the same bits as scikit-learn gives.

Scikit-learn adds the trees' leaves to the baseline one after the other, in float64; so does this. Only the file's
parser is shared with the service: whoever wants to know that scores are right compares both with scikit-learn's own.
"""

import json
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skops.io

TREE_TYPE = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"

Node = tuple[int, float, Any, Any]


class PlainModel:
    """One artifact of a model folder.

    Args:
        folder: The folder of the artifact: `model.skops` and `manifest.json`.
    """

    def __init__(self, folder: Path) -> None:
        model = skops.io.load(folder / "model.skops", trusted=[TREE_TYPE])
        knots = json.loads((folder / "manifest.json").read_text())["calibration"]
        self._knots_raw: list[float] = knots["raw"]
        self._knots_score: list[float] = knots["score"]
        self._baseline = float(model._baseline_prediction.item())
        self._trees = [_tree(iteration[0].nodes) for iteration in model._predictors]

    @classmethod
    def current(cls, model_dir: Path) -> "PlainModel":
        """Open the model that `current` names."""
        return cls(model_dir / (model_dir / "current").read_text().strip())

    def raw(self, vector: Sequence[float]) -> float:
        """Return the log-odds of a vector."""
        total = self._baseline
        for tree in self._trees:
            node = tree
            while isinstance(node, tuple):
                node = node[2] if vector[node[0]] <= node[1] else node[3]
            total += node
        return total

    def score(self, raw: float) -> float:
        """Return the calibrated score of log-odds: a straight line between knots, constant beyond them."""
        xs, ys = self._knots_raw, self._knots_score
        place = bisect_right(xs, raw) - 1
        if place < 0:
            return ys[0]
        if place == len(xs) - 1 or xs[place] == raw:
            return ys[place]
        slope = (ys[place + 1] - ys[place]) / (xs[place + 1] - xs[place])
        return slope * (raw - xs[place]) + ys[place]


def _tree(nodes: Any) -> Node | float:
    """Build a tree of tuples (feature, threshold, left, right), its leaves are their values."""
    built: dict[int, Node | float] = {}
    for place in range(len(nodes) - 1, -1, -1):  # children come after their parent
        node = nodes[place]
        if node["is_leaf"]:
            built[place] = float(node["value"])
        else:
            left, right = built[int(node["left"])], built[int(node["right"])]
            built[place] = (int(node["feature_idx"]), float(node["num_threshold"]), left, right)
    return built[0]
