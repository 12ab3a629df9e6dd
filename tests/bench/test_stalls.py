"""Stalls of a run are told from two readings of the service's histogram."""

from tests.bench.stalls import stalls_since, together


def reading(snapshot: tuple[int, int, float], batch: tuple[int, int, float]) -> dict[str, float]:
    """Give the samples: how many took at most 50 ms, how many there were, and seconds."""
    samples: dict[str, float] = {}
    for cause, (short, count, seconds) in (("snapshot", snapshot), ("batch", batch)):
        samples[f'bucket{{cause="{cause}",le="0.05"}}'] = short
        samples[f'bucket{{cause="{cause}",le="0.1"}}'] = count
        samples[f'bucket{{cause="{cause}",le="+Inf"}}'] = count
        samples[f'count{{cause="{cause}"}}'] = count
        samples[f'sum{{cause="{cause}"}}'] = seconds
    return samples


def test_only_what_was_added_counts_and_the_longest_is_known_by_its_bucket() -> None:
    before, after = reading((1, 2, 0.1), (4, 4, 0.1)), reading((1, 4, 0.26), (4, 4, 0.1))

    assert stalls_since(before, after) == {"snapshot": {"count": 2, "ms": 160, "longest_ms": 100}}


def test_a_stall_beyond_all_buckets_has_no_known_length() -> None:
    after = {'bucket{cause="batch",le="5.0"}': 0.0, 'bucket{cause="batch",le="+Inf"}': 1.0}
    after |= {'count{cause="batch"}': 1.0, 'sum{cause="batch"}': 7.0}

    assert stalls_since({}, after)["batch"] == {"count": 1, "ms": 7_000, "longest_ms": None}


def test_runs_are_added_up_by_cause() -> None:
    short = {"batch": {"count": 2, "ms": 60, "longest_ms": 40}}
    long = {"batch": {"count": 1, "ms": 90, "longest_ms": 100}, "waiting": {"count": 1, "ms": 30, "longest_ms": 40}}

    assert together([short, long]) == {
        "batch": {"count": 3, "ms": 150, "longest_ms": 100},
        "waiting": {"count": 1, "ms": 30, "longest_ms": 40},
    }
