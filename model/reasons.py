"""Why a row got its raw score: what each feature added on the row's path through the trees.

Path contributions (Saabas): every split moves the expected value of the tree, and the move belongs to the split's
feature. With the baseline they add up to the raw score. They are only for flagged rows: plain Python, a row at a time.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifacts import Artifact
from model.trees import baseline_of, trees_of

CODES = {
    "session_events": "UNUSUAL_ACTIVITY",
    "session_page_views": "UNUSUAL_ACTIVITY",
    "session_clicks": "UNUSUAL_ACTIVITY",
    "session_inputs": "UNUSUAL_INPUTS",
    "session_logins": "REPEATED_LOGINS",
    "session_login_failures": "LOGIN_FAILURES",
    "session_transfers": "TRANSFERS",
    "session_duration_seconds": "FAST_SESSION",
    "session_gap_mean_seconds": "RAPID_EVENTS",
    "session_gap_std_seconds": "REGULAR_RHYTHM",
    "session_gap_min_seconds": "RAPID_EVENTS",
    "session_latency_mean_ms": "UNUSUAL_LATENCY",
    "session_latency_max_ms": "UNUSUAL_LATENCY",
    "session_distinct_pages": "UNUSUAL_NAVIGATION",
    "session_repeated_pages": "UNUSUAL_NAVIGATION",
    "session_ip_changes": "ADDRESS_CHANGED",
    "session_device_changes": "DEVICE_CHANGED",
    "session_failure_ratio": "LOGIN_FAILURES",
    "session_transfer_ratio": "TRANSFERS",
    "session_input_ratio": "UNUSUAL_INPUTS",
    "session_events_per_second": "RAPID_EVENTS",
    "device_risk": "DEVICE_RISK",
    "account_locked": "ACCOUNT_LOCKED",
    "user_recent_failures": "RECENT_LOGIN_FAILURES",
    "session_gap_log_spread": "REGULAR_RHYTHM",
    "session_equal_gap_ratio": "REGULAR_RHYTHM",
    "session_quick_gap_ratio": "RAPID_EVENTS",
    "session_latency_log_spread": "UNUSUAL_LATENCY",
    "session_recent_gap_rise": "RHYTHM_CHANGED",
    "session_recent_latency_rise": "CONNECTION_CHANGED",
    "input_other_users": "SHARED_INPUT",
    "input_age_days": "SHARED_INPUT",
    "user_sessions": "LITTLE_KNOWN_USER",
    "user_gap_distance": "RHYTHM_NOT_THE_USERS",
    "user_gap_shift": "RHYTHM_NOT_THE_USERS",
    "user_latency_distance": "CONNECTION_NOT_THE_USERS",
    "user_latency_shift": "CONNECTION_NOT_THE_USERS",
    "user_step_surprise": "NAVIGATION_NOT_THE_USERS",
    "user_new_step_ratio": "NAVIGATION_NOT_THE_USERS",
    "user_recent_gap_distance": "RHYTHM_NOT_THE_USERS",
    "user_recent_gap_shift": "RHYTHM_NOT_THE_USERS",
    "user_recent_latency_distance": "CONNECTION_NOT_THE_USERS",
    "user_recent_latency_shift": "CONNECTION_NOT_THE_USERS",
    "user_recent_step_surprise": "NAVIGATION_NOT_THE_USERS",
    "user_new_device": "NEW_DEVICE",
    "user_new_address": "NEW_ADDRESS",
    "user_hour_share": "UNUSUAL_HOUR",
    "user_idle_days": "LONG_ABSENCE",
}
"""The code of each feature. Codes stand in flags and in the bank's rules: never reuse one for something else."""

_LEAF = -1


class Reason(NamedTuple):
    """One contribution to a flag."""

    code: str
    """Stable, see `CODES`."""
    feature: str
    value: float
    """The feature's value in the flagged row."""
    contribution: float
    """What it added to the log-odds."""
    usual: float | None = None
    """The user's usual value at the end of a session, None where it is not known."""


class Reasons:
    """Explains raw scores of one artifact.

    Args:
        artifact: As `ArtifactShelf.load` checked it.

    Attributes:
        baseline: The raw score before anything is known of a row, the mean over the training rows.
    """

    def __init__(self, artifact: Artifact) -> None:
        self._features = artifact.manifest.feature_names
        self._feature: list[int] = []
        self._threshold: list[float] = []
        self._left: list[int] = []
        self._right: list[int] = []
        self._expected: list[float] = []
        self._roots: list[int] = []
        for nodes in trees_of(artifact.model):
            self._append(nodes)
        self.baseline = baseline_of(artifact.model) + sum(self._expected[root] for root in self._roots)

    def _append(self, nodes: NDArray[np.void]) -> None:
        offset = len(self._feature)
        self._roots.append(offset)
        self._feature += np.where(nodes["is_leaf"] == 1, _LEAF, nodes["feature_idx"]).tolist()
        self._threshold += nodes["num_threshold"].tolist()
        self._left += (nodes["left"].astype(np.int64) + offset).tolist()
        self._right += (nodes["right"].astype(np.int64) + offset).tolist()
        self._expected += _expected_values(nodes)

    def contributions(self, vector: NDArray[np.float64]) -> list[float]:
        """Return what each feature added to the log-odds, in the order of the feature names.

        Args:
            vector: float64 (features,), finite.

        Returns:
            One number a feature; with `baseline` they add up to the raw score.
        """
        feature, threshold, left, right = self._feature, self._threshold, self._left, self._right
        expected = self._expected
        row: list[float] = vector.tolist()
        total = [0.0] * len(row)
        for root in self._roots:
            node = root
            while (split := feature[node]) != _LEAF:
                child = left[node] if row[split] <= threshold[node] else right[node]
                total[split] += expected[child] - expected[node]
                node = child
        return total

    def explain(
        self, vector: NDArray[np.float64], top: int = 5, usual: Mapping[str, float] = MappingProxyType({})
    ) -> list[Reason]:
        """Return what raised a row's score most.

        Args:
            vector: float64 (features,), the flagged row.
            top: The most reasons wanted.
            usual: The user's usual values by feature, as far as they are known.

        Returns:
            Reasons with positive contributions, largest first.
        """
        return [reason for reason in self.of_all(vector, usual)[:top] if reason.contribution > 0]

    def of_all(self, vector: NDArray[np.float64], usual: Mapping[str, float | None]) -> list[Reason]:
        """Return what every feature added, largest first; with `baseline` that is the raw score."""
        contributions = self.contributions(vector)
        names = self._features
        return [
            Reason(CODES[names[at]], names[at], float(vector[at]), contributions[at], usual.get(names[at]))
            for at in sorted(range(len(contributions)), key=lambda at: (-contributions[at], at))
        ]


def _expected_values(nodes: NDArray[np.void]) -> list[float]:
    """Return the mean of the leaves below each node, weighted by their training rows."""
    count: list[int] = nodes["count"].tolist()
    left, right, is_leaf = nodes["left"].tolist(), nodes["right"].tolist(), nodes["is_leaf"].tolist()
    expected: list[float] = nodes["value"].tolist()
    for node in reversed(range(len(expected))):  # children come after their parent
        if not is_leaf[node]:
            low, high = left[node], right[node]
            rows = count[low] + count[high]
            expected[node] = (expected[low] * count[low] + expected[high] * count[high]) / rows
    return expected
