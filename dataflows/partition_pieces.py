"""Large state of a partition, stored a piece at a time.

The engine stores one value a key, takes some 5 ms for each MB of it on the thread that reads, and asks only the keys
that had an item since its last snapshot. So the state of partition 3 has a key "3", whose items are the batches, and
keys "3/0" to "3/31" for its pieces. With the first batch after a snapshot comes a `PieceDue` for one of these; that
key then stores one part of the state, and all that has changed since the piece before:

    snapshot       40     41     42     43  ...     each holds one part of 32 of the whole,
    key         "3/8"  "3/9" "3/10" "3/11"  ...     and the changes since the one before it

The last 32 pieces, the oldest first, are the state; the value of key "3" says which those are. The first piece after a
start has everything. Where nothing says that a piece is due, the state is written whole, under "3": at the end of a
run, and in a cluster of the engine, which would give the keys of one partition to several workers.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from bytewax.operators import StatefulBatchLogic

from dataflows.ending import StartError
from dataflows.partition_state import run_step
from features.snapshot import kind_of, pack, unpack

PIECES = 32
"""In so many snapshots the whole state of a partition is written once."""

_PIECE, _PIECES = "piece", "pieces"


class StateInPieces(Protocol):
    """State of one partition that can be written and read back a part at a time."""

    def snapshot(self, part: int = 0, of: int = 1) -> bytes:
        """Return one part of the state as it is now, and what has changed since the last one was returned."""

    def restore(self, *stored: bytes) -> object:
        """Take over what as many snapshots hold as have all parts, the oldest first. The next one has everything."""


class Batch(Protocol):
    """An item of a partition."""

    @property
    def partition(self) -> int:
        """Which one."""

    @property
    def opens_snapshot(self) -> int | None:
        """The number of the partition's next snapshot, on the first item that will be in it; None on the others."""


S = TypeVar("S", bound=StateInPieces)
B = TypeVar("B", bound=Batch)


@dataclass(frozen=True, slots=True)
class PieceDue:
    """Awakes the key of the piece that the snapshot of this number writes."""

    partition: int
    number: int

    @property
    def key(self) -> str:
        """The key of the piece."""
        return f"{self.partition}/{self.number % PIECES}"


def with_pieces(
    step: Callable[[Sequence[tuple[str, Any]]], Iterable[tuple[str, B]]],
) -> Callable[[Sequence[tuple[str, Any]]], list[tuple[str, B | PieceDue]]]:
    """Return a step that also emits what awakes the pieces of the state behind it."""

    def emit(items: Sequence[tuple[str, Any]]) -> list[tuple[str, B | PieceDue]]:
        emitted: list[tuple[str, B | PieceDue]] = []
        for key, batch in step(items):
            emitted.append((key, batch))
            if batch.opens_snapshot is not None:
                due = PieceDue(batch.partition, batch.opens_snapshot)
                emitted.append((due.key, due))
        return emitted

    return emit


@dataclass(slots=True)
class _Shared(Generic[S]):
    """What the keys of one partition share.

    Attributes:
        stored: Pieces that the store had, by number; none any more when the state is open.
        state: The state, once the first batch has come.
        first: The number of this run's first piece.
        due: The number of the next snapshot, None where it is to be whole.
    """

    stored: dict[int, bytes] = field(default_factory=dict)
    state: S | None = None
    first: int | None = None
    due: int | None = None

    def next_is(self, number: int) -> None:
        """Note the number of the next snapshot."""
        self.first = number if self.first is None else self.first
        self.due = number

    def where(self) -> bytes:
        """Write which pieces are the state, once the one that is due is among them."""
        told = {"first": self.first, "newest": self.due, "of": PIECES}
        self.due = None
        return pack(_PIECES, {}, told)

    def pieces(self, partition: int, where: bytes) -> list[bytes]:
        """Return the pieces that are the state.

        Raises:
            StartError: If some are not here.
        """
        told = unpack(_PIECES, where).scalars
        wanted = range(max(told["first"], told["newest"] - told["of"] + 1), told["newest"] + 1)
        lacking = [number for number in wanted if number not in self.stored]
        if lacking:
            msg = (
                f"partition {partition}: its state is in {len(wanted)} pieces, and this worker has not got "
                f"{len(lacking)} of them; before a cluster of workers, start one worker with WHOLE_SNAPSHOTS=1"
            )
            raise StartError(msg)
        return [self.stored[number] for number in wanted]


