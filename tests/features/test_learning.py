"""Learning: in the order of the ends whatever partition came first, never from what was flagged, and never twice."""

import random

import numpy as np
import polars as pl
import pytest

from features.events import EventColumns
from features.learning import MOST_WAITING, Learning, learn
from features.live_sessions import DEFAULT_LATENESS_MS
from features.pages import with_normal_pages
from features.profile import NOBODY, fold, read
from features.session import SESSION_GAP_MS
from features.session_ends import EndedSessions, SessionEnds
from features.snapshot import SnapshotError
from features.watermarks import IDLE_MS
from model.profiles import profiles_after
from model.simulator import SimulatorConfig, history
from tests.builders import a_session, event_frame

START_MS = 1_749_513_600_000
OVER_MS = SESSION_GAP_MS + DEFAULT_LATENESS_MS


def frame_of(*sessions: tuple[str, str, int]) -> pl.DataFrame:
    """Make events of (session, user, start)."""
    records = [
        {**record, "user_id": user}
        for session, user, start in sessions
        for record in a_session(["login", "page_view", "logout"], session_id=session, start_ms=start)
    ]
    return event_frame(sorted(records, key=lambda record: record["timestamp"]))


def ended(frame: pl.DataFrame, watermark_ms: int) -> EndedSessions:
    return SessionEnds(1_000, DEFAULT_LATENESS_MS).take(frame, EventColumns.from_frame(frame), watermark_ms)


def test_a_session_is_over_when_no_event_can_join_it_and_not_before() -> None:
    ends, frame = SessionEnds(1_000, DEFAULT_LATENESS_MS), frame_of(("s-1", "u-1", START_MS), ("s-2", "", START_MS))
    last_ms = frame["timestamp"].max()
    nothing = frame.clear()

    first = ends.take(frame, EventColumns.from_frame(frame), last_ms + OVER_MS)
    stored = ends.snapshot()
    again = SessionEnds(1_000, DEFAULT_LATENESS_MS)
    again.restore(stored)
    second = again.take(nothing, EventColumns.from_frame(nothing), last_ms + OVER_MS + 60_000)

    assert (first.session_ids, ends.ended_before_ms) == ([], last_ms)
    assert (second.session_ids, second.users) == (["s-1"], ["u-1"])  # nobody knows whose the other is
    assert second.learned.latest_ms.tolist() == [last_ms]
    assert (len(again), again.ended_before_ms) == (0, last_ms + 60_000)


def test_ended_sessions_are_written_and_read_again() -> None:
    sessions = ended(frame_of(("s-1", "u-1", START_MS), ("s-2", "u-\u00e9", START_MS)), START_MS + 10 * OVER_MS)

    again = EndedSessions.from_bytes(sessions.to_bytes())

    assert (again.session_ids, again.users) == (sessions.session_ids, sessions.users)
    assert all(
        np.array_equal(getattr(again.learned, name), getattr(sessions.learned, name))
        for name in sessions.learned.__slots__
    )
    with pytest.raises(SnapshotError):
        EndedSessions.from_bytes(b"something else")


def weeks_by_partition(partitions: int) -> list[list[tuple[int, EndedSessions]]]:
    """Give, for each of some partitions, the ends of its sessions over weeks, batch by batch."""
    events = with_normal_pages(history(SimulatorConfig(customers=200), 3, 6, START_MS).events)
    told = []
    for partition in range(partitions):
        mine = events.filter(pl.col("session_id").hash(1) % partitions == partition)
        ends, batches = SessionEnds(10_000, DEFAULT_LATENESS_MS), []
        for part in [*mine.iter_slices(40), mine.clear()]:
            watermark_ms = int(part["timestamp"].max() or START_MS + 6 * 86_400_000 + 10 * OVER_MS)
            sessions = ends.take(part, EventColumns.from_frame(part), watermark_ms)
            batches.append((ends.ended_before_ms, sessions))
        told.append(batches)
    return told


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_profiles_are_the_same_however_partitions_are_read_and_however_often_the_flow_fell(seed: int) -> None:
    dice, told = random.Random(seed), weeks_by_partition(3)
    stored, learning, at = dict[str, bytes](), Learning(frozenset(range(3))), [0, 0, 0]
    kept, kept_at = learning.snapshot(), at.copy()
    while left := {p: told[p][at[p]][0] for p in range(3) if at[p] < len(told[p])}:
        partition = dice.choice([p for p, ended_ms in left.items() if ended_ms <= min(left.values()) + IDLE_MS // 2])
        learning.add(partition, *told[partition][at[partition]])
        at[partition] += 1
        due = learning.due()
        stored |= learn({user: stored.get(user, b"") for user in due.users}, due)
        learning.learned()
        if dice.random() < 0.1:
            kept, kept_at = learning.snapshot(), at.copy()
        if dice.random() < 0.03:  # the store keeps what was written, the flow goes back
            learning, at = Learning(frozenset(range(3))), kept_at.copy()
            learning.restore(kept)

    events = history(SimulatorConfig(customers=200), 3, 6, START_MS).events
    users, profiles = profiles_after(events)
    assert len(learning) == 0
    assert stored == {user: profile.tobytes() for user, profile in zip(users, profiles, strict=True)}


def test_flagged_sessions_are_not_learned_from() -> None:
    learning = Learning()
    sessions = ended(frame_of(("s-1", "u-1", START_MS), ("s-2", "u-2", START_MS)), START_MS + 10 * OVER_MS)
    learning.flag("s-2", START_MS)
    learning.add(0, START_MS + OVER_MS, sessions)
    other = Learning()
    other.restore(learning.snapshot())

    assert other.due().session_ids == ["s-1"]
    other.learned()
    assert (len(other), other.due().session_ids) == (0, [])


def test_a_session_waits_for_the_partition_that_is_behind_unless_that_has_no_events() -> None:
    learning = Learning()
    sessions = ended(frame_of(("s-1", "u-1", START_MS)), START_MS + 10 * OVER_MS)
    learning.add(1, START_MS, EndedSessions.none())
    learning.add(0, START_MS + OVER_MS, sessions)
    before = len(learning.due())
    learning.add(0, START_MS + IDLE_MS + 1, EndedSessions.none())
    unheard = Learning(frozenset({7}))
    unheard.add(0, START_MS + OVER_MS, sessions)

    assert (before, len(learning.due())) == (0, 1)
    assert len(unheard.due()) == 0


def test_what_a_profile_knows_is_not_learned_again() -> None:
    sessions = ended(frame_of(("s-1", "u-1", START_MS), ("s-2", "u-1", START_MS + 60_000)), START_MS + 10 * OVER_MS)
    in_order = sessions.take(np.argsort(sessions.learned.latest_ms))

    once = learn({"u-1": b""}, in_order)
    twice = learn(once, in_order)

    expected = fold(fold(NOBODY, in_order.learned.take(np.array([0]))), in_order.learned.take(np.array([1])))
    assert once == twice == {"u-1": expected[0].tobytes()}
    assert read([once["u-1"]])[0]["sessions"] == 2


def test_of_too_many_that_wait_the_oldest_go() -> None:
    learning = Learning()
    one = ended(frame_of(("s-1", "u-1", START_MS), ("s-2", "u-2", START_MS + 5_000)), START_MS + 10 * OVER_MS)
    many = one.take(np.array([0] + [1] * MOST_WAITING))

    assert learning.add(0, 0, many) == 1
    assert len(learning) == MOST_WAITING
    learning.add(0, START_MS + OVER_MS, EndedSessions.none())
    assert set(learning.due().session_ids) == {"s-2"}
