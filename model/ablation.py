"""What each family of features is worth: the figures of models that were trained without it."""

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import average_precision_score

from features.catalogue import CATALOGUE
from features.session import FEATURES
from model.examples import Examples
from model.fitting import Plan, classifier
from model.metrics import sessions_of, threshold_of
from model.scorer import Scores

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "activity": (
        *("session_events", "session_page_views", "session_clicks", "session_inputs", "session_logins"),
        *("session_transfers", "session_transfer_ratio", "session_input_ratio", "session_duration_seconds"),
    ),
    "failed logins": ("session_login_failures", "session_failure_ratio"),
    "rhythm": (
        *("session_gap_mean_seconds", "session_gap_std_seconds", "session_gap_min_seconds"),
        *("session_events_per_second", "session_gap_log_spread", "session_equal_gap_ratio", "session_quick_gap_ratio"),
        "session_recent_gap_rise",
    ),
    "navigation": ("session_distinct_pages", "session_repeated_pages"),
    "connection": (
        *("session_latency_mean_ms", "session_latency_max_ms", "session_latency_log_spread"),
        "session_recent_latency_rise",
        *("session_ip_changes", "session_device_changes"),
    ),
    "what stores know": (
        "device_risk",
        "account_locked",
        "user_recent_failures",
        "input_other_users",
        "input_age_days",
    ),
    "the user's rhythm": (
        *("user_gap_distance", "user_gap_shift", "user_recent_gap_distance", "user_recent_gap_shift"),
    ),
    "the user's connection": (
        *("user_latency_distance", "user_latency_shift"),
        *("user_recent_latency_distance", "user_recent_latency_shift"),
    ),
    "the user's navigation": ("user_step_surprise", "user_new_step_ratio", "user_recent_step_surprise"),
    "the user's devices and times": (
        *("user_sessions", "user_new_device", "user_new_address", "user_hour_share", "user_idle_days"),
    ),
}
"""Every feature is in one family (tested)."""


def without(examples: Examples, family: str) -> Examples:
    """Return examples in which a family says nothing: all its features have their neutral values."""
    matrix = examples.matrix.copy()
    for name in FAMILIES[family]:
        matrix[:, FEATURES.index(name)] = CATALOGUE[name].neutral
    columns = {name: getattr(examples, name) for name in Examples.__slots__}
    return Examples(**(columns | {"matrix": matrix}))


def worth_of_families(train: Examples, test: Examples, plan: Plan) -> dict[str, dict[str, float]]:
    """Train on all features, and without each family; return average precision and recall of each on the test.

    Args:
        train: To learn from.
        test: To judge by, of other sessions.
        plan: Parameters of the model.

    Returns:
        By family, and under `none` with every feature.
    """
    found = {"none": _figures(train, test, plan)}
    for family in FAMILIES:
        found[family] = _figures(without(train, family), without(test, family), plan)
    return found


def _figures(train: Examples, test: Examples, plan: Plan) -> dict[str, float]:
    model = classifier(plan).fit(train.matrix, train.label, sample_weight=train.weight)
    raw = model.decision_function(test.matrix)
    sessions = sessions_of(test, Scores(raw, np.zeros(len(raw))))
    caught = sessions.raw[sessions.is_fraud] > threshold_of(sessions)
    precision = average_precision_score(sessions.is_fraud, sessions.raw)
    return {"average_precision": round(float(precision), 4), "recall": round(float(caught.mean()), 4)}
