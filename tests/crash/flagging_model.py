"""A small model for the crash tests: it flags sessions with many failed logins or events, so that flags do come."""

from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from features.session import FEATURES
from model.artifacts import ArtifactShelf
from model.calibration import Calibration

_ROWS, _TOLD_APART_BY = 4_000, 24
"""Rows, and so many of the features that differ between them."""


def save_flagging_model(directory: Path) -> Path:
    """Train it, always the same one, make it the current model of a folder, and return the folder."""
    dice = np.random.default_rng(5)
    matrix = np.zeros((_ROWS, len(FEATURES)))
    matrix[:, :_TOLD_APART_BY] = dice.integers(0, 40, size=(_ROWS, _TOLD_APART_BY))
    failures, events = (FEATURES.index(name) for name in ("session_login_failures", "session_events"))
    matrix[:, failures] = dice.integers(0, 5, size=_ROWS)
    model = HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=0)
    model.fit(matrix, matrix[:, failures] * 6 + matrix[:, events] > 24 + dice.normal(size=_ROWS) * 2)
    shelf = ArtifactShelf(directory)
    calibration = Calibration(raw=(-6.0, -1.0, 1.0, 2.0, 3.5), score=(0.01, 0.3, 0.7, 0.85, 0.97))
    shelf.set_current(shelf.save(model, calibration, {}, {}))
    return shelf.directory
