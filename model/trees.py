"""The trees of a fitted classifier as plain node arrays: checked, named by content, read by the reasons.

It must never hand on a tree whose indices point outside: scikit-learn's predictor follows them unchecked.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

_CONTENT = {
    "feature_idx": "<i8",
    "num_threshold": "<f8",
    "left": "<u4",
    "right": "<u4",
    "value": "<f8",
    "is_leaf": "u1",
    "missing_go_to_left": "u1",
    "count": "<u4",
}
"""The node fields that decide a score or a reason, with the width and byte order in which they are named."""


class TreeError(ValueError):
    """The trees are not those of a binary classifier over plain numbers."""


def trees_of(model: Any) -> list[NDArray[np.void]]:
    """Return the nodes of every tree, in the order in which their values are added.

    Args:
        model: A fitted binary `HistGradientBoostingClassifier` without categorical features.

    Returns:
        One structured array a tree; node 0 is the root, children come after their parent.

    Raises:
        TreeError: If it is anything else.
    """
    if type(model) is not HistGradientBoostingClassifier or not hasattr(model, "_predictors"):
        msg = f"model must be a fitted HistGradientBoostingClassifier, got {type(model).__name__}"
        raise TreeError(msg)
    trees: list[NDArray[np.void]] = []
    for iteration in model._predictors:  # noqa: SLF001 - scikit-learn has no public way to its trees
        if len(iteration) != 1:
            msg = f"model must be binary, with one tree an iteration, got {len(iteration)}"
            raise TreeError(msg)
        trees.append(_checked(iteration[0].nodes, model.n_features_in_, len(trees)))
    return trees


def baseline_of(model: Any) -> float:
    """Return the raw score (log-odds) that the trees' values are added to."""
    return float(model._baseline_prediction.item())  # noqa: SLF001 - as above


def content_of(nodes: NDArray[np.void]) -> bytes:
    """Return what decides a tree's scores and reasons as bytes, the same on every machine."""
    columns = (nodes[name].astype(dtype).tobytes() for name, dtype in _CONTENT.items())
    return len(nodes).to_bytes(8, "little") + b"".join(columns)


def _checked(nodes: NDArray[np.void], features: int, tree: int) -> NDArray[np.void]:
    inner = nodes[nodes["is_leaf"] == 0]
    parents = np.flatnonzero(nodes["is_leaf"] == 0)
    children = np.concatenate([inner["left"], inner["right"]]).astype(np.int64)
    sound = (
        len(nodes) > 0
        and bool(np.all(nodes["count"] > 0))
        and not inner["is_categorical"].any()
        and bool(np.all((inner["feature_idx"] >= 0) & (inner["feature_idx"] < features)))
        and bool(np.all((children > np.tile(parents, 2)) & (children < len(nodes))))
    )
    if not sound:
        msg = (
            f"tree {tree} must have numeric splits over {features} features, each of rows, children after their parent"
        )
        raise TreeError(msg)
    return nodes
