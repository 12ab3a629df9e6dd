"""Live sessions against the reference: admitted rows in any cut, with frees and restores, give the same to the bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.live_sessions import Instance, LiveSessions, SessionRows, vector_after
from features.session import FEATURES
from features.session_table import StateError
from features.snapshot import SnapshotError, pack, unpack
from tests.builders import A_MINUTE_MS, an_event, event_frame
from tests.features.test_page_windows import admitted_batches
from tests.kept import Kept
from tests.reference import LATENESS_MS, SESSION_GAP_MS, ReferenceRow, ReferenceSessions
from tests.streams import Cut, Stream, cut_streams, long_cut, long_stream

END_OF_TIME_MS = 2**41


def assert_alike(given_rows: SessionRows, rows: list[ReferenceRow], sessions: ReferenceSessions) -> None:
    """Compare a batch's vectors (to the bit), instances and newest rows with the reference, which is updated."""
    newest = {row.session_id: at for at, row in enumerate(rows)}
    assert given_rows.newest.tolist() == sorted(newest.values())
    assert given_rows.matrix.shape == (len(rows), len(FEATURES))
    for at, (row, vector) in enumerate(zip(rows, given_rows.matrix.tolist(), strict=True)):
        expected, instance = sessions.update(row), sessions.instance(row.session_id)
        assert instance is not None
        assert [value.hex() for value in vector] == [value.hex() for value in expected], row
        assert given_rows.instance(at) == Instance(row.session_id, instance.first)
        assert given_rows.first_offset[at] == instance.first_offset
        assert not given_rows.partial[at]


def assert_at_their_end(freed: list[str], watermark_ms: int | None, sessions: ReferenceSessions) -> None:
    """Their instances can get no more rows: the watermark is far enough past them."""
    for session_id in freed:
        current = sessions.instance(session_id)
        assert current is not None
        assert watermark_ms is not None
        assert watermark_ms > current.latest + SESSION_GAP_MS + LATENESS_MS


def live_alike(stream: Stream, cut: Cut, parts: int = 1) -> None:
    """Read a stream's admitted rows both ways, then end all time: no session stays."""
    sessions, live, kept = ReferenceSessions(), LiveSessions(), Kept(parts)
    alive: set[str] = set()
    for frame, rows, watermark_ms, restored in admitted_batches(stream, cut):
        given_rows = live.update(frame, watermark_ms)

        assert_alike(given_rows, rows, sessions)
        assert_at_their_end(given_rows.freed, watermark_ms, sessions)
        alive |= {row.session_id for row in rows}
        assert set(given_rows.freed) <= alive
        alive -= set(given_rows.freed)
        kept.take(live)
        if restored:
            live = LiveSessions()
            live.restore(*kept.in_order())
    assert set(live.update(event_frame([]), END_OF_TIME_MS).freed) == alive
    assert len(live) == 0


@settings(max_examples=120, deadline=None)
@given(cut_streams(), st.integers(1, 3))
def test_every_cut_of_a_stream_gives_the_features_of_the_reference(cut_stream: tuple[Stream, Cut], parts: int) -> None:
    live_alike(*cut_stream, parts)


@pytest.mark.parametrize(("sessions", "calm"), [(3, True), (40, True), (40, False)])
def test_a_long_stream_gives_the_features_of_the_reference(sessions: int, calm: bool) -> None:
    stream = long_stream(seed=sessions, count=3_000, sessions=sessions, calm=calm, walks_pages=sessions == 3)

    for seed, parts in enumerate((1, 5)):
        live_alike(stream, long_cut(seed, len(stream.records)), parts)


def test_a_stream_gives_the_same_bits_row_by_row_and_all_at_once() -> None:
    stream = long_stream(seed=11, count=300, calm=True)
    one_by_one = Cut([1] * 300, [False] * 300)
    at_once = Cut([300], [False])

    matrices = []
    for cut in (one_by_one, at_once):
        live = LiveSessions()
        matrices.append([live.update(frame, mark).matrix for frame, _, mark, _ in admitted_batches(stream, cut)])

    assert np.concatenate(matrices[0]).tobytes() == np.concatenate(matrices[1]).tobytes()


@settings(max_examples=25, deadline=None)
@given(cut_streams(most=25))
def test_what_a_session_carried_and_the_event_give_its_vector_again(cut_stream: tuple[Stream, Cut]) -> None:
    live = LiveSessions()

    for frame, _, watermark_ms, _ in admitted_batches(*cut_stream):
        rows = live.update(frame, watermark_ms)
        for at in range(frame.height):
            again = vector_after(rows.state_before(at), frame[at : at + 1])
            assert again.tobytes() == rows.matrix[at].tobytes()


def test_an_instance_is_freed_only_once_the_watermark_is_past_its_end_and_the_lateness() -> None:
    end_ms = A_MINUTE_MS + SESSION_GAP_MS + LATENESS_MS
    live = LiveSessions()
    live.update(event_frame([an_event(session_id="s", timestamp=A_MINUTE_MS)]), A_MINUTE_MS)

    assert live.update(event_frame([]), end_ms).freed == []
    assert live.update(event_frame([]), end_ms + 60_001).freed == ["s"]
    assert len(live) == 0


def test_beyond_the_limit_the_oldest_sessions_are_evicted_and_counted() -> None:
    live = LiveSessions(max_live=2)
    records = [an_event(session_id=f"s-{age}", timestamp=A_MINUTE_MS - age) for age in (2, 0, 3, 1)]

    rows = live.update(event_frame(records), A_MINUTE_MS)

    assert sorted(rows.freed) == ["s-2", "s-3"]
    assert (len(live), live.evicted) == (2, 2)


def test_of_equally_old_sessions_no_more_than_needed_are_evicted() -> None:
    live = LiveSessions(max_live=3)
    records = [an_event(session_id=f"s-{at}", timestamp=A_MINUTE_MS) for at in range(4)]

    live.update(event_frame(records), A_MINUTE_MS)

    assert (len(live), live.evicted) == (3, 1)


def test_event_times_that_would_spoil_the_running_maxima_are_refused() -> None:
    with pytest.raises(StateError, match="event times"):
        LiveSessions().update(event_frame([an_event(timestamp=2**50)]), None)


def test_sessions_from_before_a_new_feature_are_marked_partial() -> None:
    live = LiveSessions()
    live.update(event_frame([an_event(session_id="old", timestamp=A_MINUTE_MS)]), A_MINUTE_MS)
    stored = unpack("session_table", live.snapshot())
    older = {name: column for name, column in stored.columns.items() if name != "column:latency_max_ms"}
    resumed = LiveSessions()

    resumed.restore(pack("session_table", older, stored.scalars))
    rows = resumed.update(
        event_frame([an_event(session_id=name, timestamp=A_MINUTE_MS + 1) for name in ("old", "new")]), A_MINUTE_MS
    )

    assert rows.partial.tolist() == [True, False]
    assert rows.matrix[:, FEATURES.index("session_events")].tolist() == [2.0, 1.0]


def test_a_snapshot_of_something_else_is_refused() -> None:
    with pytest.raises(SnapshotError):
        LiveSessions().restore(b"something else")
