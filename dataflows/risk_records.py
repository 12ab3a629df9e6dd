"""What the records of the risk flow's small topics say; what they should not say is refused with a reason."""

from typing import Any

from dataflows.risk_items import Flagged, RefusedRecordError, StatusChanged
from schemas import catalogue
from schemas.catalogue import Schema
from schemas.validation import MAX_AHEAD_MS

STATUSES = ("active", "locked", "blocked", "suspended", "closed")
"""What a bank may say of an account; `active` is what an account is of which nothing is known."""


def flag_of(value: bytes, _kafka_ms: int) -> Flagged:
    """Read a flag of the fraud flow; raises `RefusedRecordError`."""
    flag = _record(catalogue.FLAG, value)
    return Flagged(flag["session_id"], flag["user_id"], flag["event_timestamp"])


def status_of(value: bytes, kafka_ms: int) -> StatusChanged:
    """Read an account's new status.

    Raises:
        RefusedRecordError: If it is none.
    """
    record = _record(catalogue.ACCOUNT_STATUS, value)
    if record["status"] not in STATUSES:
        reason, msg = "unknown_status", f"expected one of {', '.join(STATUSES)}, got {record['status'][:32]!r}"
        raise RefusedRecordError(reason, msg)
    if record["changed_at"] > kafka_ms + MAX_AHEAD_MS:
        reason, msg = "future", f"changed_at is {(record['changed_at'] - kafka_ms) // 1000} s after Kafka's own time"
        raise RefusedRecordError(reason, msg)
    if not record["user_id"]:
        reason, msg = "missing_id", "expected a user_id, got none"
        raise RefusedRecordError(reason, msg)
    return StatusChanged(record["user_id"], record["status"])


def _record(schema: Schema, value: bytes) -> dict[str, Any]:
    try:
        return catalogue.read(schema, value)
    except Exception as error:
        reason, msg = "undecodable", f"expected a record of {schema.name}: {error}"
        raise RefusedRecordError(reason, msg) from error
