"""How good scores are, by event and by session: the figures of a manifest and of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from features.session import FEATURES
from model.examples import HONEST, Examples
from model.scorer import Scores

FALSE_ALARMS = 0.005
"""Share of honest sessions that may be flagged where recall is measured."""

LEVELS = {"review": 0.8, "block": 0.95}
"""The levels of a new installation, on the calibrated score; strictly greater crosses."""

RESAMPLES = 200
"""Of the bootstrap; intervals are from its 2.5 % to its 97.5 % quantile."""

_DAY_MS = 86_400_000
_TAIL_POINTS = 60
_NEWS_DAYS = 2


@dataclass(frozen=True, slots=True)
class Sessions:
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
        Figures fit for JSON. Session figures take a session's largest score; `recall`, `recall_by_kind`,
        `flagged_before_transfer` and `delay` are taken where `FALSE_ALARMS` of the honest sessions are flagged,
        `levels` at the levels of a new installation.
    """
    sessions = sessions_of(examples, scores)
    threshold = threshold_of(sessions)
    caught = sessions.raw > threshold
    days = max((examples.timestamp_ms.max() - examples.timestamp_ms.min()) / _DAY_MS, 1 / 24)
    return {
        "average_precision": _rounded(average_precision_score(sessions.is_fraud, sessions.raw)),
        "auc": _rounded(roc_auc_score(sessions.is_fraud, sessions.raw)),
        "event_average_precision": _rounded(average_precision_score(examples.label, scores.raw)),
        "event_auc": _rounded(roc_auc_score(examples.label, scores.raw)),
        "recall": _share(caught[sessions.is_fraud]),
        "recall_by_kind": _by_kind(caught, sessions),
        "levels": {name: _at_level(sessions, level, days) for name, level in LEVELS.items()},
        "flagged_before_transfer": before_transfer(examples, scores.raw > threshold),
        "delay": delays_of(examples, scores.raw > threshold),
        "sessions": len(sessions.raw),
        "fraud_sessions": int(sessions.is_fraud.sum()),
        "events": len(examples),
        "fraud_events": int(examples.label.sum()),
    }


