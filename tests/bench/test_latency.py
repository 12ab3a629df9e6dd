import math

import pytest

from tests.bench.expected import WrongResultError
from tests.bench.latency import RATES, SHORT, Load, probes_that_count, visible_ms
from tests.bench.work import Work, is_probe, make

LOAD = Load(Work(events=3_000, live=500, fill=True, probes=0.1), rate=1_000, warm_up=1)
EVENTS = make(LOAD.work)
PROBES = {at for at in range(1_500, 3_000) if is_probe(EVENTS[at])}


def test_probes_after_the_warm_up_count_when_each_is_flagged_once() -> None:
    everything = [at for at in range(3_000) if is_probe(EVENTS[at])]

    assert probes_that_count(EVENTS, LOAD, everything, behind=False) == PROBES
    assert len(everything) > len(PROBES) > 100


def test_a_probe_that_is_never_flagged_although_all_was_read_makes_the_run_wrong() -> None:
    with pytest.raises(WrongResultError, match="1 of"):
        probes_that_count(EVENTS, LOAD, sorted(PROBES)[1:], behind=False)


def test_a_service_that_is_behind_has_flags_missing_and_its_run_counts() -> None:
    assert probes_that_count(EVENTS, LOAD, [], behind=True) == PROBES


def test_a_probe_that_is_flagged_twice_makes_the_run_wrong_in_any_case() -> None:
    with pytest.raises(WrongResultError, match="twice"):
        probes_that_count(EVENTS, LOAD, [*PROBES, min(PROBES)], behind=True)


@pytest.mark.parametrize("rate", RATES)
def test_a_load_lasts_as_long_as_it_says_and_has_as_many_probes_a_second_at_every_rate(rate: int) -> None:
    load = Load.of(rate, SHORT, seed=3)

    assert load.work.events - load.work.live == rate * (SHORT.warm_up + SHORT.seconds)
    assert load.work.probes * rate == pytest.approx(200)


def test_how_soon_vectors_were_in_redis_is_told_in_milliseconds() -> None:
    counts = {0.1: 0.0, 0.2: 100.0, math.inf: 100.0}

    assert visible_ms(counts) == {"redis_visible_p50": 150.0, "redis_visible_p99": 199.0}


def test_a_run_that_wrote_no_vectors_does_not_say_how_soon_they_were_in_redis() -> None:
    assert visible_ms({0.1: 0.0, math.inf: 0.0}) == {"redis_visible_p50": None, "redis_visible_p99": None}
