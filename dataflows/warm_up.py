"""One made-up event through everything that is slow the first time, before the service says that it is ready.

Readers are compiled, columns of the session table come into being, the model's first call is made. Nothing of it
reaches the flow's state, a store or a metric.
"""

import gc

import numpy as np

from dataflows.models import OpenModel
from features.admission import Admission
from features.events import EventColumns
from features.live_sessions import LiveSessions
from features.page_windows import PageWindows
from features.pages import with_normal_pages
from schemas import catalogue
from schemas.codec import WriterSchema, decode

_EVENT = {
    "event_id": "warm-up",
    "session_id": "warm-up",
    "user_id": "warm-up",
    "event_type": "page_view",
    "page": "/",
    "element_id": None,
    "input_hash": None,
    "timestamp": 1_749_531_840_000,
    "latency_ms": 1,
    "device_fingerprint": "",
    "ip": "",
}
_NEW_OBJECTS, _YOUNG_ROUNDS, _OLD_ROUNDS = 200_000, 10, 10
"""Thresholds of Python's collector."""
_ROWS = 64
"""More than are read one by one, so that reading as columns is warm too."""


def warm_up(model: OpenModel) -> None:
    """Do once what every batch does."""
    record = catalogue.frame(catalogue.EVENT.id, catalogue.EVENT, _EVENT)
    writer = WriterSchema.from_definition(catalogue.EVENT.definition)
    kafka_ms = np.full(_ROWS, _EVENT["timestamp"], dtype=np.int64)
    events = with_normal_pages(decode([record] * _ROWS, kafka_ms, {catalogue.EVENT.id: writer}).events)
    Admission().judge(EventColumns.from_frame(events))
    PageWindows().count(events, None)
    matrix = LiveSessions().update(events, None).matrix
    model.scorer.score(matrix)
    model.reasons.explain(matrix[0])


def let_the_collector_rest() -> None:
    """Keep the search for reference cycles off the events' way: batches have none, and are freed as they are dropped.

    What was imported is never looked at again; new objects only when very many more are there than before, which a
    poll of thousands of records alone does not make. For a process of its own: it is the whole interpreter's.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, _YOUNG_ROUNDS, _OLD_ROUNDS)
