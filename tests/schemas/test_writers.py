import numpy as np
import pytest

from schemas.catalogue import EVENT
from schemas.codec import WriterSchema
from schemas.events import CLICK, EVENT_TYPES, OTHER
from tests.schemas.builders import (
    Definition,
    an_event,
    decoded,
    event_schema,
    framed,
    outcome,
    plainly_decoded,
    some_events,
    with_field,
)

ENUM = {"type": "enum", "name": "Channel", "symbols": ["web", "app"]}
COLUMNAR = {
    "string": ("string", "web"),
    "nullable string": (["null", "string"], None),
    "string or null": (["string", "null"], "web"),
    "null in second place": (["long", "null"], None),
    "int": ("int", -5),
    "double": ("double", 0.5),
    "float": (["null", "float"], 0.5),
    "boolean": ("boolean", True),
    "bytes": (["null", "bytes"], b"\0\xff"),
    "enum": (ENUM, "app"),
    "nullable enum": (["null", ENUM], "app"),
    "date": ({"type": "int", "logicalType": "date"}, 20_000),
}
RECORDWISE = {
    "map": ({"type": "map", "values": "string"}, {"a": "b"}),
    "array": ({"type": "array", "items": "string"}, ["a", "b"]),
    "union of three": (["null", "string", "long"], 7),
    "record": ({"type": "record", "name": "Geo", "fields": [{"name": "city", "type": "string"}]}, {"city": "Bern"}),
    "a named type used twice": ("bank.ui.EventType", "click"),
    "fixed": ({"type": "fixed", "name": "Hash", "size": 4}, b"\0\1\2\3"),
    "null": ("null", None),
}


@pytest.mark.parametrize(("kind", "value"), [*COLUMNAR.values(), *RECORDWISE.values()])
def test_a_column_that_this_reader_does_not_know_is_dropped(kind: object, value: object) -> None:
    newer = with_field("extra", kind)
    values = [framed(event | {"extra": value}, 1, newer) for event in some_events(50)]

    result = decoded(values, {1: newer})

    assert outcome(result) == plainly_decoded(values, {1: newer})
    assert result.events.height == 50


@pytest.mark.parametrize("kind", [kind for kind, _ in COLUMNAR.values()])
def test_flat_shapes_are_read_as_columns(kind: object) -> None:
    assert WriterSchema.from_definition(with_field("extra", kind)).columnar


@pytest.mark.parametrize("kind", [kind for kind, _ in RECORDWISE.values()])
def test_other_shapes_are_read_record_by_record(kind: object) -> None:
    writer = WriterSchema.from_definition(with_field("extra", kind))

    assert not writer.columnar
    assert writer.shortcoming == ""


def without_fields(*names: str) -> Definition:
    return EVENT.definition | {"fields": [it for it in EVENT.definition["fields"] if it["name"] not in names]}


def test_optional_columns_that_an_old_writer_lacks_are_null() -> None:
    old = without_fields("element_id", "input_hash")
    values = [framed(event, 1, old) for event in some_events(50)]

    result = decoded(values, {1: old})

    assert WriterSchema.from_definition(old).columnar
    assert result.events["element_id"].null_count() == 50
    assert outcome(result) == plainly_decoded(values, {1: old})


def test_columns_are_found_by_name_in_any_order() -> None:
    turned = EVENT.definition | {"fields": EVENT.definition["fields"][::-1]}
    values = [framed(event, 1, turned) for event in some_events(50)]

    result = decoded(values, {1: turned})

    assert outcome(result) == plainly_decoded(values, {1: turned})
    assert result.events.height == 50


def with_symbols(*symbols: str) -> Definition:
    enum = {"type": "enum", "name": "EventType", "symbols": list(symbols)}
    return event_schema(lambda fields: fields["event_type"].update(type=enum)) | {"namespace": "elsewhere"}


