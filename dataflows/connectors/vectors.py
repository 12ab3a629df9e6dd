"""The newest vector of every session, to Redis: `session:<session_id>`, a hash by feature name."""

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from numpy.typing import NDArray
from redis.exceptions import ResponseError

from dataflows.clock import now_ms
from dataflows.connectors.redis_writer import Link
from dataflows.items import DecidedBatch
from dataflows.service import Service
from features.session import FEATURES
from observability import metrics

COLUMNS = ("session_id", *FEATURES, "score", "level", "updated_at")
"""The columns of a frame of vectors; all but the first are the fields of the hash."""

CHUNK_ROWS = 2_000
"""Hashes of one pipeline: its replies must fit the socket's buffer while we still send."""

_REPLIES_A_ROW = 2
_MANY_BATCHES = 64


@dataclass(frozen=True, slots=True)
class Vectors:
    """The newest vectors of the sessions of one batch, as arrays: a frame for each would cost more than the batch.

    Attributes:
        session_ids: One a row.
        matrix: float64 (rows, features), columns in the order of `FEATURES`.
        score: float64.
        level: The highest level that the score is above, empty for none.
        updated_at_ms: When they were decided.
    """

    session_ids: list[str]
    matrix: NDArray[np.float64]
    score: NDArray[np.float64]
    level: list[str]
    updated_at_ms: int


def vectors_of(decided: DecidedBatch, updated_at_ms: int) -> Vectors:
    """Take the newest vector of each session in a batch, with what was decided from it.

    Args:
        decided: The batch.
        updated_at_ms: The time to write beside them.
    """
    scored = decided.scored
    rows = scored.features.rows
    score = scored.score[rows.newest]
    level = np.full(len(score), "", dtype=object)
    for crossed in scored.features.enriched.configuration.levels:
        level[score > crossed.threshold] = crossed.name
    session_ids = [rows.session_ids[row] for row in rows.newest.tolist()]
    return Vectors(session_ids, rows.matrix[rows.newest], score, level.tolist(), updated_at_ms)


def as_frame(batches: Sequence[Vectors]) -> pl.DataFrame:
    """Put vectors of several batches into one frame of `COLUMNS`."""
    matrix = np.concatenate([batch.matrix for batch in batches])
    updated_at = np.repeat([batch.updated_at_ms for batch in batches], [len(batch.score) for batch in batches])
    return pl.DataFrame(
        [
            pl.Series("session_id", [name for batch in batches for name in batch.session_ids], dtype=pl.String),
            *(pl.Series(name, matrix[:, column]) for column, name in enumerate(FEATURES)),
            pl.Series("score", np.concatenate([batch.score for batch in batches])),
            pl.Series("level", [name for batch in batches for name in batch.level], dtype=pl.String),
            pl.Series("updated_at", updated_at, dtype=pl.Int64),
        ]
    )


def as_commands(vectors: pl.DataFrame, ttl_seconds: int) -> bytes:
    r"""Write the commands that store these vectors, as the bytes that go over the wire.

    Two a row: HSET with all fields, and EXPIRE ... NX, which leaves alone an expiry that was set before. They are
    put together by column, since packing 27 fields a row one by one costs ten times as much; what is the same in
    every row is one literal between two columns, since each piece costs as much as the text in it.

    >>> as_commands(pl.DataFrame({"session_id": ["s"], "score": [0.5]}), 60)[:49]
    b'*4\r\n$4\r\nHSET\r\n$9\r\nsession:s\r\n$5\r\nscore\r\n$3\r\n0.5\r\n'
    """
    fields = [name for name in vectors.columns if name != "session_id"]
    key = pl.concat_str(pl.lit("session:"), pl.col("session_id")).alias(_KEY)
    texts = vectors.select(key, pl.col(fields).cast(pl.String))
    sized = texts.with_columns(pl.all().str.len_bytes().cast(pl.String).name.prefix(_SIZE))
    pieces = [pl.lit(f"*{2 + 2 * len(fields)}\r\n$4\r\nHSET\r\n$"), *_sized(_KEY)]
    for name in fields:
        pieces += [pl.lit(f"\r\n${len(name)}\r\n{name}\r\n$"), *_sized(name)]
    seconds = str(ttl_seconds)
    pieces += [pl.lit("\r\n*4\r\n$6\r\nEXPIRE\r\n$"), *_sized(_KEY)]
    pieces.append(pl.lit(f"\r\n${len(seconds)}\r\n{seconds}\r\n$2\r\nNX\r\n"))
    rows: list[str] = sized.select(pl.concat_str(pieces)).to_series().to_list()
    return "".join(rows).encode()


_KEY = "key"
_SIZE = "bytes of "


