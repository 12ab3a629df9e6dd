"""The checker finds what is planted: a checker that finds nothing proves nothing."""

import copy

import pytest

from tests.crash.checker import Got, Since, Verdict, check
from tests.crash.oracle import Expected, digest
from tests.reference import FEATURES

VECTOR = [float(number) for number in range(len(FEATURES))]
EARLY, LATE = "2025-06-10T05:04:00", "2025-06-10T08:00:00"
LATE_MS = 1_749_542_400_000


def _expected() -> Expected:
    return Expected(
        outcomes={"0": {"scored": 7, "duplicate": 1, "late": 0, "dead": 1, "consumed": 9}},
        counts={"/a": {EARLY: 3, LATE: 4}},
        vectors={
            "s-1": {"features": VECTOR, "score": 0.9, "level": "review", "partition": 0, "offset": 3},
            "s-2": {"features": VECTOR, "score": 0.1, "level": "", "partition": 0, "offset": 8},
        },
        flags={"f-1": ["review", 0, 3, 1.5, 0.9]},
        letters={"0:5": ["empty", digest(None)]},
    )


def _got() -> Got:
    hash_ = {**{name: str(value) for name, value in zip(FEATURES, VECTOR, strict=True)}, "updated_at": "1"}
    flag = {"flag_id": "f-1", "level": "review", "partition": 0, "offset": 3, "raw_score": 1.5, "score": 0.9}
    return Got(
        flags=[flag],
        letters=[{"partition": 0, "offset": 5, "reason": "empty", "value": None}],
        counts={"/a": {EARLY: 3, LATE: 4}},
        vectors={"s-1": {**hash_, "score": "0.9", "level": "review"}, "s-2": {**hash_, "score": "0.1", "level": ""}},
        records=copy.deepcopy(_expected().outcomes),
        flagged_ms=[1],
    )


def _found(verdict: Verdict) -> dict[str, int]:
    counted = (name for name in Verdict.__slots__ if name != "shown")
    return {name: getattr(verdict, name) for name in counted if getattr(verdict, name)}


def test_nothing_is_wrong_with_what_is_right() -> None:
    verdict = check(_expected(), _got())

    assert _found(verdict) == {}
    assert verdict.shown == []


def test_a_lost_flag_is_found() -> None:
    got = _got()
    got.flags = []

    assert _found(check(_expected(), got)) == {"lost": 1}


def test_a_flag_that_nobody_expects_is_found() -> None:
    got = _got()
    got.flags.append({**got.flags[0], "flag_id": "f-2"})

    assert _found(check(_expected(), got)) == {"phantom": 1}


@pytest.mark.parametrize(
    "other", [{"level": "block"}, {"offset": 4}, {"partition": 1}, {"raw_score": 1.5000000000000002}, {"score": 0.91}]
)
def test_a_repeat_with_another_decision_is_found(other: dict[str, object]) -> None:
    got = _got()
    got.flags.append({**got.flags[0], **other})

    assert _found(check(_expected(), got)) == {"wrong_decisions": 1, "raw_repeats": 1}


def test_repeats_are_counted_and_no_mistakes() -> None:
    got = _got()
    got.flags += [got.flags[0]] * 2
    got.letters += got.letters

    verdict = check(_expected(), got)

    assert _found(verdict) == {"raw_repeats": 2, "letter_repeats": 1}
    assert verdict.mistakes == 0


def test_a_lost_dead_letter_is_found_and_breaks_the_conservation_law() -> None:
    got = _got()
    got.letters = []

    assert _found(check(_expected(), got)) == {"lost": 1, "conservation_wrong": 1}


@pytest.mark.parametrize("other", [{"reason": "undecodable"}, {"value": b"x"}])
def test_a_dead_letter_with_another_reason_or_other_bytes_is_found(other: dict[str, object]) -> None:
    got = _got()
    got.letters[0] |= other

    assert _found(check(_expected(), got)) == {"wrong_letters": 1}


@pytest.mark.parametrize(
    "counts",
    [{"/a": {EARLY: 3, LATE: 5}}, {"/a": {EARLY: 3}}, {"/a": {EARLY: 3, LATE: 4}, "/b": {EARLY: 1}}],
    ids=["too many", "missing", "unexpected"],
)
def test_a_wrong_count_is_found(counts: dict[str, dict[str, int]]) -> None:
    got = _got()
    got.counts = counts

    assert _found(check(_expected(), got)) == {"wrong_counts": 1}


@pytest.mark.parametrize(
    "other",
    [{FEATURES[3]: "3.0000000000000004"}, {"score": "0.8"}, {"level": "block"}],
    ids=["feature", "score", "level"],
)
def test_a_vector_that_differs_in_one_bit_is_found(other: dict[str, str]) -> None:
    got = _got()
    got.vectors["s-1"] |= other

    assert _found(check(_expected(), got)) == {"wrong_vectors": 1}


def test_a_vector_that_misses_a_field_is_found() -> None:
    got = _got()
    del got.vectors["s-1"][FEATURES[0]]

    assert _found(check(_expected(), got)) == {"wrong_vectors": 1}


def test_missing_and_unexpected_vectors_are_found() -> None:
    got = _got()
    got.vectors["s-3"] = got.vectors.pop("s-1")

    assert _found(check(_expected(), got)) == {"wrong_vectors": 2}


@pytest.mark.parametrize("name", ["scored", "duplicate", "late", "dead", "consumed"])
def test_a_count_of_records_that_is_off_by_one_is_found(name: str) -> None:
    got = _got()
    got.records["0"][name] += 1

    assert _found(check(_expected(), got)) == {"conservation_wrong": 1}


def test_after_redis_has_lost_its_data_only_what_was_written_before_may_be_missing() -> None:
    since = Since(minute_ms=LATE_MS, offsets={0: 8})
    got = _got()
    del got.counts["/a"][EARLY], got.vectors["s-1"]
    worse = copy.deepcopy(got)
    del worse.counts["/a"][LATE], worse.vectors["s-2"]

    assert _found(check(_expected(), got, since)) == {}
    assert _found(check(_expected(), worse, since)) == {"wrong_counts": 1, "wrong_vectors": 1}


def test_mistakes_are_shown_in_words() -> None:
    got = _got()
    got.flags = []

    assert check(_expected(), got).shown == ["lost flag: f-1"]
