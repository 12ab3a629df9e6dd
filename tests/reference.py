"""The specification of event time and features: a plain reference that takes one record at a time.

Every rule that the columns of `features` follow is stated and done here once more, in plain Python, in the
order in which a person would explain it. It imports nothing of ours but its other half, `reference_habits`, and no
NumPy or Polars: the two implementations share no code, so that a mistake in one shows as a difference. It never frees
memory and never looks at a batch, so it cannot depend on one.

All times are event times in ms since 1970 (UTC); the rows of one partition come in offset order.
"""

import math
import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from tests.reference_habits import NOTHING_KNOWN, ReferenceRhythm, reference_age_days, reference_habits

EVENT_TYPES = ("page_view", "click", "input", "login", "login_failed", "transfer", "logout", "other")
MINUTE_MS = 60_000
DAY_MS = 86_400_000
LATENESS_MS = 3_600_000
AHEAD_MS = 3_600_000
SESSION_GAP_MS = 1_800_000
HORIZON = 262_144
PAGES_A_DAY = 500
PAGE_BYTES = 256
PAGES_REMEMBERED = 16
NO_GAP_SECONDS = 100_000.0
FEATURES = (
    "session_events",
    "session_page_views",
    "session_clicks",
    "session_inputs",
    "session_logins",
    "session_login_failures",
    "session_transfers",
    "session_duration_seconds",
    "session_gap_mean_seconds",
    "session_gap_std_seconds",
    "session_gap_min_seconds",
    "session_latency_mean_ms",
    "session_latency_max_ms",
    "session_distinct_pages",
    "session_repeated_pages",
    "session_ip_changes",
    "session_device_changes",
    "session_failure_ratio",
    "session_transfer_ratio",
    "session_input_ratio",
    "session_events_per_second",
    "device_risk",
    "account_locked",
    "user_recent_failures",
    "session_gap_log_spread",
    "session_equal_gap_ratio",
    "session_quick_gap_ratio",
    "session_latency_log_spread",
    "session_recent_gap_rise",
    "session_recent_latency_rise",
    "input_other_users",
    "input_age_days",
    *NOTHING_KNOWN,
)

Verdict = Literal["duplicate", "late", "admitted"]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
_DIGITS = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class ReferenceRow:
    """One valid event: the fields that decide something, its offset, and what the stores answered for it."""

    session_id: str
    event_id: str
    event_type: int
    """Code: the position in EVENT_TYPES."""
    timestamp: int
    page: str = "/"
    """As received."""
    latency_ms: int = 0
    device_fingerprint: str = ""
    ip: str | None = None
    """Normal form, None when it did not parse."""
    offset: int = 0
    device_risk: float = 0.0
    account_locked: float = 0.0
    recent_failures: float = 0.0
    input_others: float = 0.0
    input_since_ms: float = 0.0
    profile: bytes = b""

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """Take the fields from a BankingUIEvent record, which may also carry its offset and enrichment."""
        known = {name: record[name] for name in cls.__slots__ if name in record}
        return cls(**{**known, "event_type": EVENT_TYPES.index(record["event_type"])})