def _sized(name: str) -> list[pl.Expr]:
    """One string of the protocol behind its `$`: its length in bytes, then itself."""
    return [pl.col(_SIZE + name), pl.lit("\r\n"), pl.col(name)]


class VectorOutbox:
    """The vectors of one partition that Redis has not acknowledged: one a session at most.

    While Redis is away, what would have expired there meanwhile is dropped: no more wait than sessions of one TTL.

    Args:
        ttl_seconds: After how long a hash expires, from its first write.
    """

    def __init__(self, ttl_seconds: int) -> None:
        self._ttl_seconds = ttl_seconds
        self._lock = threading.Lock()
        self._new: list[Vectors] = []
        self._merged = pl.DataFrame()
        """The older ones: a row a session."""

    def put(self, vectors: Vectors) -> None:
        """Add vectors; a later one of a session replaces an earlier one."""
        with self._lock:
            self._new.append(vectors)
            if len(self._new) > _MANY_BATCHES:
                self._merge()

    def connected(self) -> None:
        """Do nothing: a lost vector comes back with the session's next event."""

    def write_to(self, link: Link) -> None:
        """Write everything pending; keep it if the call fails."""
        with self._lock:
            vectors = self._merge()
        for chunk in vectors.iter_slices(CHUNK_ROWS):
            replies = link.send([as_commands(chunk, self._ttl_seconds)], chunk.height * _REPLIES_A_ROW)
            _note_written(chunk, replies)
        with self._lock:
            # If it was merged with newer ones meanwhile, all of them are written once more: no harm.
            if self._merged is vectors:
                self._merged = pl.DataFrame()

    def _merge(self) -> pl.DataFrame:
        """Make one frame of what is pending, keep it as such, and return it. Only with the lock."""
        if self._new:
            self._take(as_frame(self._new))
            self._new.clear()
        return self._merged

    def _take(self, vectors: pl.DataFrame) -> None:
        every = pl.concat([self._merged, vectors]) if self._merged.height else vectors
        newest = every.unique("session_id", keep="last", maintain_order=True)
        oldest_ms = pl.col("updated_at").max() - self._ttl_seconds * 1000
        self._merged = newest.filter(pl.col("updated_at") >= oldest_ms)

    def snapshot(self) -> bytes:
        """Write what is pending as Arrow IPC bytes."""
        with self._lock:
            vectors = self._merge()
        if vectors.is_empty():
            return b""
        stored = io.BytesIO()
        vectors.write_ipc(stored)
        return stored.getvalue()

    def restore(self, stored: bytes) -> None:
        """Take over what a snapshot had pending; columns that are no more are left out, rows that lack one too."""
        if stored:
            vectors = pl.read_ipc(io.BytesIO(stored), use_pyarrow=False)
            if set(COLUMNS) <= set(vectors.columns):
                self._take(vectors.select(COLUMNS))


def _note_written(chunk: pl.DataFrame, replies: Sequence[object]) -> None:
    """Count the hashes that Redis took, and how old each vector was by then: one that is written again counts again."""
    refused = [at // _REPLIES_A_ROW for at, reply in enumerate(replies) if isinstance(reply, ResponseError)]
    ages_ms = np.delete(now_ms() - chunk["updated_at"].to_numpy(), refused)
    metrics.VECTORS_WRITTEN.inc(len(ages_ms))
    metrics.VECTOR_VISIBLE.observe(ages_ms / 1000)


@dataclass(frozen=True, slots=True)
class VectorSink(FixedPartitionedSink[DecidedBatch, bytes]):
    """Keeps `session:<session_id>` up to date; one part a partition."""

    service: Service

    def list_parts(self) -> list[str]:
        """Return one part a partition."""
        return self.service.lane.keys()

    def part_fn(self, item_key: str) -> int:
        """Give every partition its own part."""
        return self.service.lane.part_of(item_key)

    def build_part(self, _step_id: str, _for_part: str, resume_state: bytes | None) -> "VectorPart":
        """Open a part, with what its snapshot had pending."""
        outbox = VectorOutbox(self.service.settings.session_ttl_seconds)
        outbox.restore(resume_state or b"")
        self.service.redis_writer.add(outbox)
        return VectorPart(self.service, outbox)


@dataclass(frozen=True, slots=True)
class VectorPart(StatefulSinkPartition[DecidedBatch, bytes]):
    """One partition's vectors."""

    service: Service
    outbox: VectorOutbox

    def write_batch(self, values: list[DecidedBatch]) -> None:
        """Leave the vectors for the writer."""
        for decided in values:
            self.outbox.put(vectors_of(decided, now_ms()))

    def snapshot(self) -> bytes:
        """Return what Redis has not acknowledged; at the end it gets a moment to do so."""
        if self.service.ending.stopping:
            self.service.redis_writer.drain()
        return self.outbox.snapshot()
