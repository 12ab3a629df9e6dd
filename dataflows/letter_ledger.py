"""Which dead letters of a partition are settled: an offset below which all are, and those that are beyond it.

Both fit into what a consumer group can commit: the offset, and a short text beside it. So a replay of some letters
leaves the others open, however they lie. Pure: reads and writes nothing.
"""

import base64
import binascii
import zlib
from collections.abc import Iterable
from typing import Self

MAX_METADATA_BYTES = 4096
"""What a broker takes beside an offset, by default (`offset.metadata.max.bytes`)."""

_VERSION = "1:"


class LedgerError(ValueError):
    """The ledger cannot be read, or cannot hold what it should; the message is one line."""


class Ledger:
    """The settled letters of one partition.

    Args:
        next_offset: All letters below it are settled.
        settled: Letters beyond it that are.
    """

    def __init__(self, next_offset: int, settled: Iterable[int] = ()) -> None:
        self.next_offset = next_offset
        self._settled = set(settled)
        self._advance()

    @classmethod
    def from_committed(cls, offset: int, metadata: str | None, oldest: int) -> Self:
        """Read what a group has committed.

        Args:
            offset: The committed offset, negative if there is none.
            metadata: The text beside it.
            oldest: The oldest offset that Kafka still has: what it has dropped is settled.

        Raises:
            LedgerError: If the text is none of ours.
        """
        settled = [offset + at for at in _unpack(metadata or "")] if offset >= 0 else []
        return cls(max(offset, oldest), (it for it in settled if it >= oldest))

    def is_settled(self, offset: int) -> bool:
        """Say whether a letter is settled."""
        return offset < self.next_offset or offset in self._settled

    def settle(self, offsets: Iterable[int]) -> None:
        """Note that letters are settled."""
        self._settled.update(offset for offset in offsets if offset >= self.next_offset)
        self._advance()

    def _advance(self) -> None:
        while self.next_offset in self._settled:
            self._settled.remove(self.next_offset)
            self.next_offset += 1

    def metadata(self) -> str:
        """Return the text to commit beside `next_offset`: empty, or a packed bit for each letter from there on.

        Raises:
            LedgerError: If it is longer than a broker takes.
        """
        text = _pack([offset - self.next_offset for offset in self._settled])
        if len(text) > MAX_METADATA_BYTES:
            msg = (
                f"too many letters are left open in between, the ledger holds {MAX_METADATA_BYTES} bytes, this takes "
                f"{len(text)}: choose fewer letters, or give up the others with --skip-others"
            )
            raise LedgerError(msg)
        return text


def _pack(places: list[int]) -> str:
    if not places:
        return ""
    bits = bytearray(max(places) // 8 + 1)
    for place in places:
        bits[place // 8] |= 1 << place % 8
    return _VERSION + base64.b85encode(zlib.compress(bytes(bits), 9)).decode()


def _unpack(text: str) -> list[int]:
    if not text:
        return []
    try:
        if not text.startswith(_VERSION):
            raise ValueError  # noqa: TRY301 - one message for all that is none of ours
        bits = zlib.decompress(base64.b85decode(text.removeprefix(_VERSION)))
    except (ValueError, binascii.Error, zlib.error):
        msg = f"the group's committed text is no ledger of this version ({len(text)} characters)"
        raise LedgerError(msg) from None
    return [at * 8 + bit for at, byte in enumerate(bits) if byte for bit in range(8) if byte >> bit & 1]