class ReferenceAdmission:
    """Judges the rows of one partition: duplicate, else late, else admitted.

    1. A row is a duplicate if its (session_id, event_id, event_type, timestamp) is that of one of the last
       `horizon` admitted rows.
    2. A row is late if timestamp < watermark - lateness, strictly. While there is no watermark nothing is
       late.
    3. Every other row is admitted and remembered; only then may it move the watermark W.

    Neither a duplicate nor a late row moves anything. How an admitted row moves W:

    - Not ahead (W exists and timestamp <= W + ahead): W = max(W, timestamp); a candidate that is now no
      longer ahead is dropped and moves nothing.
    - Ahead (no W yet, or timestamp > W + ahead) and there is no candidate: the row becomes the candidate, W
      stays.
    - Ahead, and the candidate is of the same session: the candidate's timestamp becomes the smaller of the
      two, W stays.
    - Ahead, and the candidate is of another session: W becomes the smaller of the two timestamps. The row
      with the larger one is the candidate if it is still ahead of that W; else, or if both are equal, there
      is no candidate.

    So one wild clock never moves the watermark, and the first session of a partition alone does not start it.

    `event_id_reused` counts admitted rows whose (session_id, event_id) is that of one of the last `horizon`
    admitted rows, which then has another type or timestamp.
    """

    def __init__(self, horizon: int = HORIZON, lateness_ms: int = LATENESS_MS, ahead_ms: int = AHEAD_MS) -> None:
        self.watermark: int | None = None
        self.candidate: tuple[int, str] | None = None
        self.counts: Counter[Verdict] = Counter()
        self.event_id_reused = 0
        self._horizon = horizon
        self._lateness_ms = lateness_ms
        self._ahead_ms = ahead_ms
        self._ring: deque[tuple[str, str, int, int]] = deque()
        self._in_ring: set[tuple[str, str, int, int]] = set()
        self._ids_in_ring: Counter[tuple[str, str]] = Counter()

    def judge(self, row: ReferenceRow) -> Verdict:
        """Say what becomes of the next row, and remember it if it is admitted."""
        verdict = self._verdict(row)
        self.counts[verdict] += 1
        if verdict == "admitted":
            self._remember(row)
            self._move_watermark(row.timestamp, row.session_id)
        return verdict

    def is_ahead(self, timestamp: int) -> bool:
        """Whether a row at this time would only be held as a candidate."""
        return self.watermark is None or timestamp > self.watermark + self._ahead_ms

    def _verdict(self, row: ReferenceRow) -> Verdict:
        if (row.session_id, row.event_id, row.event_type, row.timestamp) in self._in_ring:
            return "duplicate"
        if self.watermark is not None and row.timestamp < self.watermark - self._lateness_ms:
            return "late"
        return "admitted"

    def _remember(self, row: ReferenceRow) -> None:
        self.event_id_reused += self._ids_in_ring[row.session_id, row.event_id] > 0
        content = (row.session_id, row.event_id, row.event_type, row.timestamp)
        self._ring.append(content)
        self._in_ring.add(content)
        self._ids_in_ring[row.session_id, row.event_id] += 1
        if len(self._ring) > self._horizon:
            gone = self._ring.popleft()
            self._in_ring.remove(gone)
            self._ids_in_ring[gone[:2]] -= 1

    def _move_watermark(self, timestamp: int, session_id: str) -> None:
        if self.watermark is not None and not self.is_ahead(timestamp):
            self.watermark = max(self.watermark, timestamp)
            self._keep_candidate(self.candidate)
        elif self.candidate is None:
            self.candidate = (timestamp, session_id)
        elif self.candidate[1] == session_id:
            self.candidate = (min(self.candidate[0], timestamp), session_id)
        else:
            smaller, larger = sorted([self.candidate, (timestamp, session_id)])
            self.watermark = smaller[0]
            self._keep_candidate(larger)

    def _keep_candidate(self, candidate: tuple[int, str] | None) -> None:
        self.candidate = candidate if candidate is not None and self.is_ahead(candidate[0]) else None


def reference_page(page: str) -> str:
    """Give the normal form of a page, under which it is counted and compared.

    In this order: cut at the first `?` or `#`; control characters (below 0x20, and 0x7f) and braces are
    removed; of the parts between slashes, one that is all ASCII digits becomes `:n` and a uuid `:uuid`; an
    empty result is `/`; at most 256 bytes of UTF-8 are kept, whole characters only.
    """
    path = re.split(r"[?#]", page, maxsplit=1)[0]
    clean = "".join(c for c in path if c >= " " and c not in "\x7f{}")
    joined = "/".join(_reference_part(part) for part in clean.split("/"))
    return (joined or "/").encode()[:PAGE_BYTES].decode(errors="ignore")


def _reference_part(part: str) -> str:
    if _DIGITS.fullmatch(part):
        return ":n"
    return ":uuid" if _UUID.fullmatch(part) else part


