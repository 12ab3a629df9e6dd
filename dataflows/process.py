"""What a process of any flow has only one of: settings, ending, health, writers. Opened when the engine starts."""

import atexit
import logging
import time
from collections.abc import Callable
from datetime import timedelta

from confluent_kafka import KafkaError

from dataflows.connectors.lane import Lane
from dataflows.connectors.redis_writer import RedisWriter, check_eviction_policy
from dataflows.connectors.registry import Writers
from dataflows.ending import Ending
from dataflows.items import Configuration
from dataflows.settings import Settings
from features.session import FEATURE_SET_ID
from observability import metrics
from observability.health import HealthServer, Readiness
from observability.logs import set_up_logging

logger = logging.getLogger("fraud")


class Process:
    """The process, as the connectors see it. A flow without a model needs no more than this.

    Args:
        settings: Read once.
        ending: Says when to stop.
    """

    idle_wait = timedelta(milliseconds=2)
    """How long a partition is left alone after what was pending has been taken."""

    def __init__(self, settings: Settings, ending: Ending | None = None) -> None:
        self.settings = settings
        self.ending = ending or Ending(settings.stop_timeout_seconds)
        self.readiness = Readiness()
        self.lane = Lane(settings, self.rights(), self.readiness)
        self.writers = Writers(settings.schema_registry_url, self.readiness)
        self.redis_writer = RedisWriter(settings.redis_url, settings.flush_interval_ms, self.readiness)
        self.has_snapshots = False
        """Whether the engine has asked for a snapshot: it runs with a recovery store."""
        self._health = HealthServer(metrics.REGISTRY, self.readiness, settings.metrics_host, settings.metrics_port)
        self.store_lock: int | None = None
        """Descriptor that holds the recovery store for this process."""
        self._opened = False

    def open(self) -> None:
        """Serve health, and wait for what the service cannot start without. Done once.

        Raises:
            StartError: If Kafka or a topic is missing.
            StartError: If Redis may evict our values.
            HealthServerError: If the port is taken.
        """
        if not self._opened:
            self._opened = True
            set_up_logging(self.settings.log_format)
            self._health.start()
            logger.info("health and metrics on http://%s:%d", self.settings.metrics_host, self._health.port)
            self.prepare()
            self.readiness.report("events", "not opened yet")
            self.lane.partitions()
            check_eviction_policy(self.settings.redis_url)
            # Without a new record since the last snapshot the engine takes no other: what it held is still to write.
            self.on_clean_end(self.redis_writer.drain)

    def rights(self) -> dict[str, str]:
        """Return what the flow needs of Kafka: `READ` or `WRITE`, by topic. The events come first."""
        return {self.settings.events_topic: "READ"}

    def prepare(self) -> None:
        """Get ready what the flow needs besides Kafka and Redis: nothing."""

    def deployed(self) -> Configuration:
        """Return the configuration that a new snapshot adopts: without a model there is nothing to decide."""
        return Configuration(model_id="", feature_set_id=FEATURE_SET_ID, levels=(), enrichment="none")

    def use(self, configuration: Configuration) -> None:
        """Get ready what a configuration needs that a snapshot names: nothing."""

    def snapshot_begun(self) -> None:
        """Note that the engine takes a snapshot."""
        self.has_snapshots = True
        metrics.SNAPSHOT_TIMESTAMP.set(time.time())

    def on_clean_end(self, callback: Callable[[], None]) -> None:
        """Call this when the process ends after a drain, and not when it ends by an error."""

        def at_exit() -> None:
            if self.ending.stopping and not self.ending.failed:
                callback()

        atexit.register(at_exit)

    def on_kafka_error(self, error: KafkaError) -> None:
        """Note what librdkafka says of its connections; it goes on trying by itself."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - librdkafka's own name for it
            self.readiness.report("kafka", error.str())
        logger.warning("Kafka: %s", error.str())
