"""A model for the tests of the flow: one that flags sessions with several failed logins, so that flags do come."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from features.session import FEATURES
from model.artifacts import ArtifactShelf
from model.calibration import Calibration


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory whose current model scores by the number of failed logins and of events."""
    dice = np.random.default_rng(5)
    matrix = dice.integers(0, 12, size=(4_000, len(FEATURES))).astype(np.float64)
    failures, events = (matrix[:, FEATURES.index(name)] for name in ("session_login_failures", "session_events"))
    model = HistGradientBoostingClassifier(max_iter=30, early_stopping=False, random_state=0)
    model.fit(matrix, failures + events / 4 > 3 + dice.normal(size=4_000))
    shelf = ArtifactShelf(tmp_path_factory.mktemp("models"))
    calibration = Calibration(raw=(-6.0, -1.0, 1.0, 2.5, 6.0), score=(0.01, 0.3, 0.7, 0.9, 0.99))
    shelf.set_current(shelf.save(model, calibration, {}, {}))
    return shelf.directory


@pytest.fixture(scope="session")
def model_id(model_dir: Path) -> str:
    """The id of the current model in `model_dir`."""
    return ArtifactShelf(model_dir).current()
