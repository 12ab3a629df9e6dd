from dataclasses import replace
from typing import Any

import pytest

from tests.bench import next_size
from tests.bench.next_size import (
    HEADROOM,
    Measured,
    Newest,
    event_bytes,
    measured_in,
    newest_share,
    plan,
    section,
)
from tests.bench.work import EVENTS_A_SECOND, KEY, Work, make

ONE = Measured(
    cpu_us=50.0,
    lane_rate=30_000.0,
    cost_ratio=1.0,
    bytes_a_session=1_000.0,
    empty_bytes=3e8,
    event_bytes=200.0,
    flags_share=0.002,
)
"""20,000 events/s fill a lane: 12,000 are planned for it."""

RATE = 240_000.0


def figures(**cpu_us: float) -> Newest:
    """Return what scenarios of these costs, and live sessions, have left."""
    run = {"at": "2026-11-24T19:46:14+00:00", "short": False}
    rates = {"events_per_second": 30_000, "checked_flags": 1_000, "checked_events": 500_000}
    sessions = {"few": 10_000, "many": 1_000_000, "cost_ratio": 1.5, "bytes_a_session": 900, "memory_mb_few": 309}
    scenarios: dict[str, dict[str, Any]] = {name: {"cpu_us_an_event": cost, **rates} for name, cost in cpu_us.items()}
    return {name: (run, told) for name, told in {**scenarios, "live_sessions": sessions}.items()}


def test_twice_the_rate_needs_twice_the_lanes() -> None:
    assert plan(ONE, RATE).lanes == 20
    assert plan(ONE, 2 * RATE).lanes == 40


def test_one_event_more_than_the_lanes_may_have_needs_another_lane() -> None:
    assert plan(ONE, RATE + 1).lanes == 21


def test_a_dearer_event_needs_more_lanes() -> None:
    assert plan(replace(ONE, cpu_us=100.0), RATE).lanes == 40


def test_an_event_that_is_dearer_among_many_sessions_needs_more_lanes_and_a_cheaper_one_not_fewer() -> None:
    assert plan(replace(ONE, cost_ratio=2.0), RATE).lanes == 40
    assert plan(replace(ONE, cost_ratio=0.9), RATE).lanes == 20


def test_a_lane_is_planned_by_its_wall_rate_where_that_is_less_than_a_core_gives() -> None:
    assert plan(replace(ONE, lane_rate=10_000.0), RATE).lanes == 40


@pytest.mark.parametrize("rate", [1.0, 50_000.0, 1_000_000.0, 3_333_333.0])
def test_no_lane_redis_thread_broker_or_session_table_is_planned_above_the_headroom(rate: float) -> None:
    sized = plan(ONE, rate)

    assert rate / sized.lanes <= HEADROOM * ONE.capacity * (1 + 1e-6)
    assert sized.redis_writes * next_size.REDIS_US_A_WRITE / 1e6 <= HEADROOM * sized.redis_shards
    assert sized.broker_in / 1e6 <= HEADROOM * next_size.BROKER_DISK_MB * sized.brokers
    assert sized.broker_out / 1e6 <= HEADROOM * next_size.BROKER_NETWORK_MB * sized.brokers
    assert sized.sessions <= HEADROOM * next_size.MOST_SESSIONS_A_PARTITION * sized.partitions


@pytest.mark.parametrize("rate", [1.0, 50_000.0, 1_000_000.0, 3_333_333.0])
def test_every_lane_has_as_many_partitions_and_two_at_least(rate: float) -> None:
    sized = plan(ONE, rate)

    assert sized.partitions % sized.lanes == 0
    assert sized.partitions >= 2 * sized.lanes


def test_tables_that_would_be_too_full_need_more_partitions_on_each_lane() -> None:
    cheap = replace(ONE, cpu_us=5.0, lane_rate=200_000.0)

    assert plan(cheap, RATE).lanes == 2
    assert plan(cheap, RATE).partitions > 30


def test_a_larger_session_needs_more_memory_and_no_more_lanes() -> None:
    before, after = plan(ONE, RATE), plan(replace(ONE, bytes_a_session=2_000.0), RATE)

    assert after.memory_bytes - before.memory_bytes == pytest.approx(1_000 * before.sessions)
    assert after.lanes == before.lanes


def test_sessions_stay_in_memory_until_no_event_can_join_them() -> None:
    assert plan(ONE, 30.0).sessions == pytest.approx(30 * 4 + 30 * 60 + 60 * 60)


def test_brokers_take_every_copy_and_keep_it_for_a_day() -> None:
    sized = plan(replace(ONE, flags_share=0.0), 1_000.0)

    assert sized.broker_in == 3 * 1_000 * 200
    assert sized.broker_out == (2 + 1) * 1_000 * 200
    assert sized.disk_bytes == 3 * 1_000 * 200 * 86_400


