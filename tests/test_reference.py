"""The reference by hand-worked examples: admission, pages and flags, with the numbers of each rule written out."""

import hashlib

import pytest

from tests.reference import ReferenceAdmission, ReferencePageWindows, ReferenceRow, reference_page
from tests.reference_flags import ReferenceFlags

HOUR = 3_600_000
START = 1_000 * HOUR


def row(session: str, event_id: str, timestamp: int, event_type: int = 0, **rest: object) -> ReferenceRow:
    return ReferenceRow(session, event_id, event_type, timestamp, **rest)  # type: ignore[arg-type]


def started(**limits: int) -> ReferenceAdmission:
    """An admission whose watermark is START, set by one row each of `x` (START) and `y` (START)."""
    admission = ReferenceAdmission(**limits)
    admission.judge(row("x", "x-0", START))
    admission.judge(row("y", "y-0", START))
    assert admission.watermark == START
    assert admission.candidate is None
    return admission


def test_the_first_watermark_comes_with_the_second_session_and_is_the_smaller_time() -> None:
    admission = ReferenceAdmission()

    assert admission.judge(row("a", "1", 5_000)) == "admitted"
    assert admission.judge(row("a", "2", 9_000)) == "admitted"
    assert (admission.watermark, admission.candidate) == (None, (5_000, "a"))

    assert admission.judge(row("b", "3", 7_000)) == "admitted"
    assert (admission.watermark, admission.candidate) == (5_000, None)


def test_the_watermark_is_the_largest_admitted_time_and_never_falls() -> None:
    admission = started()

    for timestamp, watermark in [(10, 10), (5, 10), (10 + HOUR, 10 + HOUR), (11, 10 + HOUR)]:
        admission.judge(row("a", f"{timestamp}", START + timestamp))
        assert admission.watermark == START + watermark


def test_a_row_exactly_one_hour_ahead_moves_the_watermark_and_one_ms_more_does_not() -> None:
    admission, other = started(), started()

    admission.judge(row("a", "1", START + HOUR))
    other.judge(row("a", "1", START + HOUR + 1))

    assert (admission.watermark, admission.candidate) == (START + HOUR, None)
    assert (other.watermark, other.candidate) == (START, (START + HOUR + 1, "a"))


def test_one_wild_session_never_moves_the_watermark_and_its_smallest_time_is_the_candidate() -> None:
    admission = started()

    for hours in (50, 9, 70):
        assert admission.judge(row("wild", f"{hours}", START + hours * HOUR)) == "admitted"

    assert (admission.watermark, admission.candidate) == (START, (START + 9 * HOUR, "wild"))


def test_a_second_session_ahead_moves_the_watermark_to_the_smaller_and_the_larger_stays_candidate() -> None:
    admission = started()

    admission.judge(row("wild", "1", START + 50 * HOUR))
    admission.judge(row("a", "2", START + 2 * HOUR))

    assert (admission.watermark, admission.candidate) == (START + 2 * HOUR, (START + 50 * HOUR, "wild"))


def test_the_larger_is_no_candidate_if_it_is_within_an_hour_of_the_new_watermark() -> None:
    admission = started()

    admission.judge(row("a", "1", START + 3 * HOUR))
    admission.judge(row("b", "2", START + 2 * HOUR))

    assert (admission.watermark, admission.candidate) == (START + 2 * HOUR, None)


def test_two_sessions_equally_far_ahead_leave_no_candidate() -> None:
    admission = started()

    admission.judge(row("a", "1", START + 9 * HOUR))
    admission.judge(row("b", "2", START + 9 * HOUR))

    assert (admission.watermark, admission.candidate) == (START + 9 * HOUR, None)


def test_a_candidate_that_the_watermark_comes_near_is_dropped_and_moves_nothing() -> None:
    admission = started()
    admission.judge(row("wild", "1", START + HOUR + 2))

    admission.judge(row("a", "2", START + 1))
    assert (admission.watermark, admission.candidate) == (START + 1, (START + HOUR + 2, "wild"))

    admission.judge(row("a", "3", START + 2))
    assert (admission.watermark, admission.candidate) == (START + 2, None)


def test_a_row_exactly_the_lateness_old_is_admitted_and_one_ms_older_is_late() -> None:
    admission = started()

    assert admission.judge(row("a", "1", START - HOUR)) == "admitted"
    assert admission.judge(row("a", "2", START - HOUR - 1)) == "late"
    assert admission.counts == {"admitted": 3, "late": 1}


def test_a_row_is_judged_by_the_watermark_before_it() -> None:
    admission = started()

    assert admission.judge(row("a", "1", START + HOUR)) == "admitted"
    assert admission.judge(row("a", "2", START)) == "admitted"
    assert admission.judge(row("a", "3", START - 1)) == "late"


def test_the_same_event_is_a_duplicate_whatever_else_it_carries() -> None:
    admission = started()
    admission.judge(row("a", "1", START, page="/one"))

    assert admission.judge(row("a", "1", START, page="/two", latency_ms=9)) == "duplicate"
    assert admission.event_id_reused == 0


