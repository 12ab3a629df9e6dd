"""How a writer's schema is read as BankingUIEvent v1: by name, with defaults, as the Avro specification resolves.

Decides once per schema id whether a schema can be read at all and, field by field, whether it can be read as columns.
"""

from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.definitions import bare, load_definition
from schemas.events import EVENT_TYPES, OTHER
from schemas.walk import Column

READER: dict[str, Any] = bare(load_definition("banking_ui_event"), keep=("default",))
"""The definition that every writer's schema is resolved to."""

_FIXED_BYTES = {"boolean": 1, "float": 4, "double": 8}
_PROMOTIONS = frozenset({("int", "long"), ("bytes", "string")})
_FITTING: dict[str, tuple[Any, ...]] = {
    "string": ("string",),
    "enum": ("long",),
    "long": ("long",),
    "int": ("long",),
    "union": ("string", ["null", "string"], ["string", "null"]),
}
"""By kind of the reader's type, the container's types whose columns are the reader's columns."""

Named = dict[str, Any]


class SchemaError(ValueError):
    """A definition is not an Avro schema or cannot be read as BankingUIEvent."""


def parse(definition: Any) -> dict[str, Any]:
    """Return the bare, parsed definition if it can be read as BankingUIEvent.

    Raises:
        SchemaError: If it cannot.
    """
    named: Named = {}
    try:
        parsed = fastavro.parse_schema(bare(definition), named_schemas=named)
    except Exception as error:
        msg = f"expected an Avro schema, got one that cannot be parsed ({type(error).__name__})"
        raise SchemaError(msg) from error
    if not isinstance(parsed, dict) or parsed["type"] != "record" or _short(parsed) != READER["name"]:
        msg = f"expected a record named {READER['name']}"
        raise SchemaError(msg)
    _refuse_endless(parsed, named, ())
    _refuse_unresolved(parsed, named)
    return parsed


def _short(kind: dict[str, Any]) -> str:
    return str(kind["name"]).rpartition(".")[2]


def _refuse_unresolved(writer: dict[str, Any], named: Named) -> None:
    written = {field["name"]: field["type"] for field in writer["fields"]}
    for field in READER["fields"]:
        name = field["name"]
        if name not in written and "default" not in field:
            msg = f"expected a field {name}, got none"
            raise SchemaError(msg)
        if name in written and not _resolves(written[name], field["type"], named):
            msg = f"expected a field {name} that can be read as {_kind(field['type'])}"
            raise SchemaError(msg)


def _resolves(writer: Any, reader: Any, named: Named) -> bool:
    """Say whether some value of the writer's type can be read as the reader's; of a union one branch is enough."""
    if isinstance(writer, list):
        return any(_resolves(branch, reader, named) for branch in writer)
    if isinstance(reader, list):
        return any(_resolves(writer, branch, named) for branch in reader)
    writer = named.get(writer, writer) if isinstance(writer, str) else writer
    kinds = (_kind(writer), _kind(reader))
    if kinds == ("enum", "enum"):
        return _short(writer) == _short(reader)
    return kinds[0] == kinds[1] or kinds in _PROMOTIONS


def _kind(definition: Any) -> str:
    if isinstance(definition, list):
        return "union"
    return _kind(definition["type"]) if isinstance(definition, dict) else str(definition)


def _refuse_endless(kind: Any, named: Named, inside: tuple[str, ...]) -> None:
    """Refuse shapes for which a short record can make the record reader recurse or loop without bound."""
    if isinstance(kind, str) and kind in named:
        if kind in inside:
            msg = "expected a schema that does not contain itself"
            raise SchemaError(msg)
        _refuse_endless(named[kind], named, inside)
    for part in _parts_of(kind):
        _refuse_endless(part, named, (*inside, kind["name"]) if "name" in kind else inside)
    if isinstance(kind, dict) and kind["type"] == "array" and _least_bytes(kind["items"], named) == 0:
        msg = "expected arrays whose items have at least one byte"
        raise SchemaError(msg)


def _parts_of(kind: Any) -> list[Any]:
    if isinstance(kind, list):
        return kind
    if not isinstance(kind, dict):
        return []
    fields = [field["type"] for field in kind.get("fields", ())]
    nested = [kind["type"]] if isinstance(kind["type"], dict | list) else []
    return fields + nested + [kind[key] for key in ("items", "values") if key in kind]


def _least_bytes(kind: Any, named: Named) -> int:
    if isinstance(kind, str):
        return _least_bytes(named[kind], named) if kind in named else int(kind != "null")
    if isinstance(kind, list):
        return 1
    if kind["type"] == "record":
        return sum(_least_bytes(field["type"], named) for field in kind["fields"])
    return int(kind["size"]) if kind["type"] == "fixed" else _least_bytes(kind["type"], named)


def event_codes(writer: dict[str, Any]) -> NDArray[np.uint8]:
    """Return this reader's event code of each symbol of the writer's `event_type`; unknown symbols are `other`.

    For schemas that `columns_of` takes.
    """
    symbols = next(field["type"]["symbols"] for field in writer["fields"] if field["name"] == "event_type")
    codes = [EVENT_TYPES.index(symbol) if symbol in EVENT_TYPES else OTHER for symbol in symbols]
    return np.array(codes, dtype=np.uint8)


def columns_of(writer: dict[str, Any]) -> list[tuple[Column, Any]] | None:
    """Return each of the writer's fields for the walk and its type in the container, or None if one is no column.

    In the container integers of every size are longs (the bytes are the same, but a reader of 32 bits would cut a
    long one), and so are enums (which would come back as categories in order of appearance).
    """
    readers = {field["name"]: field["type"] for field in READER["fields"]}
    columns = []
    for field in writer["fields"]:
        name = field["name"]
        made = _column(name, field["type"])
        if made is None or (name in readers and made[1] not in _FITTING[_kind(readers[name])]):
            return None
        columns.append(made)
    return columns


def _column(name: str, kind: Any) -> tuple[Column, Any] | None:
    if not isinstance(kind, list):
        return _plain_column(name, kind, null_index=-1)
    if len(kind) != 2 or "null" not in kind:  # noqa: PLR2004 - a nullable type is null and one other
        return None
    null_index = kind.index("null")
    made = _plain_column(name, kind[1 - null_index], null_index)
    if made is None:
        return None
    column, inner = made
    return column, ["null", inner] if null_index == 0 else [inner, "null"]


def _plain_column(name: str, kind: Any, null_index: int) -> tuple[Column, Any] | None:
    if isinstance(kind, dict) and kind["type"] == "enum":
        return Column(name, "number", len(kind["symbols"]), null_index), "long"
    plain = kind["type"] if isinstance(kind, dict) else kind
    if plain in ("int", "long"):
        return Column(name, "number", 0, null_index), "long"
    if plain in ("string", "bytes"):
        return Column(name, "text", 0, null_index), plain
    if plain in ("boolean", "float", "double"):
        return Column(name, "fixed", _FIXED_BYTES[plain], null_index), plain
    return None
