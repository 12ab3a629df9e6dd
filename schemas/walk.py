"""Find the end of every field of many Avro bodies at once, so that only sound bodies reach the columnar reader.

The reader (Polars) trusts its input: it takes any union index that is not the null's for the value's, and panics on a
length beyond the block. So each body is walked first, all of them a field at a time in NumPy. A body is *sound* if the
walk ends where the body ends and every length, index and symbol on the way is possible; whether text is UTF-8 is left
to the reader. A body that is not sound is not yet bad: the record reader judges it.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

TAIL_BYTES = 9
"""Bytes that must follow each body in the block; all but the last have their high bit set."""

_HIGH_BITS = np.uint64(0x8080808080808080)
_ONE, _SEVEN = np.uint64(1), np.uint64(0x7F)
_STRETCH_BYTES = 1 << 16
"""Bytes looked at in one go, so that what is made on the way stays in the processor's cache."""
_MAX_SIZE_WIDTH = 3
"""A length of more than three bytes cannot be one inside a record of 64 KiB."""


@dataclass(frozen=True, slots=True)
class Column:
    """What the walk must know of one field.

    Attributes:
        name: The field's name.
        kind: `number` is a variable-length integer, `text` a length and that many bytes, `fixed` so many bytes.
        size: Bytes of a `fixed`; symbols of an enum, which is a `number` (0: any integer).
        null_index: Which branch of the field's union is null, 0 or 1; -1 where the field is not a union.
    """

    name: str
    kind: Literal["number", "text", "fixed"]
    size: int = 0
    null_index: int = -1


@dataclass(frozen=True, slots=True)
class Walk:
    """What the walk found.

    Attributes:
        sound: bool, one a body.
        starts: By name, int64, where the values of each `text` field begin in the block.
        sizes: By name, int64 bytes of those values, 0 for null; both are meaningless for bodies that are not sound.
        may_hold_controls: False if all bodies are sound and no byte of any text is a control character.
    """

    sound: NDArray[np.bool_]
    starts: dict[str, NDArray[np.int64]]
    sizes: dict[str, NDArray[np.int64]]
    may_hold_controls: bool


def walk(block: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64], columns: tuple[Column, ...]) -> Walk:
    """Walk every body of a block.

    Args:
        block: The bodies, each followed by `TAIL_BYTES` bytes; may have other bytes before and behind.
        starts: Where each body begins in the block.
        ends: Where each body ends, which is where its tail begins.
        columns: The fields, in writer order.
    """
    walker = _Walker(block, starts, ends)
    for column in columns:
        walker.pass_field(column)
    sound = ~walker.flawed & (walker.at == ends)
    clean = bool(sound.all()) and not walker.text_holds_controls(starts, ends)
    return Walk(sound, walker.starts, walker.sizes, not clean)


class _Walker:
    """Where the walk stands in every body; `at` never passes a body's end, so every gather stays in the block."""

    __slots__ = ("_block", "_ends", "_structure", "_words", "at", "flawed", "sizes", "starts")

    def __init__(self, block: bytes, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        self._block = np.frombuffer(block, dtype=np.uint8)
        self._words = np.ndarray((len(block) - 7,), dtype="<u8", buffer=block, strides=(1,))
        self._ends = ends
        self._structure: list[NDArray[np.int64]] = []
        self.at = starts
        self.flawed = np.zeros(len(starts), dtype=np.bool_)
        self.starts: dict[str, NDArray[np.int64]] = {}
        self.sizes: dict[str, NDArray[np.int64]] = {}

    def pass_field(self, column: Column) -> None:
        """Move past one field in every body."""
        if column.null_index >= 0:
            self._pass_union(column)
        elif column.kind == "fixed":
            self._move(self.at + column.size)
        elif column.kind == "text":
            self._pass_text(column.name)
        elif column.size:
            self._pass_index(column.size)
        else:
            self._number(longest=TAIL_BYTES - 1)

    def _move(self, to: NDArray[np.int64]) -> None:
        self.flawed |= to > self._ends
        self.at = np.minimum(to, self._ends)

    def _pass_text(self, name: str) -> None:
        number = self._number()
        self.flawed |= number & 1 == 1
        self.starts[name] = self.at
        self.sizes[name] = size = (number >> 1).astype(np.int64)
        self._move(self.at + size)

    def _pass_index(self, count: int) -> NDArray[np.integer[Any]]:
        number = self._number()
        self.flawed |= (number & 1 == 1) | (number >> 1 >= count)
        return number >> 1

    def _pass_union(self, column: Column) -> None:
        is_null = self._pass_index(2) == column.null_index
        behind, flawed, marks = self.at, self.flawed.copy(), len(self._structure)
        self.pass_field(replace(column, null_index=-1))
        self.at = np.where(is_null, behind, self.at)
        self.flawed = np.where(is_null, flawed, self.flawed)
        self._structure[marks:] = [np.where(is_null, self._ends, places) for places in self._structure[marks:]]
        if column.kind == "text":
            self.sizes[column.name] = np.where(is_null, 0, self.sizes[column.name])

    def _number(self, longest: int = _MAX_SIZE_WIDTH) -> NDArray[np.integer[Any]]:
        """Pass an integer of at most `longest` bytes and return its zigzag form, right for up to three bytes."""
        first = self._block[self.at]
        if first.max() < 128:  # noqa: PLR2004 - no byte says that another one follows
            self._structure.append(self.at)
            self.at = self.at + 1
            return first
        word = self._words[self.at]
        stops = ~word & _HIGH_BITS
        stop = stops & (~stops + _ONE)
        width = np.bitwise_count(stop - _ONE) // 8 + 1
        too_long = width > longest
        self.flawed |= too_long
        end = np.where(too_long, self.at, self.at + width)
        self._structure.append(end - 1)
        self.at = end
        return _low_value(word & ((stop << _ONE) - _ONE))

    def text_holds_controls(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
        """Say whether more bytes look like control characters than structure accounts for; a false alarm is allowed."""
        text_and_structure = self._block[starts[0] : ends[-1]]
        stretches = range(0, len(text_and_structure), _STRETCH_BYTES)
        seen = sum(_controls(text_and_structure[at : at + _STRETCH_BYTES]) for at in stretches)
        return seen > sum(_controls(self._block[places]) for places in self._structure)


def _controls(octets: NDArray[np.uint8]) -> int:
    return int(np.count_nonzero(octets < 32) + np.count_nonzero(octets == 127))  # noqa: PLR2004 - space, delete


def _low_value(word: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the value of the first three 7-bit groups."""
    low, middle, high = (word >> np.uint64(8 * place) & _SEVEN for place in range(_MAX_SIZE_WIDTH))
    value: NDArray[np.uint64] = low | middle << np.uint64(7) | high << np.uint64(14)
    return value.astype(np.int64)
