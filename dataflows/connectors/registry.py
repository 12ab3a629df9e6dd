"""Writer schemas by id: from the schema registry, or from `schemas/ids.json` where there is none.

The source asks here before it lets a record go on, so that decoding needs no I/O. Questions are asked from a thread:
a partition that needs an answer waits, the others go on.
"""

import base64
import json
import logging
import time
import urllib.error
import urllib.request
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from typing import Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from observability import metrics
from observability.health import Readiness
from schemas.catalogue import local_writers
from schemas.codec import WriterSchema

logger = logging.getLogger("fraud.registry")

Answer = Literal["known", "absent", "waiting"]

_TIMEOUT_SECONDS = 2.0
_ASK_AGAIN_SECONDS = 1.0
_ABSENT_SECONDS = 30.0
_SCHEMA_NOT_FOUND = 40403
"""A registry's own code. A bare 404 is not believed: a wrong base path must not send everything to the dead letters."""
_MOST_ABSENT = 10_000


class Writers:
    """The writer schemas known so far; `known` is what decoding reads.

    Args:
        registry_url: Base URL of a Confluent-compatible registry, or empty; may hold user and password.
        readiness: Told while the registry does not answer.
    """

    def __init__(self, registry_url: str, readiness: Readiness) -> None:
        self.known: dict[int, WriterSchema] = {} if registry_url else local_writers()
        self._url = registry_url.rstrip("/")
        self._readiness = readiness
        self._absent_until: dict[int, float] = {}
        self._asked: dict[int, Future[WriterSchema | None]] = {}
        self._ask_again: dict[int, float] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")

    def find(self, schema_id: int) -> Answer:
        """Say whether a schema is known, does not exist, or is not there yet: ask again then.

        "Absent" is remembered for 30 s, so that a flood of one bad id is one question.
        """
        if schema_id in self.known:
            return "known"
        if not self._url or self._absent_until.get(schema_id, 0.0) > time.monotonic():
            return "absent"
        asked = self._asked.get(schema_id)
        if asked is None:
            if self._ask_again.get(schema_id, 0.0) <= time.monotonic():
                self._asked[schema_id] = self._thread.submit(self._ask, schema_id)
            return "waiting"
        return self._take(schema_id, asked) if asked.done() else "waiting"

    def _take(self, schema_id: int, asked: "Future[WriterSchema | None]") -> Answer:
        self._asked.pop(schema_id, None)  # another worker's source may have taken it too
        try:
            writer = asked.result()
        except OSError as error:
            metrics.REGISTRY_REQUESTS.labels("failed").inc()
            self._readiness.report("registry", f"no answer: {error}")
            logger.warning("schema %d: the registry does not answer: %s", schema_id, error)
            self._ask_again[schema_id] = time.monotonic() + _ASK_AGAIN_SECONDS
            return "waiting"
        self._readiness.report("registry")
        metrics.REGISTRY_REQUESTS.labels("absent" if writer is None else "found").inc()
        if writer is None:
            if len(self._absent_until) >= _MOST_ABSENT:
                self._absent_until.clear()
            self._absent_until[schema_id] = time.monotonic() + _ABSENT_SECONDS
            return "absent"
        self.known[schema_id] = writer
        return "known"

    def _ask(self, schema_id: int) -> WriterSchema | None:
        """Fetch one schema.

        Raises:
            OSError: If there is no usable answer.
        """
        request = _request(f"{self._url}/schemas/ids/{schema_id}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310 - checked scheme
                answer = json.load(response)
            if (kind := answer.get("schemaType", "AVRO")) != "AVRO":
                return WriterSchema(f"expected an Avro schema, the registry has one of type {str(kind)[:32]}")
            return WriterSchema.from_definition(json.loads(answer["schema"]))
        except urllib.error.HTTPError as error:
            if _says_absent(error):
                return None
            raise
        except (ValueError, KeyError, TypeError, AttributeError, HTTPException) as error:
            msg = f"schema {schema_id}: expected a registry's JSON answer, got {type(error).__name__}"
            raise OSError(msg) from error


def _says_absent(error: urllib.error.HTTPError) -> bool:
    try:
        answer = json.load(error)
    except ValueError:
        return False
    return isinstance(answer, dict) and answer.get("error_code") == _SCHEMA_NOT_FOUND


def _request(url: str) -> urllib.request.Request:
    """Move user and password of the URL into a header, where logs do not see them."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        msg = f"SCHEMA_REGISTRY_URL must be http or https, got {parts.scheme!r}"
        raise OSError(msg)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(bare)  # noqa: S310 - checked scheme
    if parts.username:
        user, password = unquote(parts.username), unquote(parts.password or "")
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    return request
