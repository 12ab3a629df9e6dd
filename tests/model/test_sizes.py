"""The size of a model: the cheapest that the same sessions cannot tell from the best one."""

import numpy as np

from model.examples import HONEST
from model.metrics import Sessions
from model.sizes import Size, cheapest, macro_precision

SMALL, MIDDLE, LARGE = Size(40, 15), Size(80, 31), Size(200, 31)


def test_a_loss_within_its_own_standard_error_is_none() -> None:
    dice = np.random.default_rng(1)
    best = 0.9 + 0.02 * dice.normal(size=30)

    assert cheapest({SMALL: best - 0.05, MIDDLE: best + 0.001 * dice.normal(size=30), LARGE: best + 0.0001}) == MIDDLE


def test_a_loss_that_every_sample_shows_counts_however_much_the_samples_differ() -> None:
    dice = np.random.default_rng(2)
    best = 0.9 + 0.1 * dice.normal(size=30)

    assert cheapest({SMALL: best - 0.01, LARGE: best}) == LARGE


def test_every_kind_of_attack_counts_the_same() -> None:
    kind = np.array([HONEST] * 50 + ["common"] * 40 + ["rare"])
    raw = np.concatenate([np.linspace(0, 1, 50), np.full(40, 2.0), [-1.0]])
    sessions = Sessions(raw, raw, kind != HONEST, kind)

    assert abs(macro_precision(sessions, np.arange(91)) - (1.0 + 1 / 51) / 2) < 1e-9
