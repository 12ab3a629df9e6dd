"""Records as nobody should send them, by the numbers under which they are known: what becomes of each.

Of the numbers D01 to D21, D13 to D19 are about streams, not records (`test_bad_input.py`), D20 is the fuzz run
(`tests/schemas/fuzz.py`), D21 the replay (`test_dead_letters.py`).
"""

from dataclasses import dataclass, field
from typing import Any

from schemas.codec import WriterSchema
from schemas.events import OTHER
from tests.builders import A_MINUTE_MS, an_event, framed
from tests.dataflows.running_flow import KAFKA_MS
from tests.schemas.builders import event_schema, with_field
from tests.schemas.builders import framed as framed_as

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NESTED, WITH_DOUBLE = 50, 51
DOUBLE_LATENCY = event_schema(lambda fields: fields["latency_ms"].update(type="double"))
WRITERS = {
    NESTED: WriterSchema.from_definition(with_field("next", ["null", "BankingUIEvent"])),
    WITH_DOUBLE: WriterSchema.from_definition(DOUBLE_LATENCY),
}
GOOD = framed(an_event(element_id="pay"))
_ID = b"\x06e-1"
_LATENCY = b"\xf0\x01\x06d-1"
assert GOOD.count(_LATENCY) == 1


@dataclass(frozen=True, slots=True)
class Bad:
    """A record that must become a dead letter, and with which reason."""

    case: str
    value: bytes | None = field(repr=False)
    reason: str
    stage: str = "decode"
    kafka_ms: int = KAFKA_MS


def _changed(case: str, old: bytes, new: bytes, reason: str = "undecodable") -> Bad:
    assert old in GOOD, case
    return Bad(case, GOOD.replace(old, new, 1), reason)


def _invalid(case: str, reason: str, stage: str = "validate", kafka_ms: int = KAFKA_MS, **values: object) -> Bad:
    return Bad(case, framed(an_event(**values)), reason, stage, kafka_ms)


def _at(case: str, timestamp_ms: int, reason: str, kafka_ms: int = KAFKA_MS) -> Bad:
    stage = "admit" if reason == "too_late" else "validate"
    return _invalid(case, reason, stage, kafka_ms, timestamp=timestamp_ms, session_id="other")


