"""Page counts to Redis: `click_count:<page>`, a hash of minutes, and each partition's part in it.

A partition knows its own absolute count of a minute. A script sets that part and moves the total by the difference:
any lane may write at any time, and a replay ends where it began. Old minutes are pruned by event time: behind the
smallest durable watermark of all partitions that have something to read.
"""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition
from redis.exceptions import ResponseError

from dataflows.connectors.redis_writer import Link
from dataflows.items import PageCounts
from dataflows.service import Service
from features.page_windows import MINUTE_MS
from features.snapshot import pack, pack_strings, unpack, unpack_strings
from observability import metrics

PAGES_KEY = "page_counts:pages"
"""Set of all pages that have counts: what pruning goes through."""

WATERMARKS_KEY = "page_counts:watermarks"
"""Hash partition -> durable watermark in ms, with `:idle` behind it where nothing was left to read."""

_IDLE = ":idle"

SET_PARTS = """
local floor = redis.call('HGET', KEYS[2], 'floor')
local refused = 0
for i = 2, #ARGV, 2 do
  local minute, count = ARGV[i], tonumber(ARGV[i + 1])
  if floor and minute < floor then
    refused = refused + 1
  else
    local part = minute .. '|' .. ARGV[1]
    local by = count - tonumber(redis.call('HGET', KEYS[2], part) or '0')
    if by ~= 0 then
      redis.call('HINCRBY', KEYS[1], minute, by)
      redis.call('HSET', KEYS[2], part, count)
    end
  end
end
return refused
"""

PRUNE = """
local floor = redis.call('HGET', KEYS[2], 'floor')
if floor and floor >= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'floor', ARGV[1])
redis.call('ZREMRANGEBYLEX', KEYS[3], '-', '(' .. ARGV[1])
local pruned = 0
if floor and floor >= ARGV[3] then
  for i = 3, #ARGV do
    if ARGV[i] >= floor then
      pruned = pruned + redis.call('HDEL', KEYS[1], ARGV[i])
      pruned = pruned + redis.call('HDEL', KEYS[2], ARGV[i] .. '|backfill')
      for partition = 0, ARGV[2] - 1 do
        pruned = pruned + redis.call('HDEL', KEYS[2], ARGV[i] .. '|' .. partition)
      end
    end
  end
  return pruned
end
for _, key in ipairs({KEYS[1], KEYS[2]}) do
  for _, field in ipairs(redis.call('HKEYS', key)) do
    if field ~= 'floor' and field < ARGV[1] then pruned = pruned + redis.call('HDEL', key, field) end
  end
end
return pruned
"""
"""Sets the floor of a page and deletes what is below: of the minutes listed if the old floor lies among them, else
after a look at every field. Redis stands still meanwhile: 9 ms for a day of 8 partitions, against less than 1 ms."""

_LISTED_MINUTES = 60
_KIND = "page_counts"
_KEEP_SNAPSHOTS = 2


