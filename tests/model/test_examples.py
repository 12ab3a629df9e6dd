"""Examples: labels from their onset, parts in the order of time, and nothing from the future."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from model.examples import HONEST, ExamplesError, examples_of, label_gap_ms, split_by_time, vectors_of
from model.labels import labels_of
from model.simulated import world
from model.simulator import SimulatorConfig
from tests.builders import a_session, event_frame
from tests.model.a_behaviour import typing

SMALL = replace(SimulatorConfig(), customers=120, attack_share=0.1)


def labels(*rows: tuple[str, int, int, int | None]) -> pl.DataFrame:
    columns = ["session_id", "label", "known_at", "onset_at"]
    return labels_of(pl.DataFrame(rows, schema=columns, orient="row"), "of a test")


@pytest.fixture(scope="module")
def bank() -> tuple[pl.DataFrame, pl.DataFrame]:
    return world(0, 7, 25, SMALL)


def test_rows_before_the_onset_are_honest_and_without_one_all_rows_share_one_weight() -> None:
    first, second = a_session(["login", "click", "transfer"]), a_session(["login", "click"], session_id="s-2")
    frame = event_frame(first + second)

    examples = examples_of(frame, labels(("s-1", 1, 5, first[1]["timestamp"]), ("s-2", 1, 5, None)))

    assert examples.label.tolist() == [0, 1, 1, 1, 1]
    assert examples.weight.tolist() == [1, 1, 1, 0.5, 0.5]
    assert examples.is_transfer.tolist() == [False, False, True, False, False]


def test_without_a_label_a_session_is_honest_unless_the_labels_name_honest_ones_too() -> None:
    frame = event_frame(a_session(session_id="s-1") + a_session(session_id="s-2") + a_session(session_id="s-3"))

    only_fraud = examples_of(frame, labels(("s-1", 1, 5, None)))
    both = examples_of(frame, labels(("s-1", 1, 5, None), ("s-2", 0, 5, None)))

    assert set(only_fraud.kind) == {"fraud", HONEST}
    assert len(only_fraud) == 9
    assert len(both) == 6


def test_a_label_counts_from_when_it_is_known() -> None:
    frame = event_frame(a_session())

    assert not examples_of(frame, labels(("s-1", 1, 500, None)), known_at_ms=499).label.any()
    assert examples_of(frame, labels(("s-1", 1, 500, None)), known_at_ms=500).label.all()


def test_what_comes_later_never_changes_a_vector_or_what_training_knew(bank: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    frame, known = bank
    cut_ms = int(frame["timestamp"].quantile(0.6))
    before = frame.filter(pl.col("timestamp").cum_max() <= cut_ms)
    then = known.filter(pl.col("known_at") <= cut_ms)

    whole = examples_of(frame, known, known_at_ms=cut_ms)
    early = examples_of(before, then, known_at_ms=cut_ms)

    assert 1_000 < len(early) < len(whole)
    assert whole.matrix[: len(early)].tobytes() == early.matrix.tobytes()
    assert whole.label[: len(early)].tolist() == early.label.tolist()


def test_parts_come_one_after_the_other_with_time_for_labels_between(bank: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    parts = split_by_time(*bank)

    assert parts.gap_ms == label_gap_ms(*bank) > 3_600_000
    assert parts.calibrate.start_ms.min() - parts.train.start_ms.max() >= parts.gap_ms
    assert parts.calibrate.start_ms.max() < parts.test.start_ms.min()
    first = bank[0]["timestamp"].min()
    assert parts.train.start_ms.min() - first >= 4 * 86_400_000


def test_training_does_not_know_what_became_known_after_it(bank: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    frame, known = bank
    late = known.with_columns(known_at=pl.lit(2**45))

    with pytest.raises(ExamplesError, match="training needs honest sessions and fraud"):
        split_by_time(frame, late)


def test_profiles_need_no_bank() -> None:
    events, known = typing(users=4, genuine=12, imposters=0)
    frame = event_frame(
        [
            {
                **dict.fromkeys(("event_id", "page", "device_fingerprint"), ""),
                **row,
                "event_id": str(at),
                "element_id": None,
                "input_hash": None,
                "latency_ms": 0,
                "ip": None,
            }
            for at, row in enumerate(events.to_dicts())
        ]
    )

    matrix = vectors_of(frame, labels_of(known, "typed"))

    assert np.isfinite(matrix).all()
    assert (matrix[-12:, -1] >= 0).all()


def test_without_fraud_or_honest_sessions_no_part_is_made() -> None:
    with pytest.raises(ExamplesError, match="needs honest sessions and fraud, got"):
        split_by_time(event_frame(a_session()), labels(("s-1", 1, 5, None)))
