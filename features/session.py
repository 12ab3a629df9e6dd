"""The session features: start here to add one.

A feature is one entry of `session_features` and one of `features/catalogue.py`. It may use the event's own columns
and what `Running` carries for the session. Sums are integers; floats are made row by row, with + - x / and sqrt
only, because log and exp give other last bits on other processors.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from features.catalogue import CATALOGUE, NO_GAP_SECONDS
from features.codes import mixed
from features.events import EventColumns
from features.habits import RECENT, Now, Recent, compared, event_code
from features.integer_logs import PARTS, log_of
from features.profile import STEPS, read
from features.running import Running, Tallies
from schemas.events import CLICK, INPUT, LOGIN, LOGIN_FAILED, PAGE_VIEW, TRANSFER

SESSION_GAP_MS = 30 * 60_000
"""A longer pause ends a session's instance: the next event begins another one."""

MAX_GAP_MS = SESSION_GAP_MS
MAX_DISTINCT_PAGES = 16
QUICK_GAP_MS = 100
MOST_OTHERS = 64
DAY_MS, MOST_DAYS = 86_400_000, 30
MEANING = 1
"""Raise this when a feature keeps its name and changes its meaning: it makes another feature set."""

Features = Mapping[str, NDArray[np.float64] | NDArray[np.int64]]


def session_features(events: EventColumns, so_far: Running) -> Features:
    """Compute every feature after each event.

    Args:
        events: A batch grouped by session, in offset order inside each.
        so_far: The running aggregates over exactly these rows.

    Returns:
        One array an entry of the catalogue, one number an event, in the batch's order.
    """
    previous = so_far.previous(page=events.page, ip=events.ip, device=events.device)
    gap_ms = so_far.since_latest_ms(at_most=MAX_GAP_MS)
    gap_log, latency_log = log_of(gap_ms), log_of(events.latency_ms)
    step = _step(events, previous["page"], so_far.begins)
    event = event_code(step, gap_log, latency_log)
    recent = Recent.of(event, so_far.recent("recent", event, RECENT - 1))
    sums = so_far.sums(
        events=1,
        page_views=events.type == PAGE_VIEW,
        clicks=events.type == CLICK,
        inputs=events.type == INPUT,
        logins=events.type == LOGIN,
        login_failures=events.type == LOGIN_FAILED,
        transfers=events.type == TRANSFER,
        gap_ms=gap_ms,
        gap_ms_squared=gap_ms * gap_ms,
        latency_ms=events.latency_ms,
        repeated_pages=events.page == previous["page"],
        ip_changes=_changed(events.ip, previous["ip"]),
        device_changes=_changed(events.device, previous["device"]),
        gap_log=gap_log,
        gap_log_squared=gap_log * gap_log,
        equal_gaps=~so_far.begins & recent.has_gap[1] & (gap_log == recent.gap_log[1]),
        quick_gaps=~so_far.begins & (gap_ms < QUICK_GAP_MS),
        latency_log=latency_log,
        latency_log_squared=latency_log * latency_log,
    )
    count = sums["events"]
    steps = so_far.tallies("steps", step, (gap_log, latency_log), STEPS)

    first_ms = so_far.firsts(first_ms=events.timestamp_ms)["first_ms"]
    duration = (so_far.latest_ms - first_ms) / 1000

    gaps = np.maximum(count - 1, 1)
    gap_mean_ms = sums["gap_ms"] / gaps
    no_gap_ms = int(NO_GAP_SECONDS * 1000)
    gap_min_ms = so_far.min("gap_min_ms", np.where(so_far.begins, no_gap_ms, gap_ms), neutral=no_gap_ms)

    return {
        "session_events": count,
        "session_page_views": sums["page_views"],
        "session_clicks": sums["clicks"],
        "session_inputs": sums["inputs"],
        "session_logins": sums["logins"],
        "session_login_failures": sums["login_failures"],
        "session_transfers": sums["transfers"],
        "session_duration_seconds": duration,
        "session_gap_mean_seconds": gap_mean_ms / 1000,
        "session_gap_std_seconds": _spread(sums["gap_ms"], sums["gap_ms_squared"], gaps) / 1000,
        "session_gap_min_seconds": gap_min_ms / 1000,
        "session_latency_mean_ms": sums["latency_ms"] / count,
        "session_latency_max_ms": so_far.max("latency_max_ms", events.latency_ms),
        "session_distinct_pages": so_far.distinct("pages", events.page, at_most=MAX_DISTINCT_PAGES),
        "session_repeated_pages": sums["repeated_pages"],
        "session_ip_changes": sums["ip_changes"],
        "session_device_changes": sums["device_changes"],
        "session_failure_ratio": sums["login_failures"] / count,
        "session_transfer_ratio": sums["transfers"] / count,
        "session_input_ratio": sums["inputs"] / count,
        "session_events_per_second": count / (1 + duration),
        "device_risk": events.device_risk,
        "account_locked": events.account_locked,
        "user_recent_failures": events.recent_failures,
        **_rhythm(sums, recent),
        "input_other_users": np.minimum(events.input_others, MOST_OTHERS),
        "input_age_days": _age_days(events),
        **_habits(events, steps, recent),
    }


