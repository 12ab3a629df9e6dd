"""How good scores are, by event and by session: the figures of a manifest and of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from model.examples import HONEST, Examples
from model.scorer import Scores

FALSE_ALARMS = 0.005
"""Share of honest sessions that may be flagged where recall is measured."""

LEVELS = {"review": 0.8, "block": 0.95}
"""The levels of a new installation, on the calibrated score; strictly greater crosses."""


@dataclass(frozen=True, slots=True)
class _Sessions:
    """The largest scores of every session; of an attacked one only from the onset on."""

    raw: NDArray[np.float64]
    score: NDArray[np.float64]
    is_fraud: NDArray[np.bool_]
    kind: NDArray[np.str_]


def metrics_of(examples: Examples, scores: Scores) -> dict[str, object]:
    """Measure scores against the truth.

    Args:
        examples: Rows with fraud and honest ones among them.
        scores: Of these rows.

    Returns:
        Figures fit for JSON. Session figures take a session's largest score; `recall` and `recall_by_kind` are taken
        where `FALSE_ALARMS` of the honest sessions are flagged, `levels` at the levels of a new installation.
    """
    sessions = _sessions_of(examples, scores)
    caught = sessions.raw > _threshold(sessions.raw[~sessions.is_fraud])
    return {
        "average_precision": _rounded(average_precision_score(sessions.is_fraud, sessions.raw)),
        "auc": _rounded(roc_auc_score(sessions.is_fraud, sessions.raw)),
        "event_average_precision": _rounded(average_precision_score(examples.label, scores.raw)),
        "event_auc": _rounded(roc_auc_score(examples.label, scores.raw)),
        "recall": _share(caught[sessions.is_fraud]),
        "recall_by_kind": _by_kind(caught, sessions),
        "levels": {name: _at_level(sessions, threshold) for name, threshold in LEVELS.items()},
        "flagged_before_transfer": _before_transfer(examples, scores),
        "sessions": len(sessions.raw),
        "fraud_sessions": int(sessions.is_fraud.sum()),
        "events": len(examples),
        "fraud_events": int(examples.label.sum()),
    }


def _sessions_of(examples: Examples, scores: Scores) -> _Sessions:
    """Reduce rows to sessions. Flags before the onset are of no merit, so these rows of attacks are left out."""
    honest = examples.kind == HONEST
    rows = np.flatnonzero(honest | (examples.label == 1))
    rows = rows[np.argsort(examples.session[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(examples.session[rows], prepend=-1))
    return _Sessions(
        raw=np.maximum.reduceat(scores.raw[rows], starts),
        score=np.maximum.reduceat(scores.score[rows], starts),
        is_fraud=~honest[rows][starts],
        kind=examples.kind[rows][starts],
    )


def _threshold(honest: NDArray[np.float64]) -> float:
    """Return the raw score that at most `FALSE_ALARMS` of the honest sessions exceed."""
    return float(np.sort(honest)[::-1][int(len(honest) * FALSE_ALARMS)])


def _by_kind(caught: NDArray[np.bool_], sessions: _Sessions) -> dict[str, float | None]:
    kinds = sorted(set(sessions.kind[sessions.is_fraud].tolist()))
    return {kind: _share(caught[sessions.kind == kind]) for kind in kinds}


def _at_level(sessions: _Sessions, threshold: float) -> Mapping[str, object]:
    crossed = sessions.score > threshold
    return {
        "recall": _share(crossed[sessions.is_fraud]),
        "false_alarms": _share(crossed[~sessions.is_fraud]),
        "recall_by_kind": _by_kind(crossed, sessions),
    }


def _before_transfer(examples: Examples, scores: Scores) -> float | None:
    """Return the share of attacks that moved money and were up for review at an event before the first transfer."""
    fraud = np.flatnonzero(examples.label == 1)
    flags = fraud[scores.score[fraud] > LEVELS["review"]]
    transfers = fraud[examples.is_transfer[fraud]]
    first_flag = _first_row(examples.session, flags)
    first_transfer = _first_row(examples.session, transfers)
    moved = np.flatnonzero(first_transfer < len(examples))
    return _share(first_flag[moved] < first_transfer[moved])


def _first_row(session: NDArray[np.int64], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return each session's first row among these, or the number of all rows where it has none."""
    first = np.full(int(session.max()) + 1, len(session))
    np.minimum.at(first, session[rows], rows)
    return first


def _share(hits: NDArray[np.bool_]) -> float | None:
    return _rounded(float(hits.mean())) if len(hits) else None


def _rounded(value: float) -> float:
    return round(float(value), 4)
