"""What leaves the flow on Kafka: flags with their reasons, and dead letters, as Avro records."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dataflows.clock import now_ms
from dataflows.connectors.enrichment import QUESTIONS
from dataflows.connectors.kafka_sink import Outgoing
from dataflows.items import AdmittedBatch, DeadLetter, DecidedBatch
from dataflows.service import Service
from features.profile import usual_values
from features.session import FEATURES
from model.decision import Crossing
from observability import metrics
from schemas import catalogue

try:
    CODE_VERSION = version("clickstream-fraud")
except PackageNotFoundError:  # run from a checkout, which is not installed
    CODE_VERSION = "checkout"


@dataclass(frozen=True, slots=True)
class FlagMessages:
    """The flags of a batch.

    Attributes:
        service: For the models, which give the reasons, and the topic that the events came from.
    """

    service: Service

    def __call__(self, decided: DecidedBatch) -> Iterator[Outgoing]:
        """Return one message a crossing, keyed by session."""
        for crossing in decided.crossings:
            record = self.record(decided, crossing)
            yield Outgoing(
                key=crossing.instance.session_id.encode(),
                value=catalogue.frame(catalogue.FLAG.id, catalogue.FLAG, record),
                headers=[],
                on_delivered=partial(_count_flag, crossing),
            )

    def record(self, decided: DecidedBatch, crossing: Crossing) -> dict[str, Any]:
        """Return the flag of a crossing: with all that is needed to compute it again."""
        scored, row = decided.scored, crossing.row
        rows, enriched = scored.features.rows, scored.features.enriched
        configuration = enriched.configuration
        event: dict[str, Any] = enriched.events.row(row, named=True)
        vector, profile = rows.matrix[row], enriched.columns.profile[row]
        reasons = self.service.models.open(configuration.model_id).reasons
        return {
            "flag_id": crossing.flag_id,
            "session_id": event["session_id"],
            "user_id": event["user_id"],
            "level": crossing.level.name,
            "score": float(scored.score[row]),
            "raw_score": float(scored.raw[row]),
            "threshold": crossing.level.threshold,
            "reasons": [reason._asdict() for reason in reasons.explain(vector, usual=usual_values(profile))],
            "feature_names": list(FEATURES),
            "features": vector.tolist(),
            "state_before": rows.state_before(row),
            "event_id": event["event_id"],
            "event_timestamp": event["timestamp"],
            "topic": self.service.settings.events_topic,
            "partition": enriched.partition,
            "offset": event["offset"],
            "first_timestamp": crossing.instance.first_ms,
            "first_offset": int(rows.first_offset[row]),
            "model_id": configuration.model_id,
            "feature_set_id": configuration.feature_set_id,
            "configuration_id": configuration.id,
            "enrichment": [
                {"key": question.column, "value": question.as_text(enriched.as_read[question.column][row])}
                for question in QUESTIONS
            ],
            "degraded": [*enriched.degraded, *(["partial_features"] if rows.partial[row] else [])],
            "flagged_at": now_ms(),
        }


def _count_flag(crossing: Crossing) -> None:
    metrics.FLAGS.labels(crossing.level.name).inc()
    metrics.FLAGGED_SESSIONS.inc(crossing.is_first)


@dataclass(frozen=True, slots=True)
class DeadLetterMessages:
    """The dead letters of a batch.

    Attributes:
        topic: The topic that the events came from.
    """

    topic: str

    def __call__(self, admitted: AdmittedBatch) -> Iterator[Outgoing]:
        """Return one message a dead letter, with the original key."""
        for letter in admitted.dead_letters:
            record = self.record(letter)
            value = catalogue.frame(catalogue.DEAD_LETTER.id, catalogue.DEAD_LETTER, record)
            yield Outgoing(key=letter.key, value=value, headers=[], on_delivered=_nothing)

    def record(self, letter: DeadLetter) -> dict[str, Any]:
        """Return a dead letter with the record's own bytes."""
        return {
            "value": letter.value,
            "key": letter.key,
            "headers": [{"name": name, "value": value} for name, value in letter.headers],
            "topic": self.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "timestamp": letter.kafka_ms,
            "reason": letter.reason,
            "stage": letter.stage,
            "error": letter.error,
            "code_version": CODE_VERSION,
        }


def _nothing() -> None:
    """Dead letters are counted when they are made."""