class ReferencePageWindows:
    """Counts admitted rows of one partition by page and minute: `counts[page, minute_ms]`.

    The page is normalised, the minute is one of event time. A UTC day of event time knows at most `most`
    distinct pages: a page not yet seen on that day, when `most` already are, is counted as page `other`. That
    name takes no place among them, whether it stands for the rest or came as a page.
    """

    def __init__(self, most: int = PAGES_A_DAY) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        self._most = most
        self._seen: dict[int, set[str]] = {}

    def update(self, row: ReferenceRow) -> tuple[str, int]:
        """Count one admitted row; gives the (page, minute in ms) it was counted under."""
        page = self._within_limit(reference_page(row.page), row.timestamp // DAY_MS)
        window = (page, row.timestamp // MINUTE_MS * MINUTE_MS)
        self.counts[window] += 1
        return window

    def _within_limit(self, page: str, day: int) -> str:
        seen = self._seen.setdefault(day, set())
        if page == "other" or (page not in seen and len(seen) >= self._most):
            return "other"
        seen.add(page)
        return page


@dataclass(slots=True)
class ReferenceInstance:
    """What is known of one instance of a session: integers, and the values of the last row that knew them."""

    first: int
    """Timestamp of its first row in offset order; a later row with an older timestamp does not change it."""
    first_offset: int
    latest: int
    """Largest timestamp so far."""
    events: int = 0
    by_type: Counter[int] = field(default_factory=Counter)
    gap_sum: int = 0
    gap_square_sum: int = 0
    gap_min: int | None = None
    latency_sum: int = 0
    latency_max: int = 0
    pages: set[str] = field(default_factory=set)
    last_page: str | None = None
    repeated_pages: int = 0
    last_ip: str | None = None
    ip_changes: int = 0
    last_device: str | None = None
    device_changes: int = 0
    rhythm: ReferenceRhythm = field(default_factory=ReferenceRhythm)


class ReferenceSessions:
    """Keeps the running features of every session of one partition; takes admitted rows only.

    A row strictly more than the session gap (30 min) after its session's latest timestamp is the first row of
    a new instance, for which all state is neutral. Any other row joins; its gap is the time since the latest
    timestamp before it, 0 if it is older, and an instance's first row has none. Logout ends nothing.
    """

    def __init__(self, session_gap_ms: int = SESSION_GAP_MS) -> None:
        self._session_gap_ms = session_gap_ms
        self._instances: dict[str, ReferenceInstance] = {}

    def instance(self, session_id: str) -> ReferenceInstance | None:
        """Give the newest instance of a session, None if the session was never seen."""
        return self._instances.get(session_id)

    def update(self, row: ReferenceRow) -> list[float]:
        """Take one admitted row; gives the features after it, in the order of FEATURES."""
        instance = self._instances.get(row.session_id)
        if instance is None or row.timestamp > instance.latest + self._session_gap_ms:
            instance = ReferenceInstance(first=row.timestamp, first_offset=row.offset, latest=row.timestamp)
            self._instances[row.session_id] = instance
            gap = None
        else:
            gap = self._count_gap(instance, row.timestamp)
        page = reference_page(row.page)
        instance.events += 1
        instance.by_type[row.event_type] += 1
        instance.latency_sum += row.latency_ms
        instance.latency_max = max(instance.latency_max, row.latency_ms)
        _count_page(instance, page)
        _count_changes(instance, row.ip, row.device_fingerprint)
        instance.rhythm.add(gap, row.latency_ms, page, row.event_type)
        answers = [row.device_risk, row.account_locked, row.recent_failures]
        inputs = [min(row.input_others, 64.0), reference_age_days(row.input_since_ms, row.timestamp)]
        habits = reference_habits(row.profile, instance.rhythm, row.timestamp, row.device_fingerprint, row.ip or "")
        return [*_features(instance), *answers, *instance.rhythm.features(), *inputs, *habits]

    def _count_gap(self, instance: ReferenceInstance, timestamp: int) -> int:
        gap = min(max(0, timestamp - instance.latest), self._session_gap_ms)
        instance.gap_sum += gap
        instance.gap_square_sum += gap * gap
        instance.gap_min = gap if instance.gap_min is None else min(instance.gap_min, gap)
        instance.latest = max(instance.latest, timestamp)
        return gap


def _count_page(instance: ReferenceInstance, page: str) -> None:
    """Count repeats (equal to the page of the row before) and distinct pages (16 are remembered, no more)."""
    instance.repeated_pages += page == instance.last_page
    instance.last_page = page
    if len(instance.pages) < PAGES_REMEMBERED:
        instance.pages.add(page)


def _count_changes(instance: ReferenceInstance, ip: str | None, device: str) -> None:
    """Count known values that differ from the last known one; an unknown one changes and replaces nothing."""
    if ip is not None:
        instance.ip_changes += instance.last_ip is not None and ip != instance.last_ip
        instance.last_ip = ip
    if device:
        instance.device_changes += instance.last_device is not None and device != instance.last_device
        instance.last_device = device


def _features(instance: ReferenceInstance) -> list[float]:
    """Derive the features that come from events.

    The order of the float operations is specified. An integer becomes a float (to the nearest) before it is
    divided: only sums beyond 2**53 can tell.
    """
    page_view, click, typed, login, login_failed, transfer = (float(instance.by_type[code]) for code in range(6))
    events = float(instance.events)
    gaps = float(max(instance.events - 1, 1))
    gap_mean_ms = float(instance.gap_sum) / gaps
    gap_variance = float(instance.gap_square_sum) / gaps - gap_mean_ms * gap_mean_ms
    duration_seconds = float(max(0, instance.latest - instance.first)) / 1000
    return [
        events,
        page_view,
        click,
        typed,
        login,
        login_failed,
        transfer,
        duration_seconds,
        gap_mean_ms / 1000,
        math.sqrt(max(gap_variance, 0.0)) / 1000,
        NO_GAP_SECONDS if instance.gap_min is None else float(instance.gap_min) / 1000,
        float(instance.latency_sum) / events,
        float(instance.latency_max),
        float(len(instance.pages)),
        float(instance.repeated_pages),
        float(instance.ip_changes),
        float(instance.device_changes),
        login_failed / events,
        transfer / events,
        typed / events,
        events / (1 + duration_seconds),
    ]
