"""Admission against the reference, over every way to cut a stream, with restores between."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from features.admission import ADMITTED, DUPLICATE, LATE, Admission
from features.events import EventColumns
from features.snapshot import SnapshotError
from tests.builders import an_event, event_frame
from tests.kept import Kept
from tests.reference import ReferenceAdmission
from tests.streams import Cut, Stream, cut_streams, long_cut, long_stream

NAMES = {ADMITTED: "admitted", DUPLICATE: "duplicate", LATE: "late"}


def judged_alike(stream: Stream, cut: Cut, parts: int = 1) -> None:
    """Read the stream both ways; every verdict, and the watermark and the counts after every batch, must agree."""
    reference, admission, kept = ReferenceAdmission(stream.horizon), Admission(horizon=stream.horizon), Kept(parts)
    frame, reused = event_frame(stream.records), 0
    for place, restored in cut.batches():
        verdicts = admission.judge(EventColumns.from_frame(frame[place]))
        reused += verdicts.id_reused

        assert [NAMES[code] for code in verdicts.verdict.tolist()] == list(map(reference.judge, stream.rows[place]))
        assert verdicts.watermark_ms == admission.watermark_ms == reference.watermark
        assert reused == reference.event_id_reused
        assert admission.counts == {
            "dead": 0,
            "duplicate": reference.counts["duplicate"],
            "late": reference.counts["late"],
        }
        kept.take(admission)
        if restored:
            admission = Admission(horizon=stream.horizon).restore(*kept.in_order())


@settings(max_examples=150, deadline=None)
@given(cut_streams(), st.integers(1, 3))
@example((Stream([], 1), Cut([0, 0], [True, True])), 1)
def test_every_cut_of_a_stream_is_judged_as_the_reference_does(cut_stream: tuple[Stream, Cut], parts: int) -> None:
    judged_alike(*cut_stream, parts)


@pytest.mark.parametrize("calm", [True, False], ids=["calm", "awkward"])
@pytest.mark.parametrize("horizon", [7, 300, 100_000])
def test_a_long_stream_is_judged_as_the_reference_does(horizon: int, calm: bool) -> None:
    stream = long_stream(seed=horizon, count=3_000, horizon=horizon, calm=calm)

    for seed, parts in enumerate((1, 5)):
        judged_alike(stream, long_cut(seed, len(stream.records)), parts)


def test_a_batch_longer_than_the_horizon_forgets_rows_within_itself() -> None:
    admission = Admission(horizon=2)
    ids = ["1", "2", "1", "3", "1"]

    frame = event_frame([an_event(event_id=event_id) for event_id in ids])
    verdicts = admission.judge(EventColumns.from_frame(frame))

    assert [NAMES[code] for code in verdicts.verdict.tolist()] == [
        "admitted",
        "admitted",
        "duplicate",
        "admitted",
        "admitted",
    ]


def test_a_snapshot_of_something_else_is_refused() -> None:
    with pytest.raises(SnapshotError):
        Admission().restore(b"something else")
