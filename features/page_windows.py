"""How many events each page had in each minute of event time, for one partition.

Counts are absolute, so that writing one twice changes nothing. A minute is kept while an admitted row may still fall
into it; the watermark, not the clock, says how long that is.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Self

import numpy as np
import polars as pl

from features.pages import OTHER_PAGE
from features.snapshot import pack, pack_strings, unpack, unpack_strings

MINUTE_MS = 60_000
DAY_MS = 86_400_000
DEFAULT_LATENESS_MS = 60 * MINUTE_MS
MAX_PAGES_A_DAY = 500

_KIND = "page_windows"


@dataclass(frozen=True, slots=True)
class PageCount:
    """The partition's number of events of a page in the minute that begins at `minute_ms`."""

    page: str
    minute_ms: int
    count: int


class PageWindows:
    """The open minutes of one partition.

    Args:
        lateness_ms: How far behind the watermark a row may still come.
        max_pages: The most different pages counted by name in one UTC day; the rest is counted as `OTHER_PAGE`.
    """

    def __init__(self, lateness_ms: int = DEFAULT_LATENESS_MS, max_pages: int = MAX_PAGES_A_DAY) -> None:
        self.lateness_ms = lateness_ms
        self.max_pages = max_pages
        self._counts: Counter[tuple[str, int]] = Counter()
        self._pages: dict[int, set[str]] = {}
        """The pages seen on each day, by the day's first millisecond."""

    def __len__(self) -> int:
        return len(self._counts)

    def count(self, events: pl.DataFrame, watermark_ms: int | None) -> list[PageCount]:
        """Count a batch of admitted events.

        Args:
            events: Event frame with normalised pages, in offset order.
            watermark_ms: The partition's watermark after the batch.

        Returns:
            The new count of every page and minute that the batch changed.
        """
        minutes = events["timestamp"].to_numpy() // MINUTE_MS * MINUTE_MS
        changed: dict[tuple[str, int], None] = {}
        for (page, minute_ms), count in Counter(zip(events["page"].to_list(), minutes.tolist(), strict=True)).items():
            window = (self._name(page, minute_ms), minute_ms)
            self._counts[window] += count
            changed[window] = None
        updates = [PageCount(page, minute_ms, self._counts[page, minute_ms]) for page, minute_ms in changed]
        if watermark_ms is not None:
            self._close(watermark_ms - self.lateness_ms)
        return updates

    def _name(self, page: str, minute_ms: int) -> str:
        """Return the page, or `OTHER_PAGE` if it is one too many for its day. First come, first counted by name."""
        if page == OTHER_PAGE:
            return page
        pages = self._pages.setdefault(minute_ms // DAY_MS * DAY_MS, set())
        if page not in pages:
            if len(pages) >= self.max_pages:
                return OTHER_PAGE
            pages.add(page)
        return page

    def _close(self, before_ms: int) -> None:
        """Forget what no admitted row can reach: all that ended at or before this time."""
        for window in [window for window in self._counts if window[1] + MINUTE_MS <= before_ms]:
            del self._counts[window]
        for day_ms in [day_ms for day_ms in self._pages if day_ms + DAY_MS <= before_ms]:
            del self._pages[day_ms]

    def snapshot(self) -> bytes:
        """Write the state as bytes."""
        seen = [(day_ms, page) for day_ms, pages in self._pages.items() for page in sorted(pages)]
        columns = {
            "minute_ms": np.array([minute_ms for _, minute_ms in self._counts], dtype=np.int64),
            "count": np.array(list(self._counts.values()), dtype=np.int64),
            "day_ms": np.array([day_ms for day_ms, _ in seen], dtype=np.int64),
        }
        names = [page for page, _ in self._counts] + [page for _, page in seen]
        return pack(_KIND, columns | pack_strings(names))

    def restore(self, stored: bytes) -> Self:
        """Take over the state of a snapshot; return self.

        Raises:
            SnapshotError: If the bytes are something else.
        """
        columns = unpack(_KIND, stored).columns
        names = unpack_strings(columns)
        windows = columns["minute_ms"].tolist()
        for page, minute_ms, count in zip(names, windows, columns["count"].tolist(), strict=False):
            self._counts[page, minute_ms] = count
        for page, day_ms in zip(names[len(windows) :], columns["day_ms"].tolist(), strict=True):
            self._pages.setdefault(day_ms, set()).add(page)
        return self