def minute_name(minute_ms: int) -> str:
    """Return the field of a minute: `2025-06-10T05:04:00`, UTC."""
    return datetime.fromtimestamp(minute_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def keys_of(page: str) -> tuple[str, str, str]:
    """Return a page's counts, the parts of them, and the marks of what was added later (`backfill.py`); one slot."""
    return f"click_count:{page}", f"{{click_count:{page}}}:parts", f"{{click_count:{page}}}:backfilled"


def durable_watermarks(published: Mapping[str, str]) -> dict[int, int]:
    """Return by partition what is published under `WATERMARKS_KEY`, in ms."""
    times = {int(partition): value.removesuffix(_IDLE) for partition, value in published.items()}
    return {partition: int(time_ms) for partition, time_ms in times.items() if time_ms.isdecimal()}


def prune_before(watermarks: dict[str, str], needed: Collection[int]) -> int | None:
    """Return the time in ms behind which the retention counts; None while it cannot be known.

    It is the smallest watermark of the partitions that still have something to read; a partition that has been read
    to its end must not hold the others back, so where all have, it is the largest.

    Args:
        watermarks: What the partitions have published under `WATERMARKS_KEY`.
        needed: The partitions that have records: while one has not published, nobody knows what it may yet count.

    >>> prune_before({"0": "600000", "1": "120000", "2": "0:idle"}, [0, 1])
    120000
    >>> prune_before({"0": "600000:idle", "2": "0:idle"}, [0, 2])
    600000
    """
    if not {str(partition) for partition in needed} <= watermarks.keys():
        return None
    reading = [int(value) for value in watermarks.values() if not value.endswith(_IDLE)]
    idle = [int(value.removesuffix(_IDLE)) for value in watermarks.values() if value.endswith(_IDLE)]
    return min(reading) if reading else max(idle, default=None)


class PageCountOutbox:
    """The newest counts of one partition: those that Redis has yet to take, and those it may yet lose.

    Args:
        partition: Whose counts.
        partitions: How many the topic has.
        retention_ms: How long minutes stay in Redis, behind the durable watermark.
        lateness_ms: How long minutes stay open here.
        needed: The partitions that have records, ours and others'.
        forget_floors: Whether to take back pruning first: everything is counted again.
    """

    def __init__(
        self,
        partition: int,
        *,
        partitions: int,
        retention_ms: int,
        lateness_ms: int,
        needed: Collection[int],
        forget_floors: bool = False,
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._needed = needed
        self._retention_ms = retention_ms
        self._lateness_ms = lateness_ms
        self._forget_floors = forget_floors
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, int], int] = {}
        self._written_at: dict[tuple[str, int], int] = {}
        self._dirty: set[tuple[str, int]] = set()
        self._snapshots = 0
        self._watermark_ms: int | None = None
        self._snapshot_watermark_ms: int | None = None
        self._durable_ms: int | None = None
        self._taken_ms: int | None = None
        """The watermark when Redis last took counts: what was closed by then it did have."""
        self._is_idle = False
        self._published = ""
        self._floor = ""

    def put(self, update: PageCounts) -> None:
        """Take the counts that a batch changed."""
        with self._lock:
            for count in update.counts:
                window = (count.page, count.minute_ms)
                self._counts[window] = count.count
                self._written_at[window] = self._snapshots
                self._dirty.add(window)
            self._watermark_ms = update.watermark_ms
            self._is_idle = update.unread == 0

    def connected(self) -> None:
        """Write everything again: Redis may be another one, or an older one."""
        with self._lock:
            self._dirty = set(self._counts)
            self._published = self._floor = ""

    def write_to(self, link: Link) -> None:
        """Write everything pending; keep it if the call fails."""
        if self._forget_floors:
            self._drop_floors(link)
            self._forget_floors = False
        with self._lock:
            counts, watermark_ms = {window: self._counts[window] for window in self._dirty}, self._watermark_ms
        if counts:
            self._write(link, counts)
        with self._lock:
            if counts:
                self._taken_ms = watermark_ms
            self._dirty -= {window for window, count in counts.items() if self._counts[window] == count}
        self._prune(link)

    def _write(self, link: Link, counts: dict[tuple[str, int], int]) -> None:
        by_page: dict[str, list[str | int]] = {}
        for (page, minute_ms), count in counts.items():
            by_page.setdefault(page, []).extend([minute_name(minute_ms), count])
        commands: list[tuple[Any, ...]] = [("SADD", PAGES_KEY, *by_page)]
        commands += [
            ("EVAL", SET_PARTS, 2, *keys_of(page)[:2], self._partition, *args) for page, args in by_page.items()
        ]
        _, *refused = link.call(*commands)
        metrics.PAGE_COUNTS_REFUSED.inc(sum(reply for reply in refused if isinstance(reply, int)))

    def _prune(self, link: Link) -> None:
        """Publish our durable watermark, and prune what is too far behind the smallest of all."""
        with self._lock:
            durable_ms, is_idle = self._durable_ms, self._is_idle
        if durable_ms is None:
            return
        mine = f"{durable_ms // MINUTE_MS * MINUTE_MS}{_IDLE if is_idle else ''}"
        if mine == self._published:
            return
        publish = ("HSET", WATERMARKS_KEY, self._partition, mine)
        _, reply = link.call(publish, ("HGETALL", WATERMARKS_KEY))
        self._published = mine
        horizon_ms = prune_before(_watermarks(reply), self._needed)
        if horizon_ms is not None:
            self._prune_to(link, horizon_ms - self._retention_ms)

    def _prune_to(self, link: Link, floor_ms: int) -> None:
        floor = minute_name(floor_ms)
        if floor <= self._floor:
            return
        first_ms = floor_ms // MINUTE_MS * MINUTE_MS - _LISTED_MINUTES * MINUTE_MS
        minutes = [minute_name(minute_ms) for minute_ms in range(first_ms, floor_ms, MINUTE_MS)]
        for page in _pages(link):  # one a call, so that Redis can serve others in between
            link.call(("EVAL", PRUNE, 3, *keys_of(page), floor, self._partitions, *minutes))
        self._floor = floor

    def _drop_floors(self, link: Link) -> None:
        """Take back all pruning, and what we published in another life: nobody may prune by that before us."""
        floors = (("HDEL", keys_of(page)[1], "floor") for page in _pages(link))
        link.call(("HDEL", WATERMARKS_KEY, self._partition), *floors)

    def snapshot(self) -> bytes:
        """Write the counts that Redis may yet lose: of open minutes, and of those written since two snapshots."""
        with self._lock:
            self._durable_ms, self._snapshot_watermark_ms = self._snapshot_watermark_ms, self._watermark_ms
            self._snapshots += 1
            self._forget_closed()
            columns = {
                "minute_ms": np.array([minute_ms for _, minute_ms in self._counts], dtype=np.int64),
                "count": np.array(list(self._counts.values()), dtype=np.int64),
            }
            names = pack_strings([page for page, _ in self._counts])
            return pack(_KIND, columns | names, {"watermark_ms": self._watermark_ms, "is_idle": self._is_idle})

    def _forget_closed(self) -> None:
        """Give up what was closed already when Redis last took counts: then it had them, and the minute was over."""
        if self._taken_ms is None:
            return
        closed_ms = self._taken_ms - self._lateness_ms - MINUTE_MS
        for window in [
            window
            for window, written_at in self._written_at.items()
            if window[1] <= closed_ms and written_at < self._snapshots - _KEEP_SNAPSHOTS and window not in self._dirty
        ]:
            del self._counts[window], self._written_at[window]

    def restore(self, stored: bytes) -> None:
        """Take over the counts of a snapshot; they are written with the next connection."""
        snapshot = unpack(_KIND, stored)
        windows = zip(unpack_strings(snapshot.columns), snapshot.columns["minute_ms"].tolist(), strict=True)
        self._counts |= zip(windows, snapshot.columns["count"].tolist(), strict=True)
        self._written_at |= dict.fromkeys(self._counts, 0)
        self._dirty = set(self._counts)
        self._watermark_ms = self._snapshot_watermark_ms = snapshot.scalars["watermark_ms"]
        self._is_idle = snapshot.scalars.get("is_idle", False)


