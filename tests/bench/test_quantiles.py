import math

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from observability.histogram import BatchHistogram
from observability.metrics import VISIBLE_BUCKETS
from tests.bench.quantiles import bucket_quantile, median_of, quantile, since, summary


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


def histogram(*values: float) -> dict[float, float]:
    """Return the cumulative counts of these seconds in the buckets of the service."""
    registry = CollectorRegistry()
    BatchHistogram("waits", "Waits", VISIBLE_BUCKETS, registry).observe(np.array(values))
    [family] = registry.collect()
    return {float(one.labels["le"]): one.value for one in family.samples if "le" in one.labels}


@pytest.mark.parametrize(("share", "value"), [(0.25, 1.0), (0.5, 2.0), (0.75, 3.0), (1.0, 4.0), (0.625, 2.5)])
def test_a_quantile_of_a_histogram_lies_in_its_bucket_as_far_as_its_share_goes(share: float, value: float) -> None:
    assert bucket_quantile({2.0: 50, 4.0: 100, math.inf: 100}, share) == value


def test_an_empty_bucket_holds_no_quantile() -> None:
    counts = {1.0: 0, 2.0: 50, 3.0: 50, 4.0: 100, math.inf: 100}

    assert bucket_quantile(counts, 0.001) == pytest.approx(1.002)
    assert bucket_quantile(counts, 0.5) == 2.0
    assert bucket_quantile(counts, 0.51) == pytest.approx(3.02)


def test_what_lies_above_the_last_bound_of_a_histogram_has_no_quantile() -> None:
    counts = {1.0: 98, math.inf: 100}

    assert bucket_quantile(counts, 0.98) == 1.0
    assert bucket_quantile(counts, 0.99) is None


def test_a_histogram_without_values_has_no_quantiles() -> None:
    assert bucket_quantile({1.0: 0, math.inf: 0}, 0.5) is None


def test_only_what_came_between_two_readings_of_a_histogram_counts() -> None:
    earlier, later = histogram(*[9.0] * 1_000), histogram(*[9.0] * 1_000, *[0.1] * 10)

    assert since(earlier, later)[math.inf] == 10
    assert 0.0896 < (bucket_quantile(since(earlier, later), 0.99) or 0.0) <= 0.116


@pytest.mark.parametrize("share", [0.5, 0.99])
@pytest.mark.parametrize("median_seconds", [0.008, 0.05, 0.2, 0.8])
def test_from_the_buckets_of_the_service_a_quantile_is_told_to_a_tenth(median_seconds: float, share: float) -> None:
    waits = median_seconds * np.random.default_rng(5).lognormal(0, 0.3, 20_000)

    assert bucket_quantile(histogram(*waits), share) == pytest.approx(np.quantile(waits, share), rel=0.1)
