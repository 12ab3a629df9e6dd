"""The reference by hand-worked examples: sessions and their features, with the numbers of each rule written out."""

import math

import pytest

from tests.reference import FEATURES, ReferenceRow, ReferenceSessions
from tests.reference_habits import NOT_KNOWN, NOTHING_KNOWN

HALF_HOUR = 1_800_000
START = 1_000 * 3_600_000


def row(session: str, event_id: str, timestamp: int, event_type: int = 0, **rest: object) -> ReferenceRow:
    return ReferenceRow(session, event_id, event_type, timestamp, **rest)  # type: ignore[arg-type]


def named(vector: list[float]) -> dict[str, float]:
    return dict(zip(FEATURES, vector, strict=True))


def test_the_first_row_of_a_session_has_no_gap() -> None:
    features = named(ReferenceSessions().update(row("s", "1", START, event_type=3, latency_ms=120, ip="1.2.3.4")))

    assert features == {
        **dict.fromkeys(FEATURES, 0.0),
        **NOTHING_KNOWN,
        "input_age_days": NOT_KNOWN,
        "session_events": 1.0,
        "session_logins": 1.0,
        "session_gap_min_seconds": 100_000.0,
        "session_latency_mean_ms": 120.0,
        "session_latency_max_ms": 120.0,
        "session_distinct_pages": 1.0,
        "session_events_per_second": 1.0,
    }


def test_four_rows_worked_by_hand() -> None:
    sessions = ReferenceSessions()
    sessions.update(row("s", "1", START, 0, page="/a", latency_ms=100, device_fingerprint="d", ip="1.1.1.1"))
    sessions.update(row("s", "2", START + 2_000, 4, page="/a", latency_ms=50, device_fingerprint="", ip=None))
    sessions.update(row("s", "3", START + 6_000, 2, page="/b", latency_ms=60, device_fingerprint="e", ip="2.2.2.2"))
    last = row("s", "4", START + 9_000, 5, page="/a?q", latency_ms=70, device_fingerprint="d", ip="2.2.2.2")

    vector = sessions.update(ReferenceRow.from_record(_as_record(last, device_risk=0.5, recent_failures=2.0)))

    # Gaps 2, 4, 3 s: mean 3 s, mean of squares 29/3 s^2. Nine seconds, so 4 events in 1 + 9.
    features = named(vector)
    variance = (4_000_000 + 16_000_000 + 9_000_000) / 3 - 3_000.0 * 3_000.0
    assert {name: features[name] for name in FEATURES[:24]} == {
        "session_events": 4.0,
        "session_page_views": 1.0,
        "session_clicks": 0.0,
        "session_inputs": 1.0,
        "session_logins": 0.0,
        "session_login_failures": 1.0,
        "session_transfers": 1.0,
        "session_duration_seconds": 9.0,
        "session_gap_mean_seconds": 3.0,
        "session_gap_std_seconds": math.sqrt(variance) / 1000,
        "session_gap_min_seconds": 2.0,
        "session_latency_mean_ms": 70.0,
        "session_latency_max_ms": 100.0,
        "session_distinct_pages": 2.0,
        "session_repeated_pages": 1.0,
        "session_ip_changes": 1.0,
        "session_device_changes": 2.0,
        "session_failure_ratio": 0.25,
        "session_transfer_ratio": 0.25,
        "session_input_ratio": 0.25,
        "session_events_per_second": 0.4,
        "device_risk": 0.5,
        "account_locked": 0.0,
        "user_recent_failures": 2.0,
    }
    assert features["session_gap_std_seconds"] == pytest.approx(math.sqrt(2 / 3))
    # In sixteenths of a doubling 2001, 4001 and 3001 ms are 175, 191 and 184; 101, 51, 61 and 71 ms 106, 90, 94 and 98.
    assert features["session_gap_log_spread"] == math.sqrt((175**2 + 191**2 + 184**2) / 3 - (550 / 3) ** 2) / 16
    assert features["session_equal_gap_ratio"] == features["session_quick_gap_ratio"] == 0.0
    assert features["session_recent_gap_rise"] == 0.0
    squares = 106**2 + 90**2 + 94**2 + 98**2
    assert features["session_latency_log_spread"] == math.sqrt(squares / 4 - (388 / 4) ** 2) / 16


