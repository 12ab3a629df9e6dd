import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from observability.histogram import BatchHistogram
from observability.metrics import LATENCY_BUCKETS, SCORE_BUCKETS, VISIBLE_BUCKETS


def samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    """Give every sample but the time of creation, by name and upper bound."""
    return {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in registry.collect()
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.parametrize("buckets", [LATENCY_BUCKETS, SCORE_BUCKETS, VISIBLE_BUCKETS])
def test_it_shows_what_the_clients_own_histogram_shows(buckets: tuple[float, ...]) -> None:
    dice = np.random.default_rng(7)
    values = np.concatenate([dice.exponential(0.2, 3_000), buckets, [-1.0, 0.0, 1e6]])
    mine, theirs = CollectorRegistry(), CollectorRegistry()
    batched = BatchHistogram("waiting_seconds", "Waiting", buckets, mine)
    one_by_one = Histogram("waiting_seconds", "Waiting", buckets=buckets, registry=theirs)

    for batch in np.split(values, [1, 1, 700]):
        batched.observe(batch)
    for value in values.tolist():
        one_by_one.observe(value)

    expected = samples(theirs)
    total = ("waiting_seconds_sum", "")
    assert samples(mine) == expected | {total: pytest.approx(expected[total])}
    assert len(expected) == len(buckets) + 3


def test_without_a_value_it_shows_zeros() -> None:
    registry = CollectorRegistry()
    BatchHistogram("score", "Score", (0.5,), registry).observe(np.array([]))

    assert samples(registry) == {
        ("score_bucket", "0.5"): 0,
        ("score_bucket", "+Inf"): 0,
        ("score_count", ""): 0,
        ("score_sum", ""): 0,
    }


def test_it_is_a_histogram_in_the_text_that_prometheus_reads() -> None:
    registry = CollectorRegistry()
    BatchHistogram("score", "Score", (0.5,), registry).observe(np.array([0.25, 0.75]))

    lines = generate_latest(registry).decode().splitlines()

    assert lines[:2] == ["# HELP score Score", "# TYPE score histogram"]
    assert lines[2:] == [
        'score_bucket{le="0.5"} 1.0',
        'score_bucket{le="+Inf"} 2.0',
        "score_count 2.0",
        "score_sum 1.0",
    ]
