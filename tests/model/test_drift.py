"""Drift: the same rows have none, moved ones have some, in the numbers that moved."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from features.catalogue import CATALOGUE
from features.session import FEATURES
from model.drift import LEAST_ROWS, SCORE, Window, frozen, place_codes, psi_of

ROWS = 4_000


PLACES = np.arange(ROWS, dtype=np.uint64) % np.uint64(100)


def rows(seed: int, count: int = ROWS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give rows in which some features have few values, and some scores."""
    dice = np.random.default_rng(seed)
    matrix = dice.normal(size=(count, len(FEATURES)))
    matrix[:, FEATURES.index("session_transfers")] = dice.integers(0, 3, count)
    matrix[:, FEATURES.index("account_locked")] = 0
    return matrix, dice.random(count)


def a_reference() -> dict[str, object]:
    matrix, score = rows(1)
    return json.loads(json.dumps(frozen(matrix, PLACES, score, seed=0)))


def drift_of(matrix: NDArray[np.float64], score: NDArray[np.float64]) -> tuple[dict[str, float], dict[str, float]]:
    window = Window(a_reference())
    window.add(matrix, PLACES, score)
    drift = window.drift()
    assert drift is not None
    return dict(drift.psi), dict(drift.neutral)


def test_rows_like_those_of_training_have_hardly_any_drift() -> None:
    psi, _ = drift_of(*rows(2))

    assert set(psi) == {*FEATURES, SCORE}
    assert max(psi.values()) < 0.05
    assert psi["account_locked"] == 0


def test_a_feature_that_moved_is_named_and_the_others_are_not() -> None:
    matrix, score = rows(3)
    matrix[:, FEATURES.index("session_events")] += 1
    matrix[:, FEATURES.index("account_locked")] = 1

    psi, neutral = drift_of(matrix, score)

    assert {name for name, value in psi.items() if value > 0.25} == {"session_events", "account_locked"}
    assert neutral["account_locked"] == 0


def test_scores_that_moved_are_seen() -> None:
    matrix, score = rows(4)

    psi, _ = drift_of(matrix, score**3)

    assert psi[SCORE] > 0.25


def test_the_share_of_neutral_values_is_counted() -> None:
    matrix, score = rows(5)
    at = FEATURES.index("user_new_device")
    matrix[: ROWS // 4, at] = CATALOGUE["user_new_device"].neutral

    _, neutral = drift_of(matrix, score)

    assert neutral["user_new_device"] == pytest.approx(0.25)


def test_too_few_rows_say_nothing_and_windows_add_up() -> None:
    window = Window(a_reference())
    matrix, score = rows(6)

    window.add(matrix[: LEAST_ROWS - 1], PLACES[: LEAST_ROWS - 1], score[: LEAST_ROWS - 1])
    few = window.drift()
    window.add(matrix[LEAST_ROWS - 1 :], PLACES[LEAST_ROWS - 1 :], score[LEAST_ROWS - 1 :])

    assert few is None
    assert dict(window.drift().psi) == drift_of(matrix, score)[0]


def test_pages_and_types_that_training_has_not_seen_are_counted() -> None:
    matrix, score = rows(7)
    page, other_page = (
        np.zeros(ROWS, dtype=np.uint64) + 1,
        np.where(np.arange(ROWS) < ROWS // 4, 2, 1).astype(np.uint64),
    )
    view, click = np.zeros(ROWS, dtype=np.uint8), (np.arange(ROWS) < ROWS // 2).astype(np.uint8)
    reference = frozen(matrix, place_codes(page, view), score, seed=0)

    shares = []
    for pages, types in ((page, view), (other_page, view), (page, click)):
        window = Window(reference)
        window.add(matrix, place_codes(pages, types), score)
        shares.append(window.drift().unseen)

    assert shares == [0.0, 0.25, 0.5]


def test_the_index_is_that_of_its_formula() -> None:
    assert psi_of((0.5, 0.5), np.array([0.8, 0.2])) == pytest.approx(0.3 * np.log(0.8 / 0.2))
    assert np.isfinite(psi_of((1.0, 0.0), np.array([0.0, 1.0])))