def _as_record(event: ReferenceRow, **rest: object) -> dict[str, object]:
    names = ("page_view", "click", "input", "login", "login_failed", "transfer")
    fields = {name: getattr(event, name) for name in ReferenceRow.__slots__}
    return {**fields, "event_type": names[event.event_type], "user_id": "u", **rest}


def test_a_row_exactly_the_gap_later_joins_and_one_ms_more_begins_a_new_instance() -> None:
    sessions = ReferenceSessions()
    sessions.update(row("s", "1", START, event_type=4, offset=7))

    joined = named(sessions.update(row("s", "2", START + HALF_HOUR, offset=8)))
    began = named(sessions.update(row("s", "3", START + 2 * HALF_HOUR + 1, offset=9)))

    assert (joined["session_events"], joined["session_gap_min_seconds"]) == (2.0, 1_800.0)
    assert (began["session_events"], began["session_gap_min_seconds"]) == (1.0, 100_000.0)
    assert (began["session_login_failures"], began["session_distinct_pages"]) == (0.0, 1.0)
    instance = sessions.instance("s")
    assert instance is not None
    assert (instance.first, instance.first_offset) == (START + 2 * HALF_HOUR + 1, 9)


def test_an_older_row_joins_with_gap_0_and_changes_neither_first_nor_latest() -> None:
    sessions = ReferenceSessions()
    sessions.update(row("s", "1", START, offset=1))
    sessions.update(row("s", "2", START + 4_000, offset=2))

    features = named(sessions.update(row("s", "3", START - HALF_HOUR - 1, offset=3)))

    instance = sessions.instance("s")
    assert instance is not None
    assert (instance.first, instance.first_offset, instance.latest) == (START, 1, START + 4_000)
    assert features["session_gap_mean_seconds"] == 2.0
    assert features["session_gap_min_seconds"] == 0.0
    assert features["session_duration_seconds"] == 4.0


def test_the_gap_is_measured_from_the_latest_row_not_from_the_row_before() -> None:
    sessions = ReferenceSessions()
    for timestamp in (10_000, 4_000):
        sessions.update(row("s", f"{timestamp}", START + timestamp))

    features = named(sessions.update(row("s", "3", START + 11_000)))

    assert features["session_gap_mean_seconds"] == 0.5


def test_sessions_do_not_mix_and_an_unseen_one_has_no_instance() -> None:
    sessions = ReferenceSessions()
    sessions.update(row("a", "1", START))

    assert named(sessions.update(row("b", "2", START)))["session_events"] == 1.0
    assert sessions.instance("c") is None


def test_the_seventeenth_page_is_not_remembered() -> None:
    sessions = ReferenceSessions()

    distinct = [
        named(sessions.update(row("s", f"{i}", START, page=f"/p{i}x")))["session_distinct_pages"] for i in range(18)
    ]

    assert distinct == [*map(float, range(1, 17)), 16.0, 16.0]


def test_a_page_is_repeated_when_its_normal_form_is_that_of_the_row_before() -> None:
    sessions = ReferenceSessions()

    vectors = [
        sessions.update(row("s", f"{i}", START, page=page)) for i, page in enumerate(["/1", "/2?x", "/a", "/3", "/:n"])
    ]

    assert [named(vector)["session_repeated_pages"] for vector in vectors] == [0.0, 1.0, 1.0, 1.0, 2.0]


def test_an_unknown_address_or_device_changes_nothing_and_replaces_nothing() -> None:
    sessions = ReferenceSessions()
    seen = [(None, ""), ("1.1.1.1", "d"), (None, ""), ("1.1.1.1", "d"), ("2.2.2.2", "e"), (None, ""), ("1.1.1.1", "d")]

    vectors = [
        named(sessions.update(row("s", f"{i}", START, ip=ip, device_fingerprint=device)))
        for i, (ip, device) in enumerate(seen)
    ]

    assert [vector["session_ip_changes"] for vector in vectors] == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0]
    assert [vector["session_device_changes"] for vector in vectors] == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0]
