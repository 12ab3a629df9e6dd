"""The first contact with Kafka: wait until it answers, and say in one line what it refuses.

librdkafka goes on trying whatever happens, and keeps the reason for its log; a person who starts the service with a
wrong password, or without a right, must read that instead of waiting.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from dataflows.ending import StartError
from dataflows.settings import Settings
from observability.health import Readiness

logger = logging.getLogger("fraud.kafka")

_ASK_SECONDS = 5.0
_FIRST_ASK_SECONDS = 3.0
_MOST_REFUSALS = 3
"""How often we are refused before it is believed: a broker that starts may refuse once what it will take."""
_LOOK_AT = {
    KafkaError._AUTHENTICATION: "KAFKA_SASL_MECHANISM, KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD",  # noqa: SLF001
    KafkaError._SSL: "KAFKA_SECURITY_PROTOCOL and KAFKA_SSL_CA_LOCATION",  # noqa: SLF001
}
"""What librdkafka says when it is refused, and the settings that decide it."""
_NO_RIGHT = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED})
_RIGHTS_ARE_IN = "infra/kafka/README.md lists what must be granted"


class FirstContact:
    """Asks Kafka for its topics, and for our rights.

    Args:
        settings: Where Kafka is and who we are.
        rights: What the process needs: `READ` or `WRITE`, by topic.
        readiness: Told why we wait.
    """

    def __init__(self, settings: Settings, rights: Mapping[str, str], readiness: Readiness) -> None:
        self._settings = settings
        self._rights = rights
        self._readiness = readiness
        self._heard: KafkaError | None = None
        self._refusal: KafkaError | None = None
        self._refusals = 0

    def topics(self) -> dict[str, Any]:
        """Return the topics that we may see, by name, when Kafka answers and we have every right.

        Raises:
            StartError: If Kafka does not answer in time, refuses us, or does not grant us what we need.
        """
        try:
            # Its own log says the same a hundred times: we say each reason once.
            config: dict[str, Any] = {**self._settings.kafka(), "error_cb": self._hear, "log_level": 0}
            admin = AdminClient(config)
        except KafkaException as error:
            msg = f"the settings for Kafka cannot be used: {error.args[0].str()}"
            raise StartError(msg) from None
        topics = self._metadata(admin).topics
        if self._settings.kafka_security_protocol != "plaintext":
            self._check_rights(admin)
        return dict(topics)

    def _hear(self, error: KafkaError) -> None:
        """Keep the reason of a failed connection: what a call raises is only that it has failed."""
        if error.code() in _LOOK_AT:
            self._refusals += 1
            self._heard = self._refusal = error
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - it does not say why
            self._heard = error

    def _metadata(self, admin: AdminClient) -> Any:
        until = time.monotonic() + self._settings.start_timeout_seconds
        while True:
            try:
                return admin.list_topics(timeout=min(_FIRST_ASK_SECONDS, self._settings.start_timeout_seconds))
            except KafkaException as error:
                admin.poll(0)
                reason = self._heard or error.args[0]
                self._say(f"no answer: {reason.str()}")
                if self._refusal is not None and self._refusals >= _MOST_REFUSALS:
                    raise StartError(self._refused(self._refusal)) from None
                if time.monotonic() > until:
                    raise StartError(self._no_answer(reason)) from None

    def _say(self, reason: str) -> None:
        if self._readiness.reasons.get("kafka") != reason:
            logger.warning("Kafka: %s", reason)
        self._readiness.report("kafka", reason)

    def _refused(self, refusal: KafkaError) -> str:
        return (
            f"Kafka at {self._settings.kafka_bootstrap_servers} and this service refuse each other: "
            f"{refusal.str()}; see {_LOOK_AT[refusal.code()]}"
        )

    def _no_answer(self, reason: KafkaError) -> str:
        settings = self._settings
        return (
            f"Kafka at {settings.kafka_bootstrap_servers} has not answered within {settings.start_timeout_seconds} s: "
            f"{reason.str()}; is it there, and does it speak KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol}"
        )

    def _check_rights(self, admin: AdminClient) -> None:
        """See that we have every right now: the first flag may be hours away."""
        missing = list(_missing_rights(admin, self._rights, self._settings.kafka_group))
        if missing:
            user = self._settings.kafka_sasl_username or "this client"
            msg = f"Kafka does not grant {user} what the service needs: {', '.join(missing)}; {_RIGHTS_ARE_IN}"
            raise StartError(msg)


def _missing_rights(admin: AdminClient, needed: Mapping[str, str], group: str) -> Iterator[str]:
    """Give the rights that Kafka says we lack; what it does not say shows when it is used."""
    topics = admin.describe_topics(
        TopicCollection(list(needed)), include_authorized_operations=True, request_timeout=_ASK_SECONDS
    )
    for name, right in needed.items():
        if not _has_right(topics[name], right):
            yield f"{right} on topic {name}"
    groups = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=_ASK_SECONDS)
    if not _has_right(groups[group], "READ"):
        yield f"READ on group {group}"


def _has_right(answer: Any, right: str) -> bool:
    try:
        granted = answer.result().authorized_operations
    except KafkaException as error:
        return error.args[0].code() not in _NO_RIGHT
    return not granted or right in {operation.name for operation in granted}


def with_right(error: KafkaError, right: str) -> str:
    """Return what Kafka says, and the right that is missing if that is why: for rights that are taken from us later."""
    said = str(error.str())
    return f"{said}: {right} is not granted (any more); {_RIGHTS_ARE_IN}" if error.code() in _NO_RIGHT else said
