import numpy as np
import pytest

from features.session import FEATURES
from model.examples import HONEST, Examples, ExamplesError, split_by_start, together
from model.metrics import metrics_of
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
        level: {"recall": 1.0, "false_alarms": 0.0, "recall_by_kind": {"stuffing": 1.0, "takeover": 1.0}}
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
    assert metrics_of(some_examples(ATTACKED), some_scores(score))["flagged_before_transfer"] == share


def test_parts_are_cut_by_the_start_of_sessions_and_share_none() -> None:
    rows = [(number // 2, number % 2, HONEST if number % 2 == 0 else "x", False) for number in range(40)]
    examples = some_examples(rows)

    parts = split_by_start(examples)

    assert [sorted(set(part.session.tolist())) for part in parts] == [
        list(range(12)),
        list(range(12, 16)),
        list(range(16, 20)),
    ]


def test_part_without_fraud_is_refused() -> None:
    rows = [(number, int(number < 5), "x" if number < 5 else HONEST, False) for number in range(20)]

    with pytest.raises(ExamplesError, match="calibration needs honest sessions and fraud"):
        split_by_start(some_examples(rows))


def test_streams_put_together_keep_their_sessions_apart() -> None:
    both = together([some_examples(ATTACKED), some_examples(ATTACKED)])

    assert both.session.tolist() == [0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 5, 6, 6, 7, 8, 9]
    assert len(both) == 16
