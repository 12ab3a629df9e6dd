import pytest

from tests.bench.quantiles import median_of, quantile, summary


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 500), (0.95, 950), (0.99, 990), (0.999, 999), (1.0, 1_000), (0.0001, 1)]
)
def test_a_quantile_is_the_smallest_value_that_so_many_do_not_exceed(share: float, value: int) -> None:
    assert quantile(range(1, 1_001), share) == value


def test_a_single_delay_is_every_quantile() -> None:
    assert set(summary([4.26]).values()) == {4.3}


def test_the_order_in_which_delays_come_does_not_matter() -> None:
    assert summary([3.0, 1.0, 2.0]) == summary([1.0, 2.0, 3.0])


def test_what_never_came_is_longer_than_anything() -> None:
    found = summary([1.0] * 98, missing=2)

    assert found == {"p50": 1.0, "p95": 1.0, "p99": None, "p99.9": None, "max": None}


def test_nothing_at_all_has_no_quantiles() -> None:
    assert set(summary([]).values()) == {None}


def test_the_median_over_runs_is_taken_of_each_quantile_and_a_run_without_one_is_the_worst() -> None:
    runs = [summary([5.0]), summary([1.0]), summary([], missing=1)]

    assert set(median_of(runs).values()) == {5.0}
    assert set(median_of([summary([], missing=1), *runs]).values()) == {None}
