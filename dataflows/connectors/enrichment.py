"""What Redis knows of devices and users: one round trip a batch, a short memory in front, neutral when it fails.

An answer is joined to its row and never carried: a store that was down or slow must leave no trace in the state.
A look-up that fails gives exactly what absent keys give, and is named in the flag's `degraded` list.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import redis
from redis.exceptions import RedisError

from dataflows.items import AdmittedBatch, EnrichedBatch
from dataflows.service import Service
from observability import metrics

logger = logging.getLogger("fraud.enrich")

DEADLINE_SECONDS = 0.05
_REMEMBER_SECONDS = 2.0
_MAX_REMEMBERED = 200_000
_BREAKER_SECONDS = 1.0
_LOCKED = frozenset({"locked", "blocked", "suspended"})

Keyed = tuple[str, AdmittedBatch]
Enriched = tuple[str, EnrichedBatch]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that we ask of Redis for an event.

    Attributes:
        column: Where the answer goes in the event frame.
        of: The event's column that names whom we ask about.
        key: The Redis key, with `{}` for the name.
        parse: Reads a value; raises ValueError if it is none.
        absent: The answer where there is no key.
    """

    column: str
    of: str
    key: str
    parse: Callable[[str], float | str]
    absent: float | str

    def read(self, value: bytes | None) -> float | str:
        """Return the answer; a value that is none is counted and taken as absent."""
        if value is None:
            return self.absent
        try:
            return self.parse(value.decode())
        except ValueError:
            metrics.ANSWERS_REFUSED.labels(self.key).inc()
            return self.absent


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        msg = "expected a number from 0 to 1"
        raise ValueError(msg)
    return share


def _count(text: str) -> float:
    count = int(text)
    if not 0 <= count < 2**31:
        msg = "expected a whole number that is not negative"
        raise ValueError(msg)
    return float(count)


QUESTIONS = (
    Question("device_risk", "device_fingerprint", "risk:{}:score", _share, 0.0),
    Question("account_status", "user_id", "account:{}:status", str, ""),
    Question("recent_failures", "user_id", "user:{}:login_failures", _count, 0.0),
)


class Memory:
    """Answers not older than a few seconds, in two generations: the older one is dropped whole.

    The workers of a process share one; a generation only grows, so a look-up that holds on to both is safe.

    Args:
        seconds: How long a generation takes new answers.
        most: How many answers a generation may hold.
    """

    def __init__(self, seconds: float = _REMEMBER_SECONDS, most: int = _MAX_REMEMBERED) -> None:
        self._seconds = seconds
        self._most = most
        self._new: dict[str, bytes | None] = {}
        self._old: dict[str, bytes | None] = {}
        self._turns_at = 0.0

    def split(self, keys: Sequence[str], now: float) -> tuple[dict[str, bytes | None], list[str]]:
        """Return what is remembered of these keys, and the keys that have to be asked for."""
        if now >= self._turns_at or len(self._new) > self._most:
            self._old = self._new if now < self._turns_at + self._seconds else {}
            self._new = {}
            self._turns_at = now + self._seconds
        new, old = self._new, self._old
        known = {key: new[key] if key in new else old[key] for key in keys if key in new or key in old}
        return known, [key for key in keys if key not in known]

    def keep(self, answers: dict[str, bytes | None]) -> None:
        """Remember answers."""
        self._new |= answers


class Enrich:
    """The step: asks for all devices and users of everything pending, at once.

    Args:
        service: For the settings and the readiness.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asks_nobody = service.settings.enrichment == "none"
        self._memory = Memory()
        self._closed_until = 0.0
        self._client: Any = None

    def __call__(self, items: Sequence[Keyed]) -> list[Enriched]:
        """Join the answers to the events of these batches."""
        answers, degraded = ({}, ()) if self._asks_nobody else self._ask(_keys_of(items))
        return [
            (
                key,
                EnrichedBatch(
                    admitted.partition,
                    admitted.configuration,
                    with_answers(admitted.events, answers),
                    admitted.watermark_ms,
                    degraded,
                ),
            )
            for key, admitted in items
        ]

    def _ask(self, keys: list[str]) -> tuple[dict[str, bytes | None], tuple[str, ...]]:
        if not keys:
            return {}, ()
        known, unknown = self._memory.split(keys, time.monotonic())
        if not unknown:
            return known, ()
        answers = self._fetch(unknown)
        if answers is None:
            return known, ("redis",)
        self._memory.keep(answers)
        return known | answers, ()

    def _fetch(self, keys: list[str]) -> dict[str, bytes | None] | None:
        """Ask Redis; return None if it has not answered in time, and let it rest for a second then."""
        if time.monotonic() < self._closed_until:
            return None
        if self._client is None:
            self._client = redis.Redis.from_url(
                self._service.settings.redis_url,
                socket_timeout=DEADLINE_SECONDS,
                socket_connect_timeout=DEADLINE_SECONDS,
                retry=None,
            )
        try:
            values = self._client.mget(keys)
        except (RedisError, OSError) as error:
            metrics.REDIS_ERRORS.labels("enrich").inc()
            self._service.readiness.report("redis look-ups", f"{type(error).__name__}: scoring goes on without")
            self._closed_until = time.monotonic() + _BREAKER_SECONDS
            return None
        self._service.readiness.report("redis look-ups")
        return dict(zip(keys, values, strict=True))


def _keys_of(items: Sequence[Keyed]) -> list[str]:
    """Return every key to ask for, once."""
    keys: dict[str, None] = {}
    for question in QUESTIONS:
        for _, admitted in items:
            names = dict.fromkeys(admitted.events[question.of].to_list())
            keys |= dict.fromkeys(question.key.format(name) for name in names if name)
    return list(keys)


def with_answers(events: pl.DataFrame, answers: dict[str, bytes | None]) -> pl.DataFrame:
    """Add the answers as columns, and `account_locked` as the features want it."""
    if not answers:
        neutral = [pl.Series(question.column, [question.absent] * events.height) for question in QUESTIONS]
        return events.hstack([*neutral, pl.Series("account_locked", np.zeros(events.height))])
    columns = {question.column: _answer_column(events, question, answers) for question in QUESTIONS}
    locked = [float(status in _LOCKED) for status in columns["account_status"].to_list()]
    return events.hstack([*columns.values(), pl.Series("account_locked", locked, dtype=pl.Float64)])


def _answer_column(events: pl.DataFrame, question: Question, answers: dict[str, bytes | None]) -> pl.Series:
    names = events[question.of].to_list()
    read = {name: question.read(answers.get(question.key.format(name))) for name in dict.fromkeys(names)}
    dtype = pl.String if isinstance(question.absent, str) else pl.Float64
    return pl.Series(question.column, [read[name] for name in names], dtype=dtype)
