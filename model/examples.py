"""Labelled events as the trainer sees them: the live features of every event, and what became known of its session.

It must never let a later session teach about an earlier one: parts are cut by time, with a gap in which labels become
known, and what a vector holds comes from before it alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.codes import string_codes
from features.live_sessions import features_of
from features.pages import with_normal_pages
from model.drift import place_codes
from model.entities import with_entities
from model.labels import known_by
from model.profiles import with_profiles
from schemas.events import TRANSFER

HONEST = "honest"
SHARES = (0.7, 0.15, 0.15)
"""Shares of the time to train, to calibrate and to test, of what is left of it after warm-up and gap."""
WARM_UP, MOST_WARM_UP_MS = 0.2, 14 * 86_400_000
"""This share of the time, or so much of it, only builds users' history: their normal is not known yet."""
KNOWN, MOST_GAP = 0.9, 0.2
"""Between training and calibration lies the time in which so many of the labels become known, of all time at most."""


_LAST_MS = 2**62


class ExamplesError(ValueError):
    """There are too few sessions to learn from, or to judge by."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows to learn from or to judge by, one an event, in stream order.

    Attributes:
        matrix: float64 (rows, features), as the live flow would have computed it.
        label: int8, 1 from an attack's onset on; rows before it are honest.
        weight: float64, what a row counts in training: 1, or 1/n in an attacked session of n rows without an onset.
        session: int64, sessions numbered by their start.
        kind: Attack kind of the row's session, `HONEST` where it has none.
        is_transfer: bool, true where the event moves money.
        place: uint64 code of the page with the event's type.
        timestamp_ms: int64, event time.
        start_ms: int64, when the row's session began.
    """

    matrix: NDArray[np.float64]
    label: NDArray[np.int8]
    weight: NDArray[np.float64]
    session: NDArray[np.int64]
    kind: NDArray[np.str_]
    is_transfer: NDArray[np.bool_]
    place: NDArray[np.uint64]
    timestamp_ms: NDArray[np.int64]
    start_ms: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)

    def take(self, rows: NDArray[Any]) -> Self:
        """Return some of the rows, by mask or index."""
        return type(self)(**{name: getattr(self, name)[rows] for name in self.__slots__})


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of some examples, in the order of time."""

    train: Examples
    calibrate: Examples
    test: Examples
    gap_ms: int
    """Between training and calibration."""


def vectors_of(frame: pl.DataFrame, labels: pl.DataFrame) -> NDArray[np.float64]:
    """Compute the features of a stored stream with what was known of users and inputs at each event.

    Args:
        frame: In stream order, columns of `EVENT_FRAME`.
        labels: Columns of `LABELS`.
    """
    fraud = labels.filter(pl.col("label") == 1).select("session_id", "known_at")
    return features_of(with_entities(with_profiles(frame, fraud)))


def examples_of(
    frame: pl.DataFrame,
    labels: pl.DataFrame,
    matrix: NDArray[np.float64] | None = None,
    known_at_ms: int | None = None,
) -> Examples:
    """Make examples of a stream and of what became known of its sessions.

    If the labels name honest sessions too, sessions without a label are left out: nobody knows. Else they are honest.

    Args:
        frame: In stream order, columns of `EVENT_FRAME`.
        labels: Columns of `LABELS`.
        matrix: The features, as `vectors_of` gave them; None computes them.
        known_at_ms: Labels that became known later are not known; None takes all.
    """
    if matrix is None:
        matrix = vectors_of(frame, labels)
    known = known_by(labels, _LAST_MS if known_at_ms is None else known_at_ms).drop("known_at")
    rows = frame.select("session_id", "timestamp", "event_type").join(
        known, on="session_id", how="left", maintain_order="left"
    )
    is_fraud = (rows["label"] == 1).fill_null(value=False)
    after_onset = (rows["timestamp"] >= rows["onset_at"]).fill_null(value=True)
    size = rows.select(pl.len().over("session_id")).to_series()
    [page] = string_codes(with_normal_pages(frame.select("page")), "page")
    no_onset = is_fraud & rows["onset_at"].is_null()
    start_ms = rows.select(pl.col("timestamp").min().over("session_id")).to_series()
    examples = Examples(
        matrix=matrix,
        label=(is_fraud & after_onset).cast(pl.Int8).to_numpy(),
        weight=np.where(no_onset.to_numpy(), 1 / size.to_numpy(), 1.0),
        session=_numbered_by_start(rows["session_id"], start_ms),
        kind=np.array(rows["kind"].fill_null("").replace("", HONEST).to_list(), dtype=np.str_),
        is_transfer=(rows["event_type"] == TRANSFER).to_numpy(),
        place=place_codes(page, frame["event_type"].to_numpy()),
        timestamp_ms=rows["timestamp"].to_numpy(),
        start_ms=start_ms.to_numpy(),
    )
    names_honest = bool((known["label"] == 0).any())
    return examples.take(rows["label"].is_not_null().to_numpy()) if names_honest else examples


def warm_up_ms(frame: pl.DataFrame) -> int:
    """Return until when the events of a stream only build users' history."""
    first, last = _bounds(frame)
    return first + int(min((last - first) * WARM_UP, MOST_WARM_UP_MS))


