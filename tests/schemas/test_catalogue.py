from typing import Any

import pytest

from schemas import catalogue
from schemas.catalogue import ACCOUNT_STATUS, DEAD_LETTER, EVENT, FLAG
from schemas.events import EVENT_TYPES
from schemas.framing import FramingError
from tests.schemas.builders import NOW_MS, an_event

FLAG_RECORD: dict[str, Any] = {
    "flag_id": "f",
    "session_id": "s",
    "user_id": "u",
    "level": "review",
    "score": 0.9,
    "raw_score": 2.25,
    "threshold": 0.8,
    "reasons": [{"code": "R1", "feature": "session_events", "value": 3.0, "contribution": 0.5, "usual": 12.25}],
    "feature_names": ["session_events"],
    "features": [3.0],
    "state_before": b"\0\1",
    "event_id": "e",
    "event_timestamp": NOW_MS,
    "topic": "clickstream-events",
    "partition": 3,
    "offset": 2**40,
    "first_timestamp": NOW_MS - 1,
    "first_offset": 7,
    "model_id": "m",
    "feature_set_id": "fs",
    "configuration_id": "c",
    "enrichment": [{"key": "device_risk", "value": "0.7"}, {"key": "account_status", "value": None}],
    "degraded": ["redis"],
    "flagged_at": NOW_MS + 5,
}
DEAD_LETTER_RECORD = {
    "value": b"\0\1",
    "key": None,
    "headers": [{"name": "trace", "value": b"x"}, {"name": "none", "value": None}],
    "topic": "clickstream-events",
    "partition": 0,
    "offset": 12,
    "timestamp": NOW_MS,
    "reason": "undecodable",
    "stage": "decode",
    "error": "words",
    "code_version": "0.1.0",
}


@pytest.mark.parametrize(
    ("schema", "record"), [(EVENT, an_event()), (FLAG, FLAG_RECORD), (DEAD_LETTER, DEAD_LETTER_RECORD)]
)
def test_a_record_comes_back_as_it_was_framed(schema: catalogue.Schema, record: dict[str, object]) -> None:
    value = catalogue.frame(300, schema, record)

    assert value[:5] == b"\0\0\0\1\x2c"
    assert catalogue.unframe(value) == (300, value[5:])
    assert catalogue.read(schema, value) == record


def test_a_flag_of_the_first_version_is_read_as_one_whose_usual_values_are_not_known() -> None:
    first = {**FLAG_RECORD, "reasons": [{"code": "R1", "feature": "session_events", "value": 3.0, "contribution": 0.5}]}

    value = catalogue.frame(catalogue.FLAG_1.id, catalogue.FLAG_1, first)

    assert catalogue.read(FLAG, value) == {**first, "reasons": [{**first["reasons"][0], "usual": None}]}


@pytest.mark.parametrize("value", [b"", b"\0\0\0\1", b"\1\0\0\0\1\0"])
def test_a_value_without_a_header_cannot_be_unframed(value: bytes) -> None:
    with pytest.raises(FramingError):
        catalogue.unframe(value)


def test_ids_without_a_registry_are_stored_state() -> None:
    assert {schema.name: schema.id for schema in (EVENT, catalogue.FLAG_1, FLAG, DEAD_LETTER, ACCOUNT_STATUS)} == {
        "banking_ui_event": 1,
        "fraud_flag_1": 2,
        "dead_letter": 3,
        "account_status": 4,
        "fraud_flag": 6,
    }


def test_event_codes_are_the_order_of_the_schemas_symbols() -> None:
    kind = next(field["type"] for field in EVENT.definition["fields"] if field["name"] == "event_type")

    assert tuple(kind["symbols"]) == EVENT_TYPES
    assert kind["default"] == "other"


def test_version_one_of_the_event_is_the_contract() -> None:
    assert EVENT.definition["namespace"] == "bank.ui"
    assert [
        (field["name"], field["type"]) for field in EVENT.definition["fields"] if field["name"] != "event_type"
    ] == [
        ("event_id", "string"),
        ("session_id", "string"),
        ("user_id", "string"),
        ("page", "string"),
        ("element_id", ["null", "string"]),
        ("input_hash", ["null", "string"]),
        ("timestamp", {"type": "long", "logicalType": "timestamp-millis"}),
        ("latency_ms", "int"),
        ("device_fingerprint", "string"),
        ("ip", "string"),
    ]


def test_only_the_event_can_be_read_as_an_event() -> None:
    writers = catalogue.local_writers()

    assert {id_: (writer.columnar, bool(writer.shortcoming)) for id_, writer in writers.items()} == {
        1: (True, False),
        2: (False, True),
        3: (False, True),
        4: (False, True),
        6: (False, True),
    }