def sessions_of(examples: Examples, scores: Scores) -> Sessions:
    """Reduce rows to sessions. Flags before the onset are of no merit, so these rows of attacks are left out."""
    honest = examples.kind == HONEST
    rows = np.flatnonzero(honest | (examples.label == 1))
    rows = rows[np.argsort(examples.session[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(examples.session[rows], prepend=-1))
    return Sessions(
        raw=np.maximum.reduceat(scores.raw[rows], starts),
        score=np.maximum.reduceat(scores.score[rows], starts),
        is_fraud=~honest[rows][starts],
        kind=examples.kind[rows][starts],
    )


def threshold_of(sessions: Sessions) -> float:
    """Return the raw score that at most `FALSE_ALARMS` of the honest sessions exceed."""
    honest = sessions.raw[~sessions.is_fraud]
    return float(np.sort(honest)[::-1][int(len(honest) * FALSE_ALARMS)])


def intervals_of(sessions: Sessions, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Return what the figures of sessions could have been, by resampling sessions with replacement.

    Args:
        sessions: As measured.
        seed: Of the resampling.

    Returns:
        The 95 % intervals of average precision, AUC, and recall where `FALSE_ALARMS` are flagged (Efron 1979).
    """
    dice = np.random.default_rng(seed)
    found: dict[str, list[float]] = {"average_precision": [], "auc": [], "recall": []}
    for _ in range(RESAMPLES):
        taken = dice.integers(0, len(sessions.raw), len(sessions.raw))
        raw, is_fraud = sessions.raw[taken], sessions.is_fraud[taken]
        if not 0 < is_fraud.sum() < len(is_fraud):
            continue
        found["average_precision"].append(average_precision_score(is_fraud, raw))
        found["auc"].append(roc_auc_score(is_fraud, raw))
        threshold = np.sort(raw[~is_fraud])[::-1][int((~is_fraud).sum() * FALSE_ALARMS)]
        found["recall"].append(float((raw[is_fraud] > threshold).mean()))
    return {name: _interval(values) for name, values in found.items()}


def tail_of(sessions: Sessions) -> dict[str, list[float]]:
    """Return which score which share of all sessions exceeds, for budgets of alerts: `share` rises, `score` falls."""
    descending = np.sort(sessions.score)[::-1]
    shares = np.geomspace(1 / len(descending), 0.5, _TAIL_POINTS)
    return {
        "share": shares.tolist(),
        "score": descending[(shares * len(descending)).astype(np.int64)].tolist(),
    }


def calibration_of(examples: Examples, scores: Scores, bins: int = 12) -> list[tuple[float, float, int]]:
    """Return, by bins of the score, its mean, the share of fraud, and the events; bins have equally many events."""
    order = np.argsort(scores.score, kind="stable")
    tail = order[np.searchsorted(scores.score[order], 0.02) :]  # below, honest events are all there is
    return [
        (float(scores.score[rows].mean()), float(examples.label[rows].mean()), len(rows))
        for rows in np.array_split(tail, bins)
        if len(rows)
    ]


def before_transfer(examples: Examples, flagged: NDArray[np.bool_]) -> float | None:
    """Return the share of the attacks that moved money that were flagged at an event before the first transfer."""
    fraud = np.flatnonzero(examples.label == 1)
    first_flag = _first_row(examples.session, fraud[flagged[fraud]])
    first_transfer = _first_row(examples.session, fraud[examples.is_transfer[fraud]])
    moved = np.flatnonzero(first_transfer < len(examples))
    return _share(first_flag[moved] < first_transfer[moved])


def typed_before(examples: Examples, kind: str = "mule_payee") -> float | None:
    """Return the share of a kind's sessions with an input that others began to type in the two days before.

    For attacks whose only trace is the account that the money goes to, this bounds what the events can tell: the first
    one to type an account does what everybody does who pays somebody new.
    """
    mine = (examples.kind == kind) & (examples.label == 1)
    users, age = (examples.matrix[:, FEATURES.index(name)] for name in ("input_other_users", "input_age_days"))
    shown = mine & (users >= 1) & (age >= 0) & (age < _NEWS_DAYS)
    sessions = np.unique(examples.session[mine])
    return _share(np.isin(sessions, examples.session[shown]))


def delays_of(examples: Examples, flagged: NDArray[np.bool_]) -> dict[str, object]:
    """Return how long after the onset the flagged attacks were flagged: medians and 90 % quantiles.

    Events count from the onset's own, which is 0.
    """
    fraud = np.flatnonzero(examples.label == 1)
    onset, flag = _first_row(examples.session, fraud), _first_row(examples.session, fraud[flagged[fraud]])
    caught = np.flatnonzero(flag < len(examples))
    seconds = (examples.timestamp_ms[flag[caught]] - examples.timestamp_ms[onset[caught]]) / 1000
    place = np.zeros(len(examples), dtype=np.int64)
    by_session = fraud[np.argsort(examples.session[fraud], kind="stable")]
    starts = np.flatnonzero(np.diff(examples.session[by_session], prepend=-1))
    place[by_session] = np.arange(len(by_session)) - np.repeat(starts, np.diff(starts, append=len(by_session)))
    events = place[flag[caught]]
    return {"events": _quantiles(events), "seconds": _quantiles(np.maximum(seconds, 0))}


def _quantiles(values: NDArray[np.float64] | NDArray[np.int64]) -> dict[str, float] | None:
    return {"p50": _rounded(np.median(values)), "p90": _rounded(np.quantile(values, 0.9))} if len(values) else None


def _interval(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975)).tolist()
    return _rounded(low), _rounded(high)


def _by_kind(caught: NDArray[np.bool_], sessions: Sessions) -> dict[str, float | None]:
    kinds = sorted(set(sessions.kind[sessions.is_fraud].tolist()))
    return {kind: _share(caught[sessions.kind == kind]) for kind in kinds}


def _at_level(sessions: Sessions, threshold: float, days: float) -> Mapping[str, object]:
    crossed = sessions.score > threshold
    return {
        "recall": _share(crossed[sessions.is_fraud]),
        "false_alarms": _share(crossed[~sessions.is_fraud]),
        "alerts_a_day": _rounded(crossed.sum() / days),
        "recall_by_kind": _by_kind(crossed, sessions),
    }


def _first_row(session: NDArray[np.int64], rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return each session's first row among these, or the number of all rows where it has none."""
    first = np.full(int(session.max()) + 1, len(session))
    np.minimum.at(first, session[rows], rows)
    return first


def _share(hits: NDArray[np.bool_]) -> float | None:
    return _rounded(float(hits.mean())) if len(hits) else None


def _rounded(value: float) -> float:
    return round(float(value), 4)
