"""The recovery store is not much larger than the state that it holds."""

from pathlib import Path

from tests.crash.restart import MOST_STORE_TO_STATE, snapshot_stall

SESSIONS = 20_000
ID_BYTES = 36
"""Of one session's id: fewer bytes a session would mean that the sessions are not live, or not stored."""


def test_the_store_of_many_live_sessions_is_at_most_two_and_a_half_times_their_state(
    model_dir: Path, model_id: str
) -> None:
    figures = snapshot_stall(SESSIONS, model_dir, model_id)

    assert figures["state_bytes"] > SESSIONS * ID_BYTES
    assert figures["store_bytes"] > SESSIONS * ID_BYTES
    assert figures["store_bytes"] <= MOST_STORE_TO_STATE * figures["state_bytes"], figures