def _rhythm(sums: Mapping[str, NDArray[np.int64]], recent: Recent) -> Features:
    """Derive what the logarithms of pauses and reaction times say, of the whole session and of its last few events."""
    count = sums["events"]
    gaps = np.maximum(count - 1, 1)
    return {
        "session_gap_log_spread": _spread(sums["gap_log"], sums["gap_log_squared"], gaps) / PARTS,
        "session_equal_gap_ratio": sums["equal_gaps"] / gaps,
        "session_quick_gap_ratio": sums["quick_gaps"] / gaps,
        "session_latency_log_spread": _spread(sums["latency_log"], sums["latency_log_squared"], count) / PARTS,
        "session_recent_gap_rise": _rise(recent.gap_log, recent.is_there, sums["gap_log"] / count),
        "session_recent_latency_rise": _rise(recent.latency_log, recent.is_there, sums["latency_log"] / count),
    }


def _age_days(events: EventColumns) -> NDArray[np.float64]:
    """Return for how many whole days each event's masked input has been known to anybody.

    Few different values, because trees cut at quantiles of the rows: most events have no input, most inputs are old,
    and the first days, which matter, would all lie in one cut.
    """
    age = np.maximum(events.timestamp_ms - events.input_since_ms, 0) // DAY_MS
    return np.where(events.input_since_ms > 0, np.minimum(age, MOST_DAYS), CATALOGUE["input_age_days"].neutral)


def _step(events: EventColumns, previous_page: NDArray[np.uint64], begins: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Say how the user got to each event: place 0 for an instance's first one; see `features/profile.py`."""
    code = mixed(mixed(previous_page, events.page), events.type.astype(np.uint64))
    return np.where(begins, 0, 1 + code % np.uint64(STEPS - 1)).astype(np.int64)


def _spread(total: NDArray[np.int64], squares: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the standard deviation of `count` numbers, from their sum and the sum of their squares."""
    mean = total / count
    return np.sqrt(np.maximum(squares / count - mean * mean, 0))


def _rise(recent: NDArray[np.int64], is_there: NDArray[np.bool_], mean_log: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how many doublings the last few events lie above the session's mean."""
    now = np.where(is_there, recent, 0).sum(axis=0) / is_there.sum(axis=0)
    rise: NDArray[np.float64] = (now - mean_log) / PARTS
    return rise


def _habits(events: EventColumns, steps: Tallies, recent: Recent) -> Features:
    """Compare with what is normal for the users of whom something is known."""
    rows = np.flatnonzero(events.profile)
    features = {name: np.full(len(events.profile), CATALOGUE[name].neutral) for name in _OF_HABITS}
    if len(rows):
        columns = (events.timestamp_ms[rows], events.device[rows], events.ip[rows])
        now = Now(steps.after_rows()[rows], recent.take(rows), *columns)
        for name, value in compared(now, read(events.profile[rows].tolist())).items():
            features[name][rows] = value
    return features


_OF_HABITS = tuple(name for name in CATALOGUE if name.startswith("user_") and name != "user_recent_failures")


def _changed(code: NDArray[np.uint64], last_known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Say where a known code differs from the last known one; 0 is not known."""
    changed: NDArray[np.bool_] = (code != 0) & (last_known != 0) & (code != last_known)
    return changed


FEATURES: tuple[str, ...] = tuple(CATALOGUE)
"""The order of the feature vector."""


def matrix_of(features: Features) -> NDArray[np.float64]:
    """Put the features side by side: float64 (events, features), columns in the order of `FEATURES`."""
    matrix = np.empty((len(features[FEATURES[0]]), len(FEATURES)))
    for column, name in enumerate(FEATURES):
        matrix[:, column] = features[name]
    return matrix


FEATURE_SET_ID = hashlib.sha256(f"{MEANING}:{','.join(FEATURES)}".encode()).hexdigest()[:16]
"""Names what the numbers of a vector mean: the features' names, order and meaning."""