class PieceLogic(StatefulBatchLogic[Any, Any, bytes]):
    """The logic of a partition's key or of one of its pieces: which, the first item or the stored value says.

    Args:
        shared: Of all partitions.
        step: Makes the step from its state.
        empty: Makes a state.
        stored: What the store had under the key.
    """

    def __init__(
        self,
        shared: defaultdict[int, _Shared[S]],
        step: Callable[[S], Callable[[Any], Any]],
        empty: Callable[[], S],
        stored: bytes,
    ) -> None:
        self._shared = shared
        self._make_step = step
        self._empty = empty
        self._stored = stored
        self._step: Callable[[Any], Any] | None = None
        self._partition = -1
        self._piece: int | None = None
        self._is_due = False
        self._has_ended = False
        if stored and kind_of(stored) == _PIECE:
            piece = unpack(_PIECE, stored)
            self._partition, self._piece = piece.scalars["partition"], piece.scalars["number"]
            shared[self._partition].stored[self._piece] = piece.columns["stored"].tobytes()
            self._stored = b""

    def on_batch(self, values: list[Any]) -> tuple[list[Any], bool]:
        """Turn each item into the next, or note that the piece is due."""
        if isinstance(values[0], PieceDue):
            self._partition, self._piece = values[-1].partition, values[-1].number
            self._is_due = True
            self._shared[self._partition].next_is(self._piece)
            return [], StatefulBatchLogic.RETAIN
        if self._step is None:
            self._step = self._open(values[0].partition)
        return run_step(self._step, values), StatefulBatchLogic.RETAIN

    def _open(self, partition: int) -> Callable[[Any], Any]:
        """Restore the state; all keys of the store have their logic by now."""
        shared, state, self._partition = self._shared[partition], self._empty(), partition
        if self._stored:
            in_pieces = kind_of(self._stored) == _PIECES
            state.restore(*(shared.pieces(partition, self._stored) if in_pieces else [self._stored]))
        self._stored = b""
        shared.stored.clear()
        shared.state = state
        return self._make_step(state)

    def on_eof(self) -> tuple[list[Any], bool]:
        """Emit nothing and keep everything: the end of the input is the end of this run, not of the stream."""
        self._has_ended = True
        return [], StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        """Return what the store is to have under the key."""
        shared = self._shared[self._partition]
        if self._piece is not None:
            return self._snapshot_piece(shared, self._piece)
        if shared.state is None:
            return self._stored
        return shared.state.snapshot() if shared.due is None or self._has_ended else shared.where()

    def _snapshot_piece(self, shared: _Shared[S], number: int) -> bytes:
        """Return the piece that is due. All keys are asked at the end: then the whole is under the partition's own."""
        if shared.state is None:
            stored = shared.stored[number]
        elif self._is_due and not self._has_ended:
            stored = shared.state.snapshot(number % PIECES, PIECES)
        else:
            return b""
        self._is_due = False
        told = {"partition": self._partition, "number": number}
        return pack(_PIECE, {"stored": np.frombuffer(stored, dtype=np.uint8)}, told)


def state_in_pieces(
    step: Callable[[S], Callable[[Any], Any]], empty: Callable[[], S]
) -> Callable[[bytes | None], PieceLogic]:
    """Return what the engine calls for each key: a step over restored, or empty, state."""
    shared: defaultdict[int, _Shared[S]] = defaultdict(_Shared)

    def build(stored: bytes | None) -> PieceLogic:
        return PieceLogic(shared, step, empty, stored or b"")

    return build
