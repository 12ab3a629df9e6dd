from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from features.session import FEATURES
from model.calibration import Calibration, CalibrationError, fit_calibration
from model.evaluators import Evaluator
from model.scorer import Scorer, ScorerError
from tests.model.builders import KNOTS, a_matrix, a_model, an_artifact


def test_raw_score_is_the_classifiers_log_odds(tmp_path: Path) -> None:
    matrix = a_matrix(200, seed=4)

    raw = Scorer(an_artifact(tmp_path)).raw(matrix)

    assert np.array_equal(raw, a_model().decision_function(matrix))


def test_score_lies_on_the_lines_between_the_knots(tmp_path: Path) -> None:
    scores = Scorer(an_artifact(tmp_path)).score(a_matrix(200, seed=4))

    assert np.array_equal(scores.score, np.interp(scores.raw, KNOTS.raw, KNOTS.score))
    assert scores.score.min() >= KNOTS.score[0]
    assert scores.score.max() <= KNOTS.score[-1]


def test_a_row_scores_the_same_alone_and_in_any_batch(tmp_path: Path) -> None:
    scorer = Scorer(an_artifact(tmp_path))
    matrix = a_matrix(300, seed=5)

    together = scorer.score(matrix)
    alone = [scorer.score(matrix[row : row + 1]) for row in range(0, 300, 37)]

    assert [one.raw[0] for one in alone] == together.raw[::37].tolist()
    assert [one.score[0] for one in alone] == together.score[::37].tolist()


@pytest.mark.parametrize("evaluator", get_args(Evaluator))
def test_a_scorer_uses_the_evaluator_that_it_is_told(tmp_path: Path, evaluator: Evaluator) -> None:
    scorer = Scorer(an_artifact(tmp_path), evaluator)

    assert scorer.evaluator == evaluator
    assert np.array_equal(scorer.raw(a_matrix(50)), a_model().decision_function(a_matrix(50)))


def test_an_evaluator_that_gives_other_bits_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.scorer.in_onnxruntime", lambda _: lambda matrix: np.zeros(len(matrix)))

    scorer = Scorer(an_artifact(tmp_path))

    assert scorer.evaluator == "sklearn"
    assert np.array_equal(scorer.raw(a_matrix(50)), a_model().decision_function(a_matrix(50)))


def test_no_events_have_no_scores(tmp_path: Path) -> None:
    scores = Scorer(an_artifact(tmp_path)).score(np.empty((0, len(FEATURES))))

    assert scores.raw.shape == scores.score.shape == (0,)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_number_that_is_not_finite_is_an_error_that_names_the_feature(tmp_path: Path, value: float) -> None:
    matrix = a_matrix(5)
    matrix[3, FEATURES.index("device_risk")] = value

    with pytest.raises(ScorerError, match=r"feature device_risk must be finite, got .* in row 3"):
        Scorer(an_artifact(tmp_path)).score(matrix)


N = len(FEATURES)


@pytest.mark.parametrize("shape", [(N,), (3, N - 1), (0, N + 1), (1, 3, N)])
def test_matrix_of_another_shape_is_an_error(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ScorerError, match=rf"must be \(events, {N}\)"):
        Scorer(an_artifact(tmp_path)).score(np.zeros(shape))


def a_calibration_set(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(11)
    raw = rng.normal(-3, 3, size=rows)
    return raw, (rng.random(rows) < 1 / (1 + np.exp(-raw))).astype(np.int8)


@pytest.mark.parametrize("rows", [40, 1_000, 60_000])
def test_fitted_calibration_rises_strictly_and_has_few_knots(rows: int) -> None:
    raw, label = a_calibration_set(rows)

    calibration = fit_calibration(raw, label)

    assert 2 <= len(calibration.raw) <= 62
    assert np.all(np.diff(calibration.score) > 0)
    assert calibration == fit_calibration(raw, label)


def test_fitted_calibration_finds_the_probabilities_behind_the_labels() -> None:
    raw, label = a_calibration_set(60_000)

    calibration = fit_calibration(raw, label)

    at = np.array([-4.0, -1.0, 0.0, 1.0, 3.0])
    assert np.interp(at, calibration.raw, calibration.score) == pytest.approx(1 / (1 + np.exp(-at)), abs=0.05)


def test_separated_labels_still_give_scores_inside_zero_and_one() -> None:
    raw = np.linspace(-5, 5, 1_000)

    calibration = fit_calibration(raw, (raw > 2).astype(np.int8))

    assert 0 < calibration.score[0] < calibration.score[-1] < 1


@pytest.mark.parametrize("label", [0, 1])
def test_calibration_needs_both_labels(label: int) -> None:
    with pytest.raises(CalibrationError, match="rows of both labels"):
        fit_calibration(np.arange(9.0), np.full(9, label, dtype=np.int8))


@pytest.mark.parametrize(
    ("raw", "score"),
    [
        ((0.0,), (0.5,)),
        ((0.0, 1.0), (0.5, 0.5)),
        ((1.0, 0.0), (0.4, 0.5)),
        ((0.0, 1.0), (0.0, 0.5)),
        ((0.0, 1.0), (0.1, 1.0)),
        ((0.0, 1.0, 2.0), (0.1, 0.2)),
        ((float("-inf"), 1.0), (0.1, 0.2)),
        ((float("nan"), 1.0), (0.1, 0.2)),
    ],
)
def test_knots_that_are_no_calibration_are_refused(raw: tuple[float, ...], score: tuple[float, ...]) -> None:
    with pytest.raises(CalibrationError):
        Calibration(raw, score)
