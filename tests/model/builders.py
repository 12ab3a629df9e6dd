"""A small classifier over stand-in features, in one place for the tests of artifacts, scorer and reasons."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from features.session import FEATURES
from model.artifacts import Artifact, ArtifactShelf
from model.calibration import Calibration

TOLD_APART_BY = 24
"""So many of the features differ between the rows that the classifier learns from."""

KNOTS = Calibration(raw=(-4.0, 0.0, 3.0), score=(0.01, 0.4, 0.97))


def a_matrix(rows: int, seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(rows, len(FEATURES)))


@cache
def a_model(seed: int = 1, trees: int = 12) -> HistGradientBoostingClassifier:
    matrix = np.zeros((2_000, len(FEATURES)))
    matrix[:, :TOLD_APART_BY] = np.random.default_rng(seed).normal(size=(2_000, TOLD_APART_BY))
    label = (matrix[:, 3] + matrix[:, 5] * matrix[:, 9] + matrix[:, 20] > 1).astype(np.int8)
    model = HistGradientBoostingClassifier(max_iter=trees, early_stopping=False, random_state=0)
    return model.fit(matrix, label)


def a_saved_model(directory: Path, seed: int = 1) -> tuple[ArtifactShelf, str]:
    shelf = ArtifactShelf(directory)
    return shelf, shelf.save(a_model(seed), KNOTS, {"seed": seed}, {"auc": 0.9})


def an_artifact(directory: Path) -> Artifact:
    shelf, model_id = a_saved_model(directory)
    return shelf.load(model_id)