def _pages(link: Link) -> list[str]:
    (pages,) = link.call(("SMEMBERS", PAGES_KEY))
    return [] if isinstance(pages, ResponseError) else sorted(page.decode(errors="replace") for page in pages)


def _watermarks(reply: Any) -> dict[str, str]:
    """Read a hash, a dict from a RESP 3 connection, a flat list from an older one; leave out what is no watermark."""
    if isinstance(reply, ResponseError):
        return {}
    pairs = reply.items() if isinstance(reply, dict) else zip(reply[::2], reply[1::2], strict=True)
    texts = ((field.decode(errors="replace"), value.decode(errors="replace")) for field, value in pairs)
    return {field: value for field, value in texts if value.removesuffix(_IDLE).isdecimal()}


@dataclass(frozen=True, slots=True)
class PageCountSink(FixedPartitionedSink[PageCounts, bytes]):
    """Keeps `click_count:<page>` exact; one part a partition."""

    service: Service

    def list_parts(self) -> list[str]:
        """Return one part a partition."""
        return self.service.lane.keys()

    def part_fn(self, item_key: str) -> int:
        """Give every partition its own part."""
        return self.service.lane.part_of(item_key)

    def build_part(self, _step_id: str, for_part: str, resume_state: bytes | None) -> "PageCountPart":
        """Open a part, with the counts of its snapshot."""
        settings = self.service.settings
        outbox = PageCountOutbox(
            int(for_part),
            partitions=self.service.lane.topic_partitions,
            retention_ms=settings.page_count_retention_seconds * 1000,
            lateness_ms=settings.lateness_ms,
            needed=self.service.lane.with_records(),
            forget_floors=resume_state is None and settings.start_from == "beginning",
        )
        if resume_state is not None:
            outbox.restore(resume_state)
        self.service.redis_writer.add(outbox)
        return PageCountPart(self.service, outbox)


@dataclass(frozen=True, slots=True)
class PageCountPart(StatefulSinkPartition[PageCounts, bytes]):
    """One partition's counts."""

    service: Service
    outbox: PageCountOutbox

    def write_batch(self, values: list[PageCounts]) -> None:
        """Leave the counts for the writer."""
        for update in values:
            self.outbox.put(update)

    def snapshot(self) -> bytes:
        """Return the counts that Redis may yet lose; at the end it gets a moment to take the rest."""
        if self.service.ending.stopping:
            self.service.redis_writer.drain()
        return self.outbox.snapshot()
