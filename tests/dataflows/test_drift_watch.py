"""The watch counts a sample of the rows, and shows the drift once a minute."""

import numpy as np
import pytest

from dataflows.drift_watch import ROWS_A_SECOND, DriftWatch
from features.session import FEATURES
from model.drift import frozen
from observability import metrics
from tests.dataflows.test_stalls import Clock


def gauge(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


def test_drift_is_shown_after_a_minute_and_begins_anew() -> None:
    dice, clock = np.random.default_rng(1), Clock()
    trained, score = dice.normal(size=(3_000, len(FEATURES))), dice.random(3_000)
    place = np.arange(len(score), dtype=np.uint64) % np.uint64(1_000)
    watch = DriftWatch(frozen(trained, place, score, seed=0), clock)
    moved = trained[:1_000] + 2

    for _ in range(61):
        watch.add(moved, place[:1_000] + np.uint64(250), score[:1_000])
        clock.now += 1

    assert (gauge("fraud_feature_drift_psi", feature="session_events") or 0) > 0.25
    assert (gauge("fraud_score_drift_psi") or 0) < 0.1
    assert gauge("fraud_unseen_share") == pytest.approx(0.5)
    for _ in range(61):
        watch.add(trained[:1_000], place[:1_000], score[:1_000])
        clock.now += 1
    assert (gauge("fraud_feature_drift_psi", feature="session_events") or 0) < 0.1
    assert gauge("fraud_unseen_share") == 0


def test_only_so_many_rows_a_second_are_counted() -> None:
    dice, clock = np.random.default_rng(2), Clock()
    trained, score = dice.normal(size=(5_000, len(FEATURES))), dice.random(5_000)
    place = np.arange(len(score), dtype=np.uint64) % np.uint64(1_000)
    watch = DriftWatch(frozen(trained, place, score, seed=0), clock)

    for _ in range(100):
        watch.add(trained, place, score)
        clock.now += 0.01

    assert watch._window.rows == ROWS_A_SECOND
