from typing import Any

import numpy as np
import pytest

from schemas.catalogue import EVENT
from tests.schemas.builders import NOW_MS, an_event, decoded, framed, outcome, plainly_decoded, some_events

CASES: list[tuple[dict[str, Any], str]] = [
    ({"event_id": ""}, "missing_id"),
    ({"session_id": ""}, "missing_id"),
    ({"user_id": ""}, "missing_id"),
    ({"user_id": "x" * 128}, ""),
    ({"user_id": "x" * 129}, "id_too_long"),
    ({"user_id": "é" * 65}, "id_too_long"),
    ({"timestamp": 1}, ""),
    ({"timestamp": 0}, "bad_timestamp"),
    ({"timestamp": -1}, "bad_timestamp"),
    ({"timestamp": 2**63 - 1}, "bad_timestamp"),
    ({"timestamp": -(2**63)}, "bad_timestamp"),
    ({"timestamp": NOW_MS * 1000}, "bad_timestamp"),
    ({"timestamp": NOW_MS // 1000}, ""),
    ({"timestamp": NOW_MS - 30 * 86_400_000}, ""),
    ({"timestamp": NOW_MS + 300_000}, ""),
    ({"timestamp": NOW_MS + 300_001}, "future"),
    ({"latency_ms": 0}, ""),
    ({"latency_ms": 600_000}, ""),
    ({"latency_ms": 600_001}, "bad_latency"),
    ({"latency_ms": -1}, "bad_latency"),
    ({"page": "x" * 4096}, ""),
    ({"page": "x" * 4097}, "string_too_long"),
    ({"element_id": "x" * 4097}, "string_too_long"),
    ({"input_hash": "x" * 4097}, "string_too_long"),
    ({"device_fingerprint": "x" * 4097}, "string_too_long"),
    ({"ip": "1" * 4097}, "string_too_long"),
    ({"event_id": "e\0"}, "bad_id"),
    ({"session_id": "\x1f"}, "bad_id"),
    ({"user_id": "u\x7f"}, "bad_id"),
    ({"user_id": " \u202e\U0001f600~\x80"}, ""),
    ({"page": "\0\n"}, ""),
    ({"element_id": "\x01", "device_fingerprint": "", "ip": ""}, ""),
    ({"event_id": "", "latency_ms": -1}, "missing_id"),
    ({"event_id": "\0", "latency_ms": -1}, "bad_latency"),
    ({"event_id": "\0" * 200, "timestamp": 0}, "id_too_long"),
]


@pytest.mark.parametrize("among", [0, 50])
@pytest.mark.parametrize(("values", "reason"), CASES)
def test_the_first_failing_check_gives_the_reason(values: dict[str, Any], reason: str, among: int) -> None:
    others = [framed(event) for event in some_events(among)]

    result = decoded([*others, framed(an_event(**values)), *others])

    assert [(reject.row, reject.reason) for reject in result.rejects] == ([(among, reason)] if reason else [])
    assert all(reject.stage == "validate" for reject in result.rejects)
    assert result.events.height == 2 * among + (not reason)


def test_all_cases_in_one_batch_are_judged_as_one_by_one() -> None:
    values = [framed(an_event(**values)) for values, _ in CASES] * 2

    result = decoded(values)

    assert outcome(result) == plainly_decoded(values, {1: EVENT.definition})
    assert [reject.reason for reject in result.rejects] == [reason for _, reason in CASES * 2 if reason]


def test_the_kafka_timestamp_that_counts_is_that_of_the_events_own_record() -> None:
    values = [None, framed(an_event()), framed(an_event())]
    kafka_ms = np.array([NOW_MS, NOW_MS - 300_001, NOW_MS - 300_000])

    result = decoded(values, kafka_ms=kafka_ms)

    assert [(reject.row, reject.reason) for reject in result.rejects] == [(0, "empty"), (1, "future")]


@pytest.mark.parametrize(
    ("received", "normal"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("0.0.0.0", "0.0.0.0"),  # noqa: S104 - an address, not a binding
        ("10.1.2.3", "10.1.2.3"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:C000:0207", "192.0.2.7"),
        ("fe80::1%eth0", None),
        ("::ffff:1.2.3.4%1", None),
        ("", None),
        ("localhost", None),
        ("192.0.2.07", None),
        ("192.0.2.7 ", None),
        ("192.0.2.7:443", None),
        ("1" * 46, None),
        ("1" * 4096, None),
        ("\u0661.1.1.1", None),
    ],
)
def test_an_address_comes_in_normal_form_or_as_null_and_refuses_nobody(received: str, normal: str | None) -> None:
    result = decoded([framed(an_event(ip=received)), framed(an_event(ip="192.0.2.8"))])

    assert result.events["ip"].to_list() == [normal, "192.0.2.8"]
    assert result.rejects == []
