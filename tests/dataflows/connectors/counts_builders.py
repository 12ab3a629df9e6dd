"""Page counts and their outboxes with every default in one place."""

from collections.abc import Collection
from typing import Any

from dataflows.connectors.page_counts import PageCountOutbox, minute_name
from dataflows.items import PageCounts
from features.page_windows import MINUTE_MS, PageCount
from tests.builders import A_MINUTE_MS

HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
MINUTE = "2025-06-10T05:04:00"


def outbox_of(partition: int = 0, *, needed: Collection[int] = (0,), **changes: Any) -> PageCountOutbox:
    options = {"partitions": 4, "retention_ms": DAY_MS, "lateness_ms": HOUR_MS} | changes
    return PageCountOutbox(partition, needed=needed, **options)


def counts(*some: tuple[str, int, int], watermark_ms: int | None = None, unread: int = 1) -> PageCounts:
    """Return new absolute counts: page, minutes from the first one, count."""
    updates = [PageCount(page, A_MINUTE_MS + minute * MINUTE_MS, count) for page, minute, count in some]
    return PageCounts(0, updates, A_MINUTE_MS if watermark_ms is None else watermark_ms, unread)


def at(minute: int) -> str:
    return minute_name(A_MINUTE_MS + minute * MINUTE_MS)