BAD = [
    Bad("D01 null", None, "empty"),
    Bad("D01 no bytes", b"", "empty"),
    *(Bad(f"D01 {size} bytes", GOOD[:size], "truncated_frame") for size in (1, 2, 3, 4)),
    Bad("D02 magic byte of a GUID frame", b"\x01" + GOOD[1:], "bad_magic"),
    Bad("D02 JSON", b'{"event_id": "e-1"}', "bad_magic"),
    Bad("D03 unknown schema id", b"\0\0\0\0\x63" + GOOD[5:], "unknown_schema"),
    Bad("D03 largest schema id", b"\0\xff\xff\xff\xff" + GOOD[5:], "unknown_schema"),
    Bad("D04 schema of flags", b"\0\0\0\0\2" + GOOD[5:], "wrong_schema"),
    Bad("D04 schema of dead letters", b"\0\0\0\0\3" + GOOD[5:], "wrong_schema"),
    Bad("D05 no body", GOOD[:5], "undecodable"),
    Bad("D05 cut in the last string", GOOD[:-1], "undecodable"),
    Bad("D05 cut in the middle", GOOD[: len(GOOD) // 2], "undecodable"),
    Bad("D06 one byte too many", GOOD + b"\0", "trailing_bytes"),
    Bad("D06 two records in one", GOOD + GOOD[5:], "trailing_bytes"),
    _changed("D07 negative length", _ID, b"\x05e-1"),
    _changed("D07 length of 2**48", _ID, b"\x80\x80\x80\x80\x80\x80\x80\x01e-1"),
    _changed("D07 length of 2**63 - 1", _ID, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01e-1"),
    _changed("D07 length without end", _ID, b"\x80" * 12 + b"e-1"),
    Bad("D08 10 MiB", GOOD + bytes(10 * 2**20), "too_large"),
    _invalid("D08 string of 1 MiB", "too_large", "decode", page="x" * 2**20),
    _invalid("D08 string of 4097 bytes", "string_too_long", page="x" * 4097),
    _invalid("D08 id of 129 bytes", "id_too_long", event_id="x" * 129),
    Bad("D08 deep nesting", NESTED.to_bytes(5, "big") + GOOD[5:] + b"\2" * 60_000, "wrong_schema"),
    _changed("D09 union index that does not exist", b"\2\x06pay", b"\4\x06pay"),
    _changed("D09 symbol that does not exist", b"\x06u-1\0", b"\x06u-1\x10"),
    _changed("D09 invalid UTF-8", _ID, b"\x06e\xff1"),
    _changed("D09 surrogate in UTF-8", _ID, b"\x06\xed\xa0\x80"),
    _changed("D09 overlong UTF-8", _ID, b"\x06e\xc0\x80"),
    _invalid("D09 NUL in an id", "bad_id", session_id="s\0"),
    _invalid("D09 line feed in an id", "bad_id", user_id="u\n"),
    _invalid("D09 empty event_id", "missing_id", event_id=""),
    _invalid("D09 empty session_id", "missing_id", session_id=""),
    _invalid("D09 empty user_id", "missing_id", user_id=""),
    _invalid("D10 address of 4097 bytes", "string_too_long", ip="1" * 4097),
    _at("D11 time 0", 0, "bad_timestamp"),
    _at("D11 negative time", -1, "bad_timestamp"),
    _at("D11 largest time", 2**63 - 1, "bad_timestamp"),
    _at("D11 smallest time", -(2**63), "bad_timestamp"),
    _at("D11 microseconds", A_MINUTE_MS * 1000, "bad_timestamp"),
    _at("D11 5 min and 1 ms ahead", A_MINUTE_MS + 300_001, "future", A_MINUTE_MS),
    _at("D11 an hour ahead", A_MINUTE_MS + HOUR_MS, "future", A_MINUTE_MS),
    _at("D11 a day ahead", A_MINUTE_MS + DAY_MS, "future", A_MINUTE_MS),
    _at("D11 30 days ago", A_MINUTE_MS - 30 * DAY_MS, "too_late"),
    _at("D11 seconds for milliseconds", A_MINUTE_MS // 1000, "too_late"),
    _invalid("D12 negative latency", "bad_latency", latency_ms=-1),
    _invalid("D12 latency of 10 min and 1 ms", "bad_latency", latency_ms=600_001),
    Bad("D12 latency of 2**40", GOOD.replace(_LATENCY, b"\x80\x80\x80\x80\x80\x40\x06d-1"), "bad_latency", "validate"),
    *(
        Bad(
            f"D12 latency {latency}",
            framed_as(an_event(latency_ms=latency), WITH_DOUBLE, DOUBLE_LATENCY),
            "wrong_schema",
        )
        for latency in (float("nan"), -0.5, 1e308)
    ),
    _at("D14 beyond the lateness by 1 ms", A_MINUTE_MS - HOUR_MS - 1, "too_late"),
]

ODD: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("D09 ids that are no UUIDs", {"user_id": "~ %s"}, {"user_id": "~ %s"}),
    ("D09 right to left", {"user_id": "\u202eabc"}, {"user_id": "\u202eabc"}),
    ("D09 emoji", {"user_id": "\U0001f600", "page": "/\U0001f600"}, {"page": "/\U0001f600"}),
    ("D09 combining marks are not composed", {"user_id": "e\u0301"}, {"user_id": "e\u0301"}),
    ("D09 nulls where they may be", {"element_id": None, "input_hash": None}, {"element_id": None}),
    ("D09 NUL in a page", {"page": "/a\0b"}, {"page": "/ab"}),
    ("D09 NUL in an element", {"element_id": "\0"}, {"element_id": "\0"}),
    ("D09 braces in a page", {"page": "/{a}"}, {"page": "/a"}),
    ("D09 no page", {"page": ""}, {"page": "/"}),
    ("D09 no fingerprint", {"device_fingerprint": ""}, {"device_fingerprint": ""}),
    ("D08 id of 128 bytes", {"user_id": "x" * 128}, {"user_id": "x" * 128}),
    ("D08 string of 4096 bytes", {"element_id": "x" * 4096}, {"element_id": "x" * 4096}),
    ("D10 no address", {"ip": ""}, {"ip": None}),
    ("D10 zone", {"ip": "fe80::1%eth0"}, {"ip": None}),
    ("D10 IPv4 in IPv6", {"ip": "::ffff:192.0.2.7"}, {"ip": "192.0.2.7"}),
    ("D10 private", {"ip": "10.1.2.3"}, {"ip": "10.1.2.3"}),
    ("D10 0.0.0.0", {"ip": "0.0.0.0"}, {"ip": "0.0.0.0"}),  # noqa: S104 - an address, not a binding
    ("D10 host name", {"ip": "localhost"}, {"ip": None}),
    ("D10 long IPv6", {"ip": "2001:0DB8:0:0:0:0:0:1"}, {"ip": "2001:db8::1"}),
    ("D11 5 min ahead", {"timestamp": KAFKA_MS + 300_000}, {"timestamp": KAFKA_MS + 300_000}),
    ("D12 latency 0", {"latency_ms": 0}, {"latency_ms": 0}),
    ("D12 latency of 10 min", {"latency_ms": 600_000}, {"latency_ms": 600_000}),
    ("D14 out of order by the lateness", {"timestamp": A_MINUTE_MS - HOUR_MS}, {}),
]
"""Records that are odd and good: what is odd, and how it comes out."""

FROM_THE_END = [
    ("D09 union index -1", GOOD.replace(b"\2\x06pay", b"\1\x06pay"), {"element_id": "pay"}),
    ("D09 symbol -1", GOOD.replace(b"\x06u-1\0", b"\x06u-1\1"), {"event_type": OTHER}),
]
"""Not Avro, but fastavro reads it, as Python counts from the end; both our ways of reading do as it does."""