def test_the_same_id_with_other_content_is_admitted_and_counted() -> None:
    admission = started()
    admission.judge(row("a", "1", START, event_type=0))

    assert admission.judge(row("a", "1", START, event_type=1)) == "admitted"
    assert admission.judge(row("a", "1", START + 1, event_type=0)) == "admitted"
    assert admission.judge(row("b", "1", START, event_type=0)) == "admitted"
    assert admission.event_id_reused == 2


def test_a_repeat_is_a_duplicate_up_to_the_horizon_and_a_new_event_beyond_it() -> None:
    admission = started(horizon=2)

    verdicts = [admission.judge(row("a", event_id, START)) for event_id in "12121" + "3" + "12"]

    assert verdicts == [*["admitted"] * 2, *["duplicate"] * 3, "admitted", "admitted", "admitted"]


def test_a_reused_id_is_counted_up_to_the_horizon_only() -> None:
    admission = started(horizon=2)
    for event_id in ("1", "2", "3"):
        admission.judge(row("a", event_id, START))

    admission.judge(row("a", "1", START + 1))
    admission.judge(row("a", "3", START + 1))

    assert admission.event_id_reused == 1


def test_a_duplicate_is_named_so_even_if_it_is_late_too() -> None:
    admission = started()
    admission.judge(row("a", "1", START - HOUR))
    admission.judge(row("a", "2", START + HOUR))

    assert admission.judge(row("a", "1", START - HOUR)) == "duplicate"


def test_a_late_row_is_not_remembered() -> None:
    admission = started()

    assert admission.judge(row("a", "1", 0)) == "late"
    assert admission.judge(row("a", "1", 0)) == "late"


@pytest.mark.parametrize(
    ("page", "normal"),
    [
        ("/accounts", "/accounts"),
        ("/pay/12/confirm", "/pay/:n/confirm"),
        ("/pay/12a", "/pay/12a"),
        ("/pay/\u0661\u0662", "/pay/\u0661\u0662"),
        ("12", ":n"),
        ("/doc/0b9a6dd0-7a3c-4a8f-9f53-5a1b2c3d4e5f", "/doc/:uuid"),
        ("/doc/0B9A6DD0-7A3C-4A8F-9F53-5A1B2C3D4E5F/", "/doc/:uuid/"),
        ("/doc/0b9a6dd07a3c-4a8f-9f53-5a1b2c3d4e5f", "/doc/0b9a6dd07a3c-4a8f-9f53-5a1b2c3d4e5f"),
        ("/a?b#c", "/a"),
        ("/a#c?b", "/a"),
        ("/a/?x", "/a/"),
        ("", "/"),
        ("?x", "/"),
        ("//", "//"),
        ("/a{b}\x00\x1f\x7fc ", "/abc "),
        ("{}\n", "/"),
        ("/{12}", "/:n"),
    ],
)
def test_a_page_has_one_normal_form(page: str, normal: str) -> None:
    assert reference_page(page) == normal


def test_a_page_is_cut_to_256_bytes_of_whole_characters() -> None:
    assert reference_page("x" * 300) == "x" * 256
    assert reference_page("\u20ac" * 90) == "\u20ac" * 85  # 3 bytes each: 85 make 255, the 86th would end at 258
    assert reference_page("/" + "\u20ac" * 90) == "/" + "\u20ac" * 85


def test_rows_are_counted_by_page_and_minute_of_event_time() -> None:
    windows = ReferencePageWindows()

    for timestamp in (60_000, 119_999, 120_000, 60_001):
        windows.update(row("a", f"{timestamp}", timestamp, page="/pay/7?x"))

    assert windows.counts == {("/pay/:n", 60_000): 3, ("/pay/:n", 120_000): 1}


def test_pages_beyond_the_limit_of_a_day_are_counted_as_other_which_takes_no_place() -> None:
    windows = ReferencePageWindows(most=2)
    a_day = 86_400_000

    pages = ["other", "/a", "/b", "/c", "/a", "/d"]
    names = [windows.update(row("s", "e", a_day - 1, page=page))[0] for page in pages]

    assert names == ["other", "/a", "/b", "other", "/a", "other"]
    assert windows.update(row("s", "e", a_day, page="/c")) == ("/c", a_day)
    assert windows.counts["other", a_day - 60_000] == 3


def test_a_flag_is_raised_once_for_each_level_strictly_exceeded() -> None:
    flags = ReferenceFlags()

    raised = [flags.update("s", START, score) for score in (0.8, 0.81, 0.7, 0.9, 0.95, 0.96, 0.99)]

    assert [flag and flag.level for flag in raised] == [None, "review", None, None, None, "block", None]


def test_a_jump_raises_the_highest_level_only_and_the_lower_one_counts_as_crossed() -> None:
    flags = ReferenceFlags()

    raised = [flags.update("s", START, score) for score in (0.99, 0.5, 0.85, 0.99)]

    assert [flag and flag.level for flag in raised] == ["block", None, None, None]


def test_a_new_instance_is_flagged_anew_under_another_id() -> None:
    flags = ReferenceFlags()

    first, second = flags.update("s", START, 0.9), flags.update("s", START + HOUR, 0.9)

    assert first is not None
    assert second is not None
    assert first.flag_id == hashlib.sha256(b"s\x003600000000\x00review").hexdigest()
    assert first.flag_id != second.flag_id
