"""The fraud flow between lists: records in, what would have gone to Kafka and Redis out."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource

from dataflows.fraud import Ends, build
from dataflows.items import AdmittedBatch, Configuration, DecidedBatch, Headers, PageCounts, RawBatch
from dataflows.service import Service
from dataflows.settings import Settings
from features.session import FEATURE_SET_ID
from model.decision import Level
from schemas.codec import WriterSchema

KAFKA_MS = 4_000_000_000_000
"""After all that a stream may hold: what is too far ahead of the record is another test."""

LEVELS = (Level("review", 0.8), Level("block", 0.95))


def settings_for(model_dir: Path, **env: str) -> Settings:
    """Return settings that look nothing up and name a model."""
    return Settings.from_env({"MODEL_DIR": str(model_dir), "ENRICHMENT": "none", "METRICS_PORT": "0", **env})


def raw_batch(
    values: Sequence[bytes | None],
    model_id: str,
    *,
    partition: int = 0,
    first_offset: int = 0,
    keys: Sequence[bytes | None] | None = None,
    headers: Sequence[Headers | None] | None = None,
    kafka_ms: int = KAFKA_MS,
) -> RawBatch:
    """Return a batch as the source would hand it on."""
    count = len(values)
    return RawBatch(
        partition=partition,
        configuration=Configuration(model_id, FEATURE_SET_ID, LEVELS, "none"),
        values=list(values),
        keys=[b"key"] * count if keys is None else list(keys),
        headers=[None] * count if headers is None else list(headers),
        offsets=np.arange(first_offset, first_offset + count, dtype=np.int64),
        kafka_ms=np.full(count, kafka_ms, dtype=np.int64),
        unread=0,
    )


OUTPUTS = ("dead_letters", "page_counts", "flags", "vectors")


@dataclass(slots=True)
class ListedFlow:
    """A flow whose input is a list (the engine's EOF and ABORT may be in it) and whose outputs are lists."""

    model_dir: Path
    items: list[Any]
    writers: dict[int, WriterSchema] = field(default_factory=dict)
    """Schemas that are known besides our own."""
    service: Service | None = None
    """Made anew for each run if there is none; one that is given keeps its opened models."""
    sunk: dict[str, list[tuple[str, Any]]] = field(default_factory=lambda: {name: [] for name in OUTPUTS})

    def dataflow(self) -> Dataflow:
        """Build the flow; outputs of several runs add up."""
        sinks = {name: TestingSink(self.sunk[name]) for name in OUTPUTS}
        service = self.service or Service(settings_for(self.model_dir))
        service.writers.known.update(self.writers)
        return build(service, Ends(TestingSource(self.items), **sinks))

    def admitted(self, partition: int) -> list[AdmittedBatch]:
        """Return what admission let through of a partition, and its dead letters."""
        return [batch for key, batch in self.sunk["dead_letters"] if key == str(partition)]

    def counted(self, partition: int) -> list[PageCounts]:
        """Return the page counts of a partition, in order."""
        return [counts for key, counts in self.sunk["page_counts"] if key == str(partition)]

    def decided(self, partition: int) -> list[DecidedBatch]:
        """Return what was decided on a partition, in order."""
        return [batch for key, batch in self.sunk["flags"] if key == str(partition)]
