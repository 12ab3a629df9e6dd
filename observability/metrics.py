"""Every metric of the service, in one place: name, unit, labels, meaning. No ids and no addresses as labels.

Counters start at 0 with the process; the gauge `fraud_partition_records` is state, and goes on over restarts.
"""

from functools import cache
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from observability.histogram import BatchHistogram

M = TypeVar("M", Counter, Gauge)

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

LATENCY_BUCKETS = (
    *(0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05),
    *(0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 60.0),
)
SCORE_BUCKETS = tuple(bound / 20 for bound in range(1, 20))
VISIBLE_BUCKETS = (*(float(f"{0.005 * 1.3**step:.3g}") for step in range(24)), 5.0, 10.0, 60.0)
"""From 5 ms to 2 s each is 30 % above the one before, so that a quantile can be told from them; above, outages."""


STALL_BUCKETS = (0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0)


def _counter(name: str, documentation: str, *labels: str) -> Counter:
    return _remembering(Counter(name, documentation, labels, registry=REGISTRY))


def _gauge(name: str, documentation: str, *labels: str) -> Gauge:
    return _remembering(Gauge(name, documentation, labels, registry=REGISTRY))


def _remembering(metric: M) -> M:
    """Let a metric remember its series by their labels: it would validate them each time, for 4 us."""
    metric.labels = cache(metric.labels)  # type: ignore[method-assign]
    return metric


PARTITION_RECORDS = _gauge(
    "fraud_partition_records",
    "Records of a partition since its beginning, by where they ended; consumed is the sum of the others at rest",
    "partition",
    "outcome",
)
EVENTS = _counter("fraud_events", "Records that ended: scored, duplicate, late or dead", "outcome")
DEAD_LETTERS = _counter("fraud_dead_letters", "Records sent to the dead letters", "stage", "reason")
KEY_MISMATCH = _counter("fraud_key_mismatch", "Events whose Kafka key is not their session id: exactness is lost")
EVENT_ID_REUSED = _counter("fraud_event_id_reused", "Events that came before with other content under the same id")
FALLBACK_RECORDS = _counter(
    "fraud_fallback_records", "Records read one by one, since they could not be read as columns"
)
FLAGS = _counter("fraud_flags_emitted", "Flags delivered to Kafka", "level")
FLAGGED_SESSIONS = _counter("fraud_flagged_sessions", "Sessions that crossed their first level")
SCORE = BatchHistogram("fraud_score", "Calibrated score of every event", SCORE_BUCKETS, REGISTRY)
PIPELINE_LATENCY = BatchHistogram(
    "fraud_pipeline_latency_seconds",
    "From the event's Kafka timestamp until it was decided on, for every scored event",
    LATENCY_BUCKETS,
    REGISTRY,
)
CONSUMER_LAG = _gauge("fraud_consumer_lag_records", "Records of a partition not yet read", "partition")
PARTITION_HELD = _gauge("fraud_partition_held", "1 while a partition waits for a schema", "partition")
WATERMARK = _gauge("fraud_watermark_timestamp_seconds", "A partition's watermark, event time", "partition")
LIVE_SESSIONS = _gauge("fraud_live_sessions", "Session instances in memory", "partition")
STATE_BYTES = _gauge("fraud_state_bytes", "Bytes of the session table in memory", "partition")
SESSIONS_EVICTED = _counter("fraud_sessions_evicted", "Live sessions given up for lack of room: exactness is lost")
DUPLICATE_HORIZON = _gauge(
    "fraud_duplicate_horizon_seconds", "Event time over which a repeat is still recognised", "partition"
)
DEGRADED = _counter("fraud_degraded_events", "Events scored without the answers of a store", "dependency")
ANSWERS_REFUSED = _counter("fraud_answers_refused", "Answers of Redis that were no such value, taken as absent", "key")
REDIS_ERRORS = _counter("fraud_redis_errors", "Failed calls to Redis", "use")
REDIS_UP = _gauge("fraud_redis_up", "1 while the writer reaches Redis")
PAGE_COUNTS_REFUSED = _counter("fraud_page_counts_refused", "Counts for minutes that are pruned already")
ENTITIES_EVICTED = _counter("fraud_entities_evicted", "Entities forgotten for lack of room: their counts begin anew")
ENTITY_VALUES_WRITTEN = _counter("fraud_entity_values_written", "Values of devices, users and inputs written to Redis")
SESSIONS_LEARNED = _counter("fraud_sessions_learned", "Sessions that profiles of users learned from")
SESSIONS_UNLEARNED = _counter(
    "fraud_sessions_unlearned", "Sessions given up because too many waited to be learned from"
)
RECORDS_REFUSED = _counter(
    "fraud_records_refused", "Records of small topics that say what they should not", "topic", "reason"
)
VECTORS_WRITTEN = _counter("fraud_vectors_written", "Session hashes written to Redis")
VECTOR_VISIBLE = BatchHistogram(
    "fraud_vector_visible_seconds",
    "From when a session's newest vector was decided, the updated_at of its hash, until Redis acknowledged the hash",
    VISIBLE_BUCKETS,
    REGISTRY,
)
STALLS = Histogram(
    "fraud_stall_seconds",
    "Times over 20 ms in which the worker did not turn to new records, by what kept it",
    ["cause"],
    buckets=STALL_BUCKETS,
    registry=REGISTRY,
)
SNAPSHOT_TIMESTAMP = _gauge("fraud_snapshot_timestamp_seconds", "When the last snapshot was begun")
REGISTRY_REQUESTS = _counter("fraud_registry_requests", "Questions to the schema registry", "outcome")
MODEL = Info("fraud_model", "What decides at the moment", registry=REGISTRY)
MODEL_LOAD_FAILURES = _counter("fraud_model_load_failures", "Deployed models that were refused: the old one stays")
SCORE_DRIFT = _gauge("fraud_score_drift_psi", "Population stability of the last minutes' scores against training's")
FEATURE_DRIFT = _gauge("fraud_feature_drift_psi", "The same of a feature: above 0.25 one should act", "feature")
FEATURE_NEUTRAL = _gauge("fraud_feature_neutral_share", "Rows in which a feature has its neutral value", "feature")
UNSEEN_PLACES = _gauge("fraud_unseen_share", "Rows of a page, or a type of event on it, that training has not seen")
POLICY_FAILURES = _counter("fraud_policy_failures", "Changed policies that were refused: the old levels stay")
OFFSET_GAP = _counter("fraud_offset_gap_records", "Records that Kafka dropped before they were read")

for _metric, *_words in (
    (EVENTS, "scored", "duplicate", "late", "dead"),
    (FLAGS, "review", "block"),
    (DEGRADED, "redis"),
    (REDIS_ERRORS, "write", "enrich", "wrong_type"),
    (REGISTRY_REQUESTS, "found", "absent", "failed"),
    (STALLS, "snapshot", "collector", "batch", "waiting"),
):
    for _word in _words:
        _metric.labels(_word)  # there at 0 from the start: a rate needs a value before the first one
