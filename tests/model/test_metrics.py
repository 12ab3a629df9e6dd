import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from features.session import FEATURES
from model.examples import HONEST, Examples, together
from model.metrics import Sessions, before_transfer, calibration_of, delays_of, intervals_of, metrics_of, typed_before
from model.scorer import Scores


def some_examples(rows: list[tuple[int, int, str, bool]]) -> Examples:
    """Make examples of (session, label, kind, is_transfer)."""
    session, label, kind, is_transfer = zip(*rows, strict=True)
    return Examples(
        matrix=np.zeros((len(rows), len(FEATURES))),
        label=np.array(label, dtype=np.int8),
        session=np.array(session, dtype=np.int64),
        kind=np.array(kind),
        is_transfer=np.array(is_transfer),
        place=np.ones(len(rows), dtype=np.uint64),
        weight=np.ones(len(rows)),
        timestamp_ms=np.arange(len(rows), dtype=np.int64) * 1_000,
        start_ms=np.zeros(len(rows), dtype=np.int64),
    )


def some_scores(score: list[float]) -> Scores:
    values = np.array(score)
    return Scores(raw=values * 10, score=values)


ATTACKED = [
    (0, 0, HONEST, False),
    (1, 0, "takeover", False),
    (0, 0, HONEST, True),
    (1, 1, "takeover", False),
    (1, 1, "takeover", True),
    (2, 1, "stuffing", False),
    (3, 0, HONEST, False),
    (4, 1, "takeover", True),
]


def test_session_counts_by_its_largest_score_from_the_onset_on() -> None:
    scores = some_scores([0.1, 0.99, 0.3, 0.5, 0.6, 0.2, 0.25, 0.9])

    metrics = metrics_of(some_examples(ATTACKED), scores)

    assert metrics["recall_by_kind"] == {"stuffing": 0.0, "takeover": 1.0}
    assert metrics["recall"] == pytest.approx(2 / 3, abs=1e-4)
    assert metrics["auc"] == pytest.approx(4 / 6, abs=1e-4)
    assert (metrics["sessions"], metrics["fraud_sessions"]) == (5, 3)
    assert (metrics["events"], metrics["fraud_events"]) == (8, 4)


def test_perfect_scores_give_perfect_figures() -> None:
    scores = some_scores([0.1, 0.1, 0.1, 0.96, 0.96, 0.96, 0.1, 0.96])

    metrics = metrics_of(some_examples(ATTACKED), scores)

    assert metrics["average_precision"] == metrics["auc"] == metrics["event_auc"] == metrics["recall"] == 1.0
    assert metrics["levels"] == {
        level: {
            "recall": 1.0,
            "false_alarms": 0.0,
            "alerts_a_day": 72.0,
            "recall_by_kind": {"stuffing": 1.0, "takeover": 1.0},
        }
        for level in ("review", "block")
    }


@pytest.mark.parametrize(
    ("score", "share"),
    [
        ([0, 0, 0, 0.81, 0.81, 0.9, 0, 0.9], 0.5),  # session 4 begins with its transfer: never before
        ([0, 0, 0, 0.80, 0.99, 0.9, 0, 0.9], 0.0),  # a score at the level is not above it; at the transfer is late
        ([0, 0.9, 0.9, 0, 0, 0.9, 0.9, 0], 0.0),  # neither before the onset nor in other sessions
    ],
)
def test_flag_counts_as_before_the_transfer_at_an_event_between_onset_and_transfer(
    score: list[float], share: float
) -> None:
    assert before_transfer(some_examples(ATTACKED), np.array(score) > 0.8) == share


def test_delays_count_events_and_seconds_from_the_onset() -> None:
    flagged = np.array([True, True, True, False, True, False, False, True])

    delays = delays_of(some_examples(ATTACKED), flagged)

    assert delays == {"events": {"p50": 0.5, "p90": 0.9}, "seconds": {"p50": 0.5, "p90": 0.9}}


def test_no_flag_has_no_delay() -> None:
    assert delays_of(some_examples(ATTACKED), np.zeros(8, dtype=np.bool_)) == {"events": None, "seconds": None}


def test_intervals_hold_the_figure_and_are_wider_for_fewer_sessions() -> None:
    dice = np.random.default_rng(3)
    widths = []
    for count in (400, 4_000):
        is_fraud = dice.random(count) < 0.2
        raw = dice.normal(size=count) + 2 * is_fraud
        sessions = Sessions(raw, raw, is_fraud, np.where(is_fraud, "x", HONEST))
        intervals = intervals_of(sessions)
        low, high = intervals["auc"]
        assert low < roc_auc_score(is_fraud, raw) < high
        assert intervals == intervals_of(sessions)
        widths.append(high - low)

    assert widths[0] > 2 * widths[1]


def test_calibration_compares_the_score_with_the_share_of_fraud() -> None:
    examples = some_examples([(at, int(at % 4 == 0), "x" if at % 4 == 0 else HONEST, False) for at in range(400)])

    [(score, share, events)] = calibration_of(examples, some_scores([0.25] * 400), bins=1)

    assert (score, share, events) == (0.25, 0.25, 400)


def test_streams_put_together_keep_their_sessions_apart() -> None:
    both = together([some_examples(ATTACKED), some_examples(ATTACKED)])

    assert both.session.tolist() == [0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 5, 6, 6, 7, 8, 9]
    assert len(both) == 16


def test_an_account_counts_as_typed_before_only_while_it_is_news_and_after_the_onset() -> None:
    rows = [
        (0, 1, "mule_payee", False),
        (1, 1, "mule_payee", False),
        (2, 1, "mule_payee", False),
        (3, 0, HONEST, False),
    ]
    examples = some_examples(rows)
    users, age = FEATURES.index("input_other_users"), FEATURES.index("input_age_days")
    examples.matrix[:, users], examples.matrix[:, age] = 2, [1.0, 20.0, -1.0, 1.0]

    assert typed_before(examples) == pytest.approx(1 / 3, abs=1e-4)
