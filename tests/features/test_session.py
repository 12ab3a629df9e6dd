"""The session features against the reference: offline, bit for bit, in the order and under the names of the vector."""

import pytest
from hypothesis import example, given, settings

from features.live_sessions import features_of
from features.session import FEATURES
from tests import reference
from tests.builders import A_MINUTE_MS, an_event, event_frame
from tests.reference import ReferenceSessions
from tests.streams import Stream, awkward_streams, long_stream

GAP_MS = 1_800_000


def assert_computed_alike(stream: Stream) -> None:
    """Compare the vectors of a stream, to the bit; on a difference, names the row and the features that differ."""
    sessions = ReferenceSessions()
    for row, vector in zip(stream.rows, features_of(event_frame(stream.records)).tolist(), strict=True):
        expected = sessions.update(row)
        differing = {
            name: (ours.hex(), theirs.hex())
            for name, ours, theirs in zip(FEATURES, vector, expected, strict=True)
            if ours.hex() != theirs.hex()
        }
        assert differing == {}, row


def test_the_vector_has_the_features_in_the_order_of_the_reference() -> None:
    assert FEATURES == reference.FEATURES


@settings(max_examples=150, deadline=None)
@given(awkward_streams())
@example(Stream([], 1))
def test_the_features_of_a_stream_are_those_of_the_reference_to_the_bit(stream: Stream) -> None:
    assert_computed_alike(stream)


@pytest.mark.parametrize("walks_pages", [True, False], ids=["many_pages", "few_pages"])
@pytest.mark.parametrize("sessions", [1, 50])
def test_the_features_of_a_long_stream_are_those_of_the_reference_to_the_bit(sessions: int, walks_pages: bool) -> None:
    assert_computed_alike(long_stream(seed=sessions, count=3_000, sessions=sessions, walks_pages=walks_pages))


def test_a_session_of_thousands_of_the_longest_gaps_and_latencies_stays_exact() -> None:
    records = [an_event(event_id=f"{i}", timestamp=A_MINUTE_MS + i * GAP_MS, latency_ms=600_000) for i in range(6_000)]

    assert_computed_alike(Stream(records, horizon=1))
