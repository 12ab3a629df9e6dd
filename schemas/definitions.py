"""Avro definitions as plain JSON: reading our .avsc files, and cutting a definition down to what decides the bytes."""

import json
from pathlib import Path
from typing import Any

_SHAPE = ("type", "name", "namespace", "fields", "items", "values", "symbols", "size")


def load_definition(name: str) -> dict[str, Any]:
    """Read the definition in `<name>.avsc` beside this module."""
    definition: dict[str, Any] = json.loads(Path(__file__).with_name(f"{name}.avsc").read_text("utf-8"))
    return definition


def bare(definition: Any, *, keep: tuple[str, ...] = ()) -> Any:
    """Return a definition with only what decides the bytes: no logical types, docs, aliases, defaults, orders.

    Without logical types a timestamp stays the integer it is on the wire, so no value can fail to become a date.

    Args:
        definition: Any Avro definition.
        keep: Attributes to keep nevertheless, for example `default` where the definition is to read by.

    >>> bare({"type": "long", "logicalType": "timestamp-millis"})
    {'type': 'long'}
    """
    if isinstance(definition, list):
        return [bare(part, keep=keep) for part in definition]
    if not isinstance(definition, dict):
        return definition
    literal = ("name", "namespace", "symbols", "size", *keep)
    return {
        key: value if key in literal else bare(value, keep=keep)
        for key, value in definition.items()
        if key in _SHAPE or key in keep
    }
