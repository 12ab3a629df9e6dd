import json
from pathlib import Path

import pytest

from tests.bench.__main__ import is_fast_enough
from tests.bench.expected import Expected, FlagRule, WrongResultError, compare
from tests.bench.report import write_report
from tests.bench.throughput import Rates

WANT = Expected(
    counts={("/home", "2025-06-15T15:06:00"): 3, ("/help", "2025-06-15T15:06:00"): 1},
    flags={("s-1", "e-1", "review"), ("s-1", "e-4", "block")},
)


def test_the_same_counts_and_flags_in_any_order_are_right() -> None:
    told = compare(WANT, dict(WANT.counts), sorted(WANT.flags, reverse=True))

    assert told == {"checked_counts": 2, "checked_events": 4, "checked_flags": 2}


@pytest.mark.parametrize(
    ("counts", "flags", "problem"),
    [
        ({("/home", "2025-06-15T15:06:00"): 3}, WANT.flags, "1 page counts wrong"),
        ({**WANT.counts, ("/home", "2025-06-15T15:06:00"): 4}, WANT.flags, "1 page counts wrong"),
        ({**WANT.counts, ("/x", "2025-06-15T15:06:00"): 1}, WANT.flags, "1 page counts wrong"),
        (WANT.counts, [("s-1", "e-1", "review")], "1 flags missing"),
        (WANT.counts, [*WANT.flags, ("s-2", "e-9", "block")], "1 flags that must not be"),
        (WANT.counts, [("s-1", "e-2", "review"), ("s-1", "e-4", "block")], "1 flags missing"),
        (WANT.counts, [*WANT.flags, ("s-1", "e-1", "review")], "1 flags twice"),
    ],
)
def test_anything_else_is_wrong_and_says_what(
    counts: dict[tuple[str, str], int], flags: list[tuple[str, str, str]], problem: str
) -> None:
    with pytest.raises(WrongResultError, match=problem):
        compare(WANT, counts, flags)


def test_a_run_in_which_no_flag_is_expected_proves_nothing() -> None:
    with pytest.raises(WrongResultError, match="no flag"):
        compare(Expected(WANT.counts, set()), WANT.counts, [])


def test_a_session_is_flagged_once_a_level_strictly_above_it_and_at_the_highest() -> None:
    rows = [("s", 0, f"e-{place}") for place in range(6)] + [("t", 0, "e-9"), ("s", 7, "e-10")]

    flags = list(FlagRule().flags(rows, [0.8, 0.81, 0.85, 0.95, 0.96, 0.99, 0.97, 0.9]))

    assert flags == [("s", "e-1", "review"), ("s", "e-4", "block"), ("t", "e-9", "block"), ("s", "e-10", "review")]


def test_what_is_expected_comes_back_from_its_file(tmp_path: Path) -> None:
    WANT.save(tmp_path / "expected.json")

    assert Expected.load(tmp_path / "expected.json") == WANT


def test_rates_leave_the_start_out_and_name_it_apart() -> None:
    rates = Rates(events=1_000, seconds=2.0, cpu_seconds=1.0, start_cpu_seconds=3.0, start_seconds=6.0)

    figures = rates.figures()

    assert (figures["events_per_cpu_second"], figures["events_per_cpu_second_with_start"]) == (1_000, 250)
    assert (figures["events_per_second"], figures["events_per_second_with_start"]) == (500, 125)
    assert rates.ratio_to(Rates(500, 1.0, 2.0, 0.0, 0.0)) == 4.0


@pytest.mark.parametrize(("ratio", "is_enough"), [(1.99, False), (2.0, True), (9.0, True)])
def test_a_ratio_below_the_floor_fails_the_check(ratio: float, is_enough: bool) -> None:
    assert is_fast_enough([{"scenario": "throughput", "ratio_to_plain_loop": ratio}], floor=2.0) is is_enough


def test_a_check_without_a_throughput_fails() -> None:
    assert not is_fast_enough([{"scenario": "start"}])


def test_the_report_shows_the_newest_figures_of_each_scenario_and_what_they_were_measured_on(tmp_path: Path) -> None:
    machine = dict.fromkeys(("cpu", "system", "kafka", "redis", "python"), "x") | {"packages": {"polars": "2"}}
    for at, rate in (("2026-01-02", 20_000), ("2026-01-01", 10_000)):
        figures = [{"scenario": "throughput", "events_per_second": rate, "load": 1.5}]
        run = {"at": at, "short": True, "machine": {**machine, "at": at}, "figures": figures}
        (tmp_path / f"result-{at}.json").write_text(json.dumps(run))

    write_report(tmp_path, tmp_path / "PERFORMANCE.md")

    text = (tmp_path / "PERFORMANCE.md").read_text()
    assert "| throughput | events_per_second 20,000 | 1.5 |" in text
    assert "10,000" not in text
    assert "2026-01-02: x; x; x; x; Python x, polars 2" in text
