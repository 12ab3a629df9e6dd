"""Fit and calibrate a model on labelled examples: the same plan and examples give the same model id."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from features.catalogue import CATALOGUE, FROM_STORES
from features.session import FEATURES
from model.artifacts import Artifact, ArtifactShelf
from model.calibration import fit_calibration
from model.drift import frozen
from model.examples import HONEST, Examples, Parts, together
from model.metrics import metrics_of, sessions_of, tail_of
from model.scorer import Scores
from model.sizes import Size, SizeFigures, choose_size

MOST_ROWS = 2_000_000
"""Of training: more honest rows are drawn by lot, and count for those left out. Attacked sessions stay whole."""
UNKNOWN_SHARE = 0.1
"""Of the sessions that are shown a second time as if the stores knew nothing: new users, and Redis away."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The choices of a training run.

    Attributes:
        seed: Of the simulated bank, of what is drawn by lot, and of the classifier.
        max_iter: Trees; 0 lets `model.sizes` choose trees and leaves.
        max_leaf_nodes: Leaves a tree.
        learning_rate: Share of each tree's correction that is kept.
        l2: Shrinks the leaves.
        min_samples_leaf: Rows a leaf.
    """

    seed: int = 7
    max_iter: int = 0
    max_leaf_nodes: int = 31
    learning_rate: float = 0.1
    l2: float = 1.0
    min_samples_leaf: int = 20


def fit_and_save(parts: Parts, plan: Plan, shelf: ArtifactShelf) -> Artifact:
    """Train on the earliest sessions, calibrate on later ones, measure on the last, save and make current.

    Args:
        parts: Of a labelled stream.
        plan: Parameters; they go into the manifest.
        shelf: Where the artifact goes.

    Returns:
        The artifact as it was read back: what was measured is what will serve.
    """
    tried: list[SizeFigures] = []
    if not plan.max_iter:
        few = prepared(parts.train, plan.seed, MOST_ROWS // 2)
        size, tried = choose_size(few, parts.calibrate, partial(_of_size, plan))
        plan = replace(plan, max_iter=size.trees, max_leaf_nodes=size.leaves)
    train = prepared(parts.train, plan.seed, MOST_ROWS)
    model = classifier(plan).fit(train.matrix, train.label, sample_weight=train.weight)
    calibration = fit_calibration(model.decision_function(parts.calibrate.matrix), parts.calibrate.label)
    training = asdict(plan) | {
        "train_rows": len(train),
        "calibration_rows": len(parts.calibrate),
        "gap_hours": round(parts.gap_ms / 3_600_000, 1),
        "sizes_tried": [one._asdict() for one in tried],
    }
    raw = model.decision_function(parts.test.matrix)
    scores = Scores(raw, calibration.scores_of(raw))
    metrics = metrics_of(parts.test, scores) | {
        "tail": tail_of(sessions_of(parts.test, scores)),
        "drift": frozen(parts.train.matrix, parts.train.place, scores.score, plan.seed),
    }
    model_id = shelf.save(model, calibration, training, metrics)
    shelf.set_current(model_id)
    return shelf.load(model_id)


def classifier(plan: Plan) -> HistGradientBoostingClassifier:
    """Return the classifier of a plan, not fitted yet."""
    return HistGradientBoostingClassifier(
        max_iter=plan.max_iter,
        max_leaf_nodes=plan.max_leaf_nodes,
        learning_rate=plan.learning_rate,
        l2_regularization=plan.l2,
        min_samples_leaf=plan.min_samples_leaf,
        early_stopping=False,
        random_state=plan.seed,
    )


def joined(parts: Iterable[Parts]) -> Parts:
    """Put the parts of several streams together."""
    known = list(parts)
    return Parts(
        train=together([one.train for one in known]),
        calibrate=together([one.calibrate for one in known]),
        test=together([one.test for one in known]),
        gap_ms=max(one.gap_ms for one in known),
    )


def prepared(train: Examples, seed: int, most_rows: int) -> Examples:
    """Return the rows that a model is fitted on: not too many, rare attacks heavier, of some users nothing known."""
    dice = np.random.default_rng(seed)
    thinned = _with_even_kinds(_thinned(train, dice, most_rows))
    chosen = dice.random(int(thinned.session.max()) + 1) < UNKNOWN_SHARE
    unknown = thinned.take(chosen[thinned.session])
    return together([thinned, replace(unknown, matrix=knowing_nothing(unknown.matrix))])


def knowing_nothing(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return vectors as they would be if no store had answered."""
    changed = matrix.copy()
    for name in FROM_STORES:
        changed[:, FEATURES.index(name)] = CATALOGUE[name].neutral
    return changed


def _thinned(train: Examples, dice: np.random.Generator, most_rows: int) -> Examples:
    honest = train.kind == HONEST
    share = (most_rows - int((~honest).sum())) / max(int(honest.sum()), 1)
    if share >= 1:
        return train
    share = max(share, 0.05)
    kept = ~honest | (dice.random(len(train)) < share)
    weight = np.where(honest, train.weight / share, train.weight)
    return replace(train, weight=weight).take(kept)


def _with_even_kinds(train: Examples) -> Examples:
    """Weigh the rows of each kind of attack by the root of how rare it is; all attacks together weigh as before.

    Half way between each row counting the same, where the trees spend themselves on the common kinds, and each kind
    counting the same, where the common ones suffer. Scores are calibrated afterwards on rows as they are.
    """
    fraud = np.flatnonzero(train.label == 1)
    _, kind = np.unique(train.kind[fraud], return_inverse=True)
    weight = train.weight[fraud]
    total = np.bincount(kind, weight)
    evened = weight * np.sqrt(total.mean() / total)[kind]
    weights = train.weight.copy()
    weights[fraud] = evened * (weight.sum() / evened.sum())
    return replace(train, weight=weights)


def _of_size(plan: Plan, size: Size) -> HistGradientBoostingClassifier:
    return classifier(replace(plan, max_iter=size.trees, max_leaf_nodes=size.leaves))
