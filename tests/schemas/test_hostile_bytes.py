"""Whatever happens to the bytes of a batch, it is decoded as a plain record-at-a-time reader would decode it."""

from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import codec
from schemas.catalogue import EVENT
from tests.schemas.builders import NOW_MS, Definition, framed, outcome, plainly_decoded, some_events, with_field

COUNT = 45
WIDE = with_field("extra", ["double", "null"])
WIDE["fields"][1:1] = [
    {"name": "blob", "type": ["null", "bytes"]},
    {"name": "channel", "type": ["null", {"type": "enum", "name": "Channel", "symbols": ["web", "app"]}]},
    {"name": "flag", "type": "boolean"},
]
EXTRA = {"extra": None, "blob": b"\0\x7f", "channel": "app", "flag": True}
SLOW = with_field("tags", {"type": "map", "values": "string"})

offsets = st.integers(0, 300)
"""Where to damage a value; beyond its end counts from its beginning again."""

Damage = tuple[int, int, int, bytes]
damages = st.tuples(
    st.integers(0, COUNT - 1),
    offsets,
    st.sampled_from([0, 0, 1, 1, 1, 2, 5, 12, 40, 300]),
    st.binary(max_size=12) | st.sampled_from([b"\0", b"\1", b"\2", b"\3", b"\x7f", b"\x80", b"\x81", b"\xff"]),
)
"""A row, an offset in it, how many bytes are lost there, and what comes instead."""

repeats = st.tuples(st.integers(0, COUNT - 1), offsets, st.integers(1, 40))
"""A row, and which of its bytes come twice."""


def damaged(value: bytes, at: int, lost: int, instead: bytes) -> bytes:
    at %= len(value) or 1
    return value[:at] + instead + value[at + lost :]


def repeated(value: bytes, at: int, count: int) -> bytes:
    at %= len(value) or 1
    return value[: at + count] + value[at:]


def frames(definition: Definition, **more: Any) -> list[bytes]:
    return [framed(event | more, 1, definition) for event in some_events(COUNT)]


WRITERS = {
    "v1": (EVENT.definition, frames(EVENT.definition)),
    "wide": (WIDE, frames(WIDE, **EXTRA)),
    "record by record": (SLOW, frames(SLOW, tags={"a": "b"})),
}
PREPARED = {name: codec.WriterSchema.from_definition(definition) for name, (definition, _) in WRITERS.items()}


@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=150, deadline=None)
@given(
    damage=st.lists(damages, min_size=1, max_size=6),
    twice=st.lists(repeats, max_size=2),
    few=st.sampled_from([1, 32]),
)
def test_damaged_batches_are_decoded_as_record_by_record(
    name: str, damage: list[Damage], twice: list[tuple[int, int, int]], few: int
) -> None:
    definition, values = WRITERS[name][0], list(WRITERS[name][1])
    for row, at, lost, instead in damage:
        values[row] = damaged(values[row], at, lost, instead)
    for row, at, count in twice:
        values[row] = repeated(values[row], at, count)

    with patch.object(codec, "_FEW", few):
        result = codec.decode(values, np.full(COUNT, NOW_MS), {1: PREPARED[name]})

    assert outcome(result) == plainly_decoded(values, {1: definition})
    assert result.events.height + len(result.rejects) == COUNT


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(
        st.none() | st.binary(max_size=80) | st.binary(max_size=80).map(lambda b: b"\0\0\0\0\1" + b), max_size=50
    )
)
def test_arbitrary_values_never_escape(values: list[bytes | None]) -> None:
    with patch.object(codec, "_FEW", 1):
        result = codec.decode(values, np.full(len(values), NOW_MS), {1: PREPARED["v1"]})

    assert outcome(result) == plainly_decoded(values, {1: EVENT.definition})
