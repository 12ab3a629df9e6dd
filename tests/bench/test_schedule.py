from hypothesis import given
from hypothesis import strategies as st

from tests.bench.latency import delays
from tests.bench.schedule import Schedule


def test_nothing_is_due_before_the_start_and_the_first_event_is_due_at_it() -> None:
    schedule = Schedule(start=100.0, rate=10.0, count=3)

    assert [schedule.due(now) for now in (99.9, 100.0, 100.05, 100.11, 100.21, 200.0)] == [0, 1, 1, 2, 3, 3]


@given(st.integers(1, 50_000), st.integers(1, 10_000), st.floats(0, 100))
def test_what_is_due_is_what_is_meant_to_be_sent_by_then(rate: int, count: int, elapsed: float) -> None:
    schedule = Schedule(1_000.0, rate, count)
    due = schedule.due(schedule.start + elapsed)

    assert due == count or schedule.at(due) >= schedule.start + elapsed - 1e-6
    assert due == 0 or schedule.at(due - 1) <= schedule.start + elapsed + 1e-6


def test_the_last_event_is_meant_to_be_sent_at_the_end() -> None:
    assert Schedule(50.0, 2_000, 2_001).end == 51.0


def test_a_delay_counts_from_when_the_event_was_meant_to_be_sent_also_after_a_stall() -> None:
    schedule = Schedule(start=10.0, rate=100.0, count=300)
    stalled_ms = 12_500

    found = delays(schedule, first=1_000, warm_up=2, flags=[(1_200, stalled_ms), (1_250, stalled_ms)])

    assert found == {1_200: 500.0, 1_250: 0.0}


def test_flags_of_the_warm_up_and_of_the_events_before_the_load_do_not_count() -> None:
    schedule = Schedule(start=10.0, rate=100.0, count=300)

    found = delays(schedule, first=1_000, warm_up=2, flags=[(5, 9_000), (1_000, 10_003), (1_199, 12_000)])

    assert found == {}
