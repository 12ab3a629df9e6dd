"""Several partitions through the features at once: each gets what it gets alone."""

import numpy as np
import polars as pl
import pytest

from features.admission import ADMITTED, Admission
from features.events import EventColumns
from features.live_sessions import LiveSessions, SessionRows, settle
from features.pages import with_normal_pages
from tests.builders import event_frame
from tests.streams import long_stream

PARTITIONS, EVENTS = 3, 900


def frames(partition: int, length: int) -> list[tuple[pl.DataFrame, int | None]]:
    """A partition's admitted events in batches, and the watermark after each."""
    stream = long_stream(seed=partition, count=EVENTS, sessions=4 + 9 * partition, calm=partition != 1)
    frame, admission = with_normal_pages(event_frame(stream.records)), Admission()
    admitted = []
    for part in frame.iter_slices(length):
        verdicts = admission.judge(EventColumns.from_frame(part))
        admitted.append((part.filter(pl.Series(verdicts.verdict == ADMITTED)), verdicts.watermark_ms))
    return admitted


def assert_equal(given: SessionRows, alone: SessionRows) -> None:
    assert given.session_ids == alone.session_ids
    assert sorted(given.freed) == sorted(alone.freed)
    for name in ("matrix", "first_ms", "first_offset", "partial", "newest"):
        assert np.array_equal(getattr(given, name), getattr(alone, name)), name
    for row in range(0, len(alone.session_ids), 7):
        assert given.state_before(row) == alone.state_before(row)


@pytest.mark.parametrize("length", [1, 6, 60])
@pytest.mark.parametrize("waiting", [1, 2])
def test_partitions_together_get_the_features_and_the_state_that_each_gets_alone(length: int, waiting: int) -> None:
    streams = [frames(partition, length) for partition in range(PARTITIONS)]
    alone, together = ([LiveSessions() for _ in streams] for _ in range(2))

    for start in range(0, len(streams[0]), waiting):
        updates = []
        for sessions, batches in zip(together, streams, strict=True):
            for frame, watermark_ms in batches[start : start + waiting]:
                ids, columns = frame["session_id"].to_list(), EventColumns.from_frame(frame)
                updates.append(sessions.begin(ids, columns, watermark_ms))
        settle([update.sessions for update in updates])
        expected = [
            sessions.update(frame, watermark_ms)
            for sessions, batches in zip(alone, streams, strict=True)
            for frame, watermark_ms in batches[start : start + waiting]
        ]
        for update, rows in zip(updates, expected, strict=True):
            assert_equal(update.rows, rows)

    assert [one.snapshot() for one in together] == [one.snapshot() for one in alone]


def test_a_snapshot_has_what_still_waits() -> None:
    (frame, watermark_ms), *_ = frames(0, 50)
    waiting, done = LiveSessions(), LiveSessions()
    update = waiting.begin(frame["session_id"].to_list(), EventColumns.from_frame(frame), watermark_ms)

    assert waiting.snapshot() == (done.update(frame, watermark_ms), done.snapshot())[1]
    assert update.rows.session_ids == frame["session_id"].to_list()