def test_the_foreign_writer_without_the_symbol_other_is_read_as_columns() -> None:
    foreign = with_symbols(*EVENT_TYPES[:7])
    events = [an_event(event_type=symbol) for symbol in EVENT_TYPES[:7]] * 8

    result = decoded([framed(event, 1, foreign) for event in events], {1: foreign})

    assert WriterSchema.from_definition(foreign).columnar
    assert result.events["event_type"].to_list() == list(range(7)) * 8


@pytest.mark.parametrize("count", [2, 80])
def test_event_types_go_by_name_and_unknown_ones_are_other(count: int) -> None:
    newer = with_symbols("wire_fraud_quiz", "click")
    events = [an_event(event_type=symbol) for symbol in ("wire_fraud_quiz", "click")] * (count // 2)

    result = decoded([framed(event, 1, newer) for event in events], {1: newer})

    assert result.events["event_type"].to_list() == [OTHER, CLICK] * (count // 2)


def test_a_symbol_that_the_writer_does_not_have_is_refused() -> None:
    narrow = with_symbols("page_view", "click")
    values = [framed(an_event(event_type="page_view"), 1, narrow) for _ in range(50)]
    values[7] = framed(an_event(event_type="logout"))

    result = decoded(values, {1: narrow})

    assert [(reject.row, reject.reason) for reject in result.rejects] == [(7, "undecodable")]


def test_an_optional_column_for_a_required_one_is_read_where_it_has_a_value() -> None:
    loose = event_schema(lambda fields: fields["page"].update(type=["null", "string"]))
    values = [framed(an_event(page=page), 1, loose) for page in ("/a", None, "/c")]

    result = decoded(values, {1: loose})

    assert result.events["page"].to_list() == ["/a", "/c"]
    assert [(reject.row, reject.reason) for reject in result.rejects] == [(1, "undecodable")]


def test_narrow_integers_are_widened() -> None:
    narrow = event_schema(lambda fields: fields["timestamp"].update(type="int"))
    values = [framed(an_event(timestamp=n + 1), 1, narrow) for n in range(40)]

    assert decoded(values, {1: narrow}).events["timestamp"].to_list() == list(range(1, 41))


@pytest.mark.parametrize(
    "definition",
    [
        "string",
        None,
        17,
        ["null", EVENT.definition],
        {"type": "record"},
        {"type": "record", "name": "FraudFlag", "fields": []},
        {"type": "record", "name": "BankingUIEvent", "fields": []},
        EVENT.definition | {"name": "Other"},
        without_fields("session_id"),
        event_schema(lambda fields: fields["user_id"].update(type="long")),
        event_schema(lambda fields: fields["latency_ms"].update(type="string")),
        event_schema(lambda fields: fields["event_type"].update(type="string")),
        event_schema(lambda fields: fields["latency_ms"].update(type="double")),
        with_field("next", ["null", "BankingUIEvent"]),
        with_field("endless", {"type": "array", "items": "null"}),
        with_field("endless", {"type": "array", "items": {"type": "record", "name": "Nil", "fields": []}}),
    ],
)
def test_a_schema_that_is_not_readable_as_an_event_says_why(definition: object) -> None:
    writer = WriterSchema.from_definition(definition)

    assert writer.shortcoming
    assert not writer.columnar


def test_a_field_called_like_the_nonce_does_not_clash_with_it() -> None:
    newer = with_field("nonce", "string")
    values = [framed(event | {"nonce": "n"}, 1, newer) for event in some_events(50)]

    assert WriterSchema.from_definition(newer).columnar
    assert decoded(values, {1: newer}).events.height == 50


def test_rows_of_a_call_do_not_depend_on_the_order_in_which_types_appear() -> None:
    values = [framed(event) for event in some_events(80)]

    forward, backward = decoded(values).events, decoded(values[::-1]).events

    assert np.array_equal(forward["event_type"].to_numpy(), backward["event_type"].to_numpy()[::-1])
