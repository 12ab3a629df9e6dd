import json
import math
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from dataflows.demo.figures import Figures, Flag, Histogram, History, PageTable, figures_from, safe, summary_line
from observability.histogram import BatchHistogram

LATENCY = Histogram((0.001, 0.002, 0.01, math.inf), (50, 90, 100, 100))


def metrics_text() -> str:
    """What a flow shows that has read 90 records of two partitions, 10 of them before its restart."""
    registry = CollectorRegistry()
    events = Counter("fraud_events", "-", ["outcome"], registry=registry)
    records = Gauge("fraud_partition_records", "-", ["partition", "outcome"], registry=registry)
    flags = Counter("fraud_flags_emitted", "-", ["level"], registry=registry)
    by_partition = {
        name: Gauge(name, "-", ["partition"], registry=registry)
        for name in ("fraud_consumer_lag_records", "fraud_live_sessions", "fraud_watermark_timestamp_seconds")
    }
    latency = BatchHistogram("fraud_pipeline_latency_seconds", "-", (0.001, 0.01), registry)
    for outcome, count in {"scored": 70, "dead": 3, "late": 2, "duplicate": 1}.items():
        events.labels(outcome).inc(count)
    for outcome, counts in {"consumed": (60, 30), "scored": (50, 30), "dead": (3, 0), "late": (2, 0)}.items():
        records.labels("0", outcome).set(counts[0])
        records.labels("1", outcome).set(counts[1])
    records.labels("0", "duplicate").set(1)
    for gauge, values in zip(by_partition.values(), ((4, 5), (7, 8), (100.0, 90.0)), strict=True):
        gauge.labels("0").set(values[0])
        gauge.labels("1").set(values[1])
    flags.labels("review").inc(2)
    flags.labels("block").inc(1)
    latency.observe(np.array([0.0005, 0.005, 0.5]))
    return generate_latest(registry).decode()


def a_flag_record(**overrides: object) -> dict[str, object]:
    reasons = [
        {"code": "LOGIN_FAILURES", "feature": "session_login_failures", "value": 6.0, "contribution": 2.5},
        {"code": "LOGIN_FAILURES", "feature": "session_failure_ratio", "value": 0.75, "contribution": 1.5},
        {"code": "TRANSFERS", "feature": "session_transfers", "value": 0.0, "contribution": -1.0},
        {"code": "RAPID_EVENTS", "feature": "session_gap_mean_seconds", "value": 0.2, "contribution": 0.5},
    ]
    record = {"flag_id": "f1", "session_id": "s1", "level": "block", "score": 0.97, "reasons": reasons}
    return record | overrides


@pytest.mark.parametrize(("percent", "seconds"), [(25, 0.0005), (50, 0.001), (70, 0.0015), (95, 0.006), (100, 0.01)])
def test_a_percentile_lies_on_the_line_between_the_bounds_of_its_bucket(percent: float, seconds: float) -> None:
    assert LATENCY.percentile(percent) == pytest.approx(seconds)


def test_a_percentile_beyond_the_last_bound_is_that_bound() -> None:
    assert Histogram((0.001, 60.0, math.inf), (1, 1, 100)).percentile(99) == 60.0


def test_a_histogram_without_values_has_percentiles_of_zero() -> None:
    assert Histogram((0.001, math.inf), (0, 0)).percentile(99) == 0.0
    assert Histogram().percentile(50) == 0.0


def test_the_difference_of_two_readings_holds_what_came_between_them() -> None:
    earlier = Histogram(LATENCY.bounds, (50, 50, 50, 50))

    assert LATENCY.since(earlier).counts == (0, 40, 50, 50)


def test_figures_add_up_partitions_and_count_only_this_process() -> None:
    figures = figures_from(metrics_text())

    assert (figures.scored, figures.dead, figures.late, figures.duplicates) == (70, 3, 2, 1)
    assert figures.in_flight == 4  # 90 read, 86 ended
    assert figures.events == 80  # 10 of the 90 were read by the process before
    assert (figures.lag, figures.live_sessions, figures.flags_delivered) == (9, 15, 3)
    assert figures.newest_event_seconds == 100.0
    assert figures.latency == Histogram((0.001, 0.01, math.inf), (1, 2, 3))


def test_figures_of_a_flow_that_has_read_nothing_are_zero() -> None:
    assert figures_from("") == Figures()


def test_the_rate_is_that_of_the_last_seconds() -> None:
    history = History()

    for second in range(60):
        history.add(float(second), Figures(scored=100 * min(second, 30)))

    assert history.events_per_second == 0.0


def test_the_rate_does_not_count_the_time_before_the_stream() -> None:
    history = History()

    history.add(30.0, Figures())
    history.add(31.0, Figures())
    history.add(33.0, Figures(scored=100))

    assert history.events_per_second == 50.0


def test_latency_of_the_last_seconds_forgets_a_slow_start() -> None:
    history = History()
    slow_start = Histogram((0.01, 10.0, math.inf), (0, 100, 100))

    for second in range(20):
        counts = tuple(count + 10 * second for count in slow_start.counts)
        history.add(float(second), Figures(scored=int(counts[-1]), latency=replace(slow_start, counts=counts)))

    assert slow_start.percentile(50) > 1
    assert history.latency.percentile(99) <= 0.01


def test_latency_stays_on_the_screen_when_nothing_comes_any_more() -> None:
    history = History()

    for second in range(1, 30):
        history.add(float(second), Figures(scored=100, latency=LATENCY))

    assert history.latency == LATENCY


def test_a_flag_names_each_reason_once_and_only_what_speaks_for_fraud() -> None:
    flag = Flag.from_record(a_flag_record())

    assert flag.reasons == (
        "LOGIN_FAILURES (session_login_failures 6)",
        "RAPID_EVENTS (session_gap_mean_seconds 0.2)",
    )


def test_a_flag_shows_only_the_beginning_of_its_session() -> None:
    flag = Flag.from_record(a_flag_record(session_id="0190f2a4-7c1e-7b7e-9a65-0d2f6f8f0a11"))

    assert flag.session == "0190f2a4-7c…"


def test_texts_of_events_cannot_command_the_terminal() -> None:
    assert safe("/pay\x1b[2J\n\u202e") == "/pay?[2J??"


def test_pages_are_ordered_by_their_counts_and_empty_ones_left_out() -> None:
    table = PageTable.busiest(["05:03", "05:04"], {"/b": (1, 2), "/quiet": (0, 0), "/a": (2, 1), "/top": (9, 0)})

    assert table.rows == (("/top", (9, 0)), ("/a", (2, 1)), ("/b", (1, 2)))


def test_the_summary_is_one_line_with_the_agreed_names() -> None:
    figures = Figures(scored=90, dead=4, late=3, duplicates=2, in_flight=1, latency=LATENCY)

    line = summary_line(figures, 5, {"pages": 6, "sessions": 7})

    assert "\n" not in line
    assert json.loads(line) == {
        "events": 100,
        "scored": 90,
        "flags": 5,
        "dead_letters": 4,
        "late": 3,
        "duplicates": 2,
        "pages": 6,
        "sessions": 7,
        "latency_ms_p50": 1.0,
        "latency_ms_p95": 6.0,
        "latency_ms_p99": 9.2,
    }