def label_gap_ms(frame: pl.DataFrame, labels: pl.DataFrame) -> int:
    """Return how long it takes until most labels of fraud are known, counted from the sessions' last events."""
    ends = frame.group_by("session_id").agg(pl.col("timestamp").max().alias("ended"))
    fraud = labels.filter(pl.col("label") == 1).join(ends, on="session_id", how="inner")
    if not fraud.height:
        return 0
    first, last = _bounds(frame)
    delay = (fraud["known_at"] - fraud["ended"]).quantile(KNOWN) or 0.0
    return int(min(max(delay, 0), (last - first) * MOST_GAP))


def split_by_time(frame: pl.DataFrame, labels: pl.DataFrame) -> Parts:
    """Cut a stream into training, calibration and test, by when sessions began.

    Training knows only the labels that were known when calibration begins.

    Raises:
        ExamplesError: If a part has no fraud or nothing honest.
    """
    if not frame.height:
        msg = "training needs events, got none"
        raise ExamplesError(msg)
    matrix, gap_ms = vectors_of(frame, labels), label_gap_ms(frame, labels)
    begin, (_, last) = warm_up_ms(frame), _bounds(frame)
    left = max(last - begin - gap_ms, 0)
    train_to = begin + int(left * SHARES[0])
    calibrate_from = train_to + gap_ms
    test_from = calibrate_from + int(left * SHARES[1])
    known_then = examples_of(frame, labels, matrix, calibrate_from)
    known_now = examples_of(frame, labels, matrix)
    parts = Parts(
        train=_between(known_then, begin, train_to),
        calibrate=_between(known_now, calibrate_from, test_from),
        test=_between(known_now, test_from, last + 1),
        gap_ms=gap_ms,
    )
    for name, rows in (("training", parts.train), ("calibration", parts.calibrate), ("test", parts.test)):
        honest, fraud = int((rows.kind == HONEST).sum()), int(rows.label.sum())
        if not (honest and fraud):
            msg = f"{name} needs honest sessions and fraud, got {honest} honest and {fraud} fraudulent events"
            raise ExamplesError(msg)
    return parts


def _bounds(frame: pl.DataFrame) -> tuple[int, int]:
    """Return the first and the last event time."""
    times = frame["timestamp"].to_numpy()
    return int(times.min()), int(times.max())


def _between(examples: Examples, from_ms: int, before_ms: int) -> Examples:
    return examples.take((examples.start_ms >= from_ms) & (examples.start_ms < before_ms))


def _numbered_by_start(session_id: pl.Series, start_ms: pl.Series) -> NDArray[np.int64]:
    rows = pl.DataFrame({"session_id": session_id, "start": start_ms})
    sessions = rows.unique("session_id", maintain_order=True)
    numbered = sessions.sort("start", maintain_order=True).with_row_index("number")
    joined = rows.join(numbered.select("session_id", "number"), on="session_id", how="left", maintain_order="left")
    return joined["number"].cast(pl.Int64).to_numpy()


def together(parts: Sequence[Examples]) -> Examples:
    """Put the examples of several streams behind each other; no session of one is one of another."""
    before = np.cumsum([0, *(int(part.session.max(initial=-1)) + 1 for part in parts)])
    sessions = [part.session + offset for part, offset in zip(parts, before.tolist(), strict=False)]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in Examples.__slots__}
    return Examples(**(columns | {"session": np.concatenate(sessions)}))