def test_flags_are_bytes_of_the_brokers_too() -> None:
    more = plan(ONE, 1_000.0).broker_in - plan(replace(ONE, flags_share=0.0), 1_000.0).broker_in

    assert more == pytest.approx(3 * 2 * next_size.FLAG_BYTES)


def test_the_first_bottleneck_is_the_fullest_resource() -> None:
    for one in (ONE, replace(ONE, event_bytes=20_000.0)):
        sized = plan(one, RATE)
        fullest = sorted((resource.utilisation for resource in sized.resources), reverse=True)

        assert [resource.utilisation for resource in sized.bottlenecks] == fullest[:3]


def test_what_is_fullest_follows_from_the_figures() -> None:
    assert plan(ONE, RATE).bottlenecks[0].name == "Redis writes"
    assert plan(replace(ONE, event_bytes=20_000.0), RATE).bottlenecks[0].name == "Disk of a broker"
    assert plan(ONE, 12_000.0).bottlenecks[0].name == "CPU of a lane"


def test_a_bottleneck_says_which_figure_makes_it_one() -> None:
    found = {resource.name: resource.figure for resource in plan(ONE, RATE).resources}

    assert found["CPU of a lane"] == "12,000 events/s on each of 20 lanes, of 20,000 that fill one"


def test_hardly_an_event_is_superseded_in_a_short_interval_and_nearly_all_are_in_a_long_one() -> None:
    assert newest_share(1e-6, 4.0) == pytest.approx(1.0, abs=1e-6)
    assert newest_share(400.0, 4.0) == pytest.approx(0.01)


def test_the_share_of_newest_events_is_that_of_the_fixed_work() -> None:
    live, interval = 2_000, 1_250
    events = make(Work(events=40 * interval, live=live))
    written = sum(
        len({events[at][KEY] for at in range(start, start + interval)}) for start in range(0, len(events), interval)
    )

    share = newest_share(interval / EVENTS_A_SECOND, live / EVENTS_A_SECOND)

    assert written / len(events) == pytest.approx(share, rel=0.03)


def test_an_event_has_the_bytes_of_the_work_and_its_key_and_framing() -> None:
    value = event_bytes() - 36 - next_size.RECORD_BYTES

    assert 150 < value < 175


def test_memory_without_sessions_is_what_is_left_when_those_that_were_live_are_taken_off() -> None:
    [one] = measured_in(figures(throughput=25.0), 200.0).values()

    assert one.empty_bytes == pytest.approx(300e6)
    assert one.flags_share == 0.002
    assert one.capacity == pytest.approx(30_000 / 1.5)


def test_the_section_has_a_plan_without_look_ups_and_one_with_them() -> None:
    lines = section(figures(throughput_enriched=100.0, throughput=50.0), 200.0, RATE)

    assert lines[0] == "## What 240,000 events/s would need"
    assert "| | look-ups off | look-ups on |" in lines
    assert "| lanes | 30 at 8,000 events/s | 60 at 4,000 events/s |" in lines
    assert [line[:2] for line in lines if line[:2] in {"1.", "2.", "3."}] == ["1.", "2.", "3."]
    assert not any("Missing" in line for line in lines)


def test_a_throughput_that_was_not_measured_is_named_and_the_other_one_computed() -> None:
    lines = section(figures(throughput=50.0), 200.0, RATE)

    assert "- Missing: `throughput_enriched` has not been measured (`python -m tests.bench --only models`)." in lines
    assert "| | look-ups off |" in lines


@pytest.mark.parametrize("missing", ["live_sessions", "throughput"])
def test_without_the_figures_that_it_takes_the_section_names_the_run_and_computes_nothing(missing: str) -> None:
    left = {name: told for name, told in figures(throughput=50.0).items() if name != missing}

    lines = section(left, 200.0, RATE)

    assert any(f"`{missing}` has not been measured" in line for line in lines)
    assert not any("|" in line for line in lines)


def test_an_older_run_that_lacks_a_figure_is_as_good_as_none() -> None:
    newest = dict(figures(throughput=50.0, throughput_enriched=60.0))
    newest["throughput_enriched"] = ({"at": "2026-11-20", "short": True}, {"cpu_us_an_event": 60.0})

    lines = section(newest, 200.0, RATE)

    assert any("Missing: `throughput_enriched`" in line for line in lines)
    assert "| | look-ups off |" in lines


def test_the_section_names_every_assumption() -> None:
    text = "\n".join(section(figures(throughput=50.0), 200.0, RATE))

    for word in ("60%", "11 us", "864 bytes", "1,580", "500 MB/s", "1,250 MB/s", "115 bytes", "250 ms", "96.9%"):
        assert word in text, word
