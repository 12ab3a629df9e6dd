"""What Redis knows of devices, users, inputs: one round trip a batch, a short memory in front, neutral if it fails.

An answer is joined to its row and never carried: a store that was down or slow must leave no trace in the state.
A look-up that fails gives exactly what absent keys give, and is named in the flag's `degraded` list.
"""

import logging
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray
from redis.exceptions import RedisError

from dataflows.connectors import store_keys
from dataflows.items import AdmittedBatch, EnrichedBatch
from dataflows.service import Service
from features.events import EventColumns
from features.inputs import KnownInput
from features.profile import read as read_profiles
from observability import metrics

logger = logging.getLogger("fraud.enrich")

DEADLINE_SECONDS = 0.05
_REMEMBER_SECONDS = 2.0
_MAX_REMEMBERED, _MAX_PROFILES = 100_000, 20_000
"""Of each question; profiles are half a kilobyte each."""
_BREAKER_SECONDS = 1.0
_LOCKED = frozenset({"locked", "blocked", "suspended"})

Answer = float | str | bytes
Answers = dict[str, dict[str, Answer]]
"""By question, by name."""
AsRead = dict[str, list[Answer]]
Keyed = tuple[str, AdmittedBatch]
Enriched = tuple[str, EnrichedBatch]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that we ask of Redis for an event.

    Attributes:
        column: What the answer is called.
        of: The event's column that names whom we ask about.
        key: The Redis key, with `{}` for the name.
        parse: Reads a value; raises ValueError if it is none.
        absent: The answer where there is no key.
        remembered: How many answers a generation of the memory holds.
    """

    column: str
    of: str
    key: str
    parse: Callable[[bytes], Answer]
    absent: Answer
    remembered: int = _MAX_REMEMBERED

    def read(self, value: bytes | None) -> Answer:
        """Return the answer; a value that is none is counted and taken as absent."""
        if value is None:
            return self.absent
        try:
            return self.parse(value)
        except ValueError:
            metrics.ANSWERS_REFUSED.labels(self.key).inc()
            return self.absent

    def as_text(self, answer: Answer) -> str:
        """Write an answer as it stands in a flag; bytes in base64."""
        return b64encode(answer).decode() if isinstance(answer, bytes) else str(answer)

    def from_text(self, text: str) -> Answer:
        """Read what `as_text` wrote; ValueError if it is something else."""
        if isinstance(self.absent, bytes):
            return b64decode(text, validate=True)
        return float(text) if isinstance(self.absent, float) else text


def _share(text: bytes) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        msg = "expected a number from 0 to 1"
        raise ValueError(msg)
    return share


def _count(text: bytes) -> float:
    count = int(text)
    if not 0 <= count < 2**31:
        msg = "expected a whole number that is not negative"
        raise ValueError(msg)
    return float(count)


def _input(text: bytes) -> str:
    return KnownInput.from_text(text.decode()).as_text()


def _profile(stored: bytes) -> bytes:
    read_profiles([stored])
    return stored


QUESTIONS = (
    Question("device_risk", "device_fingerprint", store_keys.DEVICE_RISK, _share, 0.0),
    Question("account_status", "user_id", store_keys.ACCOUNT_STATUS, bytes.decode, ""),
    Question("recent_failures", "user_id", store_keys.LOGIN_FAILURES, _count, 0.0),
    Question("input", "input_hash", store_keys.INPUT, _input, ""),
    Question("profile", "user_id", store_keys.PROFILE, _profile, b"", _MAX_PROFILES),
)
_NAMED = tuple(dict.fromkeys(question.of for question in QUESTIONS))
"""The columns that name whom we ask about."""


class Memory:
    """Answers to one question, not older than a few seconds, in two generations: the older one is dropped whole.

    The workers of a process share one; a generation only grows, so a look-up that holds on to both is safe.

    Args:
        seconds: How long a generation takes new answers.
        most: How many answers a generation may hold.
    """

    def __init__(self, seconds: float = _REMEMBER_SECONDS, most: int = _MAX_REMEMBERED) -> None:
        self._seconds = seconds
        self._most = most
        self._new: dict[str, Answer] = {}
        self._old: dict[str, Answer] = {}
        self._turns_at = 0.0

    def split(self, names: Iterable[str], now: float) -> tuple[dict[str, Answer], list[str]]:
        """Return what is remembered of these names, and the names that have to be asked for."""
        if now >= self._turns_at or len(self._new) > self._most:
            self._old = self._new if now < self._turns_at + self._seconds else {}
            self._new = {}
            self._turns_at = now + self._seconds
        known, unknown = {}, []
        new, old = self._new, self._old
        for name in names:
            if name in new:
                known[name] = new[name]
            elif name in old:
                known[name] = old[name]
            else:
                unknown.append(name)
        return known, unknown

    def keep(self, answers: dict[str, Answer]) -> None:
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
        self._memory = {question.column: Memory(most=question.remembered) for question in QUESTIONS}
        self._closed_until = 0.0
        self._client: Any = None

    def __call__(self, items: Sequence[Keyed]) -> list[Enriched]:
        """Join the answers to the events of these batches."""
        if self._asks_nobody:
            return [(key, _without_answers(admitted)) for key, admitted in items]
        names = [{of: admitted.events[of].to_list() for of in _NAMED} for _, admitted in items]
        answers, degraded = self._answers(names)
        return [
            (key, _with_answers(admitted, asked, answers, degraded))
            for (key, admitted), asked in zip(items, names, strict=True)
        ]

    def _answers(self, names: list[dict[str, list[str]]]) -> tuple[Answers, tuple[str, ...]]:
        """Return what is known of all names, and which stores did not answer."""
        each = {of: dict.fromkeys(chain.from_iterable(asked[of] for asked in names)) for of in _NAMED}
        answers: Answers = {}
        keys: dict[str, tuple[Question, str]] = {}
        now = time.monotonic()
        for question in QUESTIONS:
            answers[question.column], unknown = self._memory[question.column].split(
                filter(None, each[question.of]), now
            )
            keys |= {question.key.format(name): (question, name) for name in unknown}
        if not keys:
            return answers, ()
        values = self._fetch(list(keys))
        if values is None:
            return answers, ("redis",)
        fetched: Answers = {question.column: {} for question in QUESTIONS}
        for (question, name), value in zip(keys.values(), values, strict=True):
            fetched[question.column][name] = question.read(value)
        for column, found in fetched.items():
            self._memory[column].keep(found)
            answers[column] |= found
        return answers, ()

    def _fetch(self, keys: list[str]) -> list[bytes | None] | None:
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
            values: list[bytes | None] = self._client.mget(keys)
        except (RedisError, OSError) as error:
            metrics.REDIS_ERRORS.labels("enrich").inc()
            self._service.readiness.report("redis look-ups", f"{type(error).__name__}: scoring goes on without")
            self._closed_until = time.monotonic() + _BREAKER_SECONDS
            return None
        self._service.readiness.report("redis look-ups")
        return values


def _with_answers(
    admitted: AdmittedBatch, names: dict[str, list[str]], answers: Answers, degraded: tuple[str, ...]
) -> EnrichedBatch:
    """Put the answers to the rows that asked; those of whom nobody knows anything get what is neutral."""
    as_read = {}
    for question in QUESTIONS:
        known, absent = answers[question.column], question.absent
        as_read[question.column] = [known.get(name, absent) for name in names[question.of]]
    return _enriched(admitted, replace(admitted.columns, **columns_of(as_read, names["user_id"])), as_read, degraded)


def columns_of(as_read: Mapping[str, Sequence[Answer]], users: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the columns of `EventColumns` that answers give.

    Args:
        as_read: One answer an event, by question.
        users: Whose event each is.
    """
    inputs = np.zeros((2, len(users)))
    for row, text in enumerate(as_read["input"]):
        if text:
            known = KnownInput.from_text(str(text))
            inputs[:, row] = known.others_than(users[row]), known.since_ms
    return {
        "device_risk": np.array(as_read["device_risk"], dtype=np.float64),
        "account_locked": np.array([status in _LOCKED for status in as_read["account_status"]], dtype=np.float64),
        "recent_failures": np.array(as_read["recent_failures"], dtype=np.float64),
        "input_others": inputs[0],
        "input_since_ms": inputs[1],
        "profile": _objects(as_read["profile"]),
    }


def _objects(answers: Sequence[Answer]) -> NDArray[np.object_]:
    """Return answers as they are, in an array; NumPy would cut bytes at their zeros."""
    objects = np.empty(len(answers), dtype=np.object_)
    objects[:] = answers
    return objects


def _without_answers(admitted: AdmittedBatch) -> EnrichedBatch:
    """Give every row what is neutral."""
    as_read = {question.column: [question.absent] * admitted.events.height for question in QUESTIONS}
    return _enriched(admitted, admitted.columns, as_read, ())


def _enriched(
    admitted: AdmittedBatch, columns: EventColumns, as_read: AsRead, degraded: tuple[str, ...]
) -> EnrichedBatch:
    return EnrichedBatch(
        partition=admitted.partition,
        configuration=admitted.configuration,
        events=admitted.events,
        columns=columns,
        as_read=as_read,
        watermark_ms=admitted.watermark_ms,
        degraded=degraded,
        opens_snapshot=admitted.opens_snapshot,
    )
