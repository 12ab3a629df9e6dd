"""How large a model should be: the smallest whose accuracy nobody can tell from that of the best."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from model.examples import Examples
from model.metrics import Sessions, sessions_of
from model.scorer import Scores

TREES, LEAVES = (40, 80, 120, 160, 200, 240), (15, 31)
_RESAMPLES = 30


class Size(NamedTuple):
    """Of a model."""

    trees: int
    leaves: int

    @property
    def cost(self) -> float:
        """Comparisons a score: of balanced trees, and the same in every run, which microseconds are not."""
        return self.trees * math.log2(self.leaves)


class SizeFigures(NamedTuple):
    """What a size was worth."""

    trees: int
    leaves: int
    cost: float
    average_precision: float
    """See `macro_precision`."""


def choose_size(
    earlier: Examples, later: Examples, classifier: Callable[[Size], Any]
) -> tuple[Size, list[SizeFigures]]:
    """Fit some sizes on earlier sessions and judge them by later ones.

    Args:
        earlier: Rows to fit on.
        later: Rows to judge by. All that will ever be known of them should be known: attacks that count as honest are
            just those with the largest scores, and hide what a better model finds.
        classifier: Makes a classifier of a size, not fitted.

    Returns:
        The cheapest size that the later sessions cannot tell from the best one (see `cheapest`); the figures of all.
    """
    found: dict[Size, Sessions] = {}
    for leaves in LEAVES:
        model = classifier(Size(TREES[-1], leaves))
        model.fit(earlier.matrix, earlier.label, sample_weight=earlier.weight)
        for trees, raw in enumerate(model.staged_decision_function(later.matrix), start=1):
            if trees in TREES:
                scores = raw.ravel()
                found[Size(trees, leaves)] = sessions_of(later, Scores(scores, scores))
    precisions = {size: _resampled(sessions) for size, sessions in found.items()}
    figures = [
        SizeFigures(*size, round(size.cost, 1), round(macro_precision(one, np.arange(len(one.raw))), 4))
        for size, one in found.items()
    ]
    return cheapest(precisions), figures


def cheapest(precisions: Mapping[Size, NDArray[np.float64]]) -> Size:
    """Return the cheapest size whose loss against the best one is at most its own standard error.

    The loss is taken sample by sample: sizes are judged by the same sessions, so their difference is known much better
    than either of them.

    Args:
        precisions: By size, `macro_precision` in each of some bootstrap samples, the same ones for all.
    """
    best = max(precisions.values(), key=lambda one: float(one.mean()))
    good = [size for size, one in precisions.items() if (best - one).mean() <= (best - one).std()]
    return min(good, key=lambda size: (size.cost, size.leaves))


def macro_precision(sessions: Sessions, taken: NDArray[np.intp]) -> float:
    """Return the mean, over the kinds of attack, of the average precision of each against the honest sessions.

    Rare kinds count as much as common ones.

    Args:
        sessions: With the largest score of each.
        taken: Which of them count, perhaps several times.
    """
    raw, kind = sessions.raw[taken], sessions.kind[taken]
    honest = ~sessions.is_fraud[taken]
    found = []
    for attack in np.unique(kind[~honest]):
        either = honest | (kind == attack)
        found.append(average_precision_score(~honest[either], raw[either]))
    return float(np.mean(found)) if found else 0.0


def _resampled(sessions: Sessions) -> NDArray[np.float64]:
    """Return the accuracy in samples of the sessions, drawn with replacement by a fixed seed."""
    dice, count = np.random.default_rng(0), len(sessions.raw)
    return np.array([macro_precision(sessions, dice.integers(0, count, count)) for _ in range(_RESAMPLES)])
