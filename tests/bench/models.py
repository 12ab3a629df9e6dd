"""The models of the benchmark: the fixed one of 100 trees x 31 leaves, made once and kept, and the one we ship."""

import hashlib
import math
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from features.session import FEATURE_SET_ID
from model.artifacts import Artifact, ArtifactShelf
from model.calibration import Calibration
from tests.bench.decoding import record_of
from tests.bench.plain_sessions import PlainSessions
from tests.bench.work import Work, make

TREES, LEAVES = 100, 31
SHIPPED = Path("model/artifacts")
_TRAINING = Work(events=80_000, probes=0.01, seed=8)
_NOISE = 0.002
_KNOTS = (0.0005, 0.02, 0.2, 0.5, 0.8, 0.95, 0.999)


class BenchModelError(RuntimeError):
    """The reference model did not become what the benchmark says it is."""


def current(directory: Path) -> Artifact:
    """Open the current model of a folder."""
    shelf = ArtifactShelf(directory)
    return shelf.load(shelf.current())


def reference_model(folder: Path) -> Path:
    """Return the folder with the fixed model as its current one, which is made where it is missing."""
    facts = f"{_TRAINING.name} {_NOISE} {_KNOTS} {TREES} {LEAVES} {FEATURE_SET_ID}".encode()
    shelf = ArtifactShelf(folder / f"model-{hashlib.sha256(facts).hexdigest()[:12]}")
    if not (shelf.directory / "current").exists():
        shelf.set_current(shelf.save(_fitted(), _calibration(), {"work": _TRAINING.name}, {}))
    return shelf.directory


def _fitted() -> HistGradientBoostingClassifier:
    """Train on whether a machine made the event; a little noise keeps every tree growing to its full size."""
    events, sessions = make(_TRAINING), PlainSessions()
    matrix = np.array([sessions.update(record_of(value))[1] for value in events])
    label = np.frombuffer(events.machines, dtype=np.uint8) ^ (np.random.default_rng(0).random(len(events)) < _NOISE)
    model = HistGradientBoostingClassifier(max_iter=TREES, max_leaf_nodes=LEAVES, early_stopping=False, random_state=0)
    with threadpool_limits(1):  # more of them only wait for each other on a busy machine
        model.fit(matrix, label)
    leaves = np.mean([iteration[0].get_n_leaf_nodes() for iteration in model._predictors])
    if model.n_iter_ != TREES or leaves < LEAVES - 1:
        msg = f"reference model: expected {TREES} trees of {LEAVES} leaves, got {model.n_iter_} of {leaves:.1f}"
        raise BenchModelError(msg)
    return model


def _calibration() -> Calibration:
    """Return the logistic function by knots, two of which are the levels."""
    return Calibration(raw=tuple(math.log(p / (1 - p)) for p in _KNOTS), score=_KNOTS)
