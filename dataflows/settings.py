"""The settings of the service, read once from the environment. A bad one stops the start with one line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from model.evaluators import Evaluator

StartFrom = Literal["", "beginning", "committed"]
Enrichment = Literal["redis", "none"]
LogFormat = Literal["console", "json"]


class SettingsError(ValueError):
    """A setting is missing or bad; the message names it, what was given, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set; README.md has the table."""

    kafka_bootstrap_servers: str
    kafka_security_protocol: str
    kafka_sasl_mechanism: str
    kafka_sasl_username: str
    kafka_sasl_password: str = field(repr=False)
    kafka_ssl_ca_location: str
    kafka_group: str
    events_topic: str
    flags_topic: str
    dead_letters_topic: str
    status_topic: str
    schema_registry_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    enrichment: Enrichment
    model_dir: Path
    evaluator: Evaluator
    review_above: float
    block_above: float
    lateness_seconds: int
    max_live_sessions: int
    page_count_retention_seconds: int
    session_ttl_seconds: int
    flush_interval_ms: int
    start_from: StartFrom
    accept_gap: bool
    lane: int
    lanes: int
    whole_snapshots: bool
    start_timeout_seconds: int
    delivery_timeout_seconds: int
    stop_timeout_seconds: int
    metrics_host: str
    metrics_port: int
    log_format: LogFormat

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read the settings.

        Raises:
            SettingsError: One line that names the variable, what it holds, and what it may hold.
        """
        read = _Reader(env)
        settings = cls(
            kafka_bootstrap_servers=read.text("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
            kafka_security_protocol=read.one_of(
                "KAFKA_SECURITY_PROTOCOL", ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"), "plaintext"
            ),
            kafka_sasl_mechanism=read.one_of(
                "KAFKA_SASL_MECHANISM", ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), "SCRAM-SHA-512"
            ),
            kafka_sasl_username=read.text("KAFKA_SASL_USERNAME", ""),
            kafka_sasl_password=read.secret("KAFKA_SASL_PASSWORD", ""),
            kafka_ssl_ca_location=read.text("KAFKA_SSL_CA_LOCATION", ""),
            kafka_group=read.text("KAFKA_GROUP", "clickstream-fraud"),
            events_topic=read.text("EVENTS_TOPIC", "clickstream-events"),
            flags_topic=read.text("FLAGS_TOPIC", "fraud-flags"),
            dead_letters_topic=read.text("DEAD_LETTERS_TOPIC", "clickstream-dead-letters"),
            status_topic=read.text("STATUS_TOPIC", "account-status"),
            schema_registry_url=read.url("SCHEMA_REGISTRY_URL", ("http", "https"), ""),
            redis_url=read.url("REDIS_URL", ("redis", "rediss", "unix"), "redis://127.0.0.1:6379/0"),
            enrichment=read.one_of("ENRICHMENT", get_args(Enrichment), "redis"),
            model_dir=Path(read.text("MODEL_DIR", "model/artifacts")),
            evaluator=read.one_of("EVALUATOR", get_args(Evaluator), "onnxruntime"),
            review_above=read.number("REVIEW_ABOVE", 0.8, 0, 1),
            block_above=read.number("BLOCK_ABOVE", 0.95, 0, 1),
            lateness_seconds=read.integer("LATENESS_SECONDS", 3600, 0, 7 * 86_400),
            max_live_sessions=read.integer("MAX_LIVE_SESSIONS", 1_000_000, 1, 100_000_000),
            page_count_retention_seconds=read.integer("PAGE_COUNT_RETENTION", 86_400, 7_200, 366 * 86_400),
            session_ttl_seconds=read.integer("SESSION_TTL", 1_800, 1, 30 * 86_400),
            flush_interval_ms=read.integer("FLUSH_INTERVAL_MS", 250, 1, 60_000),
            start_from=read.one_of("START_FROM", get_args(StartFrom), ""),
            accept_gap=read.one_of("ACCEPT_GAP", ("0", "1"), "0") == "1",
            lane=read.integer("LANE", 0, 0, 9_999),
            lanes=read.integer("LANES", 1, 1, 10_000),
            whole_snapshots=read.one_of("WHOLE_SNAPSHOTS", ("0", "1"), "0") == "1",
            start_timeout_seconds=read.integer("START_TIMEOUT", 120, 1, 3_600),
            delivery_timeout_seconds=read.integer("DELIVERY_TIMEOUT", 120, 1, 3_600),
            stop_timeout_seconds=read.integer("STOP_TIMEOUT", 10, 1, 3_600),
            metrics_host=read.text("METRICS_HOST", "127.0.0.1"),
            metrics_port=read.integer("METRICS_PORT", 9400, 0, 65_535),
            log_format=read.one_of("LOG_FORMAT", get_args(LogFormat), "console"),
        )
        settings._check_together()
        return settings

    def _check_together(self) -> None:
        if self.lane >= self.lanes:
            msg = f"LANE must be below LANES={self.lanes}, got {self.lane}"
            raise SettingsError(msg)
        if self.block_above <= self.review_above:
            msg = f"BLOCK_ABOVE must be above REVIEW_ABOVE={self.review_above}, got {self.block_above}"
            raise SettingsError(msg)
        if self.page_count_retention_seconds <= self.lateness_seconds:
            msg = (
                f"PAGE_COUNT_RETENTION must be above LATENESS_SECONDS={self.lateness_seconds}, "
                f"got {self.page_count_retention_seconds}"
            )
            raise SettingsError(msg)
        if self.kafka_security_protocol.startswith("sasl") and not self.kafka_sasl_username:
            msg = f"KAFKA_SASL_USERNAME must be set with KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol}"
            raise SettingsError(msg)

    @property
    def lateness_ms(self) -> int:
        """How far behind the watermark an event may be, in milliseconds."""
        return self.lateness_seconds * 1000

    def kafka(self) -> dict[str, Any]:
        """Return the part of a client's configuration that says where the brokers are and who we are."""
        config = {
            "bootstrap.servers": self.kafka_bootstrap_servers,
            "security.protocol": self.kafka_security_protocol,
            "reconnect.backoff.max.ms": 1_000,
        }
        if self.kafka_security_protocol.startswith("sasl"):
            config["sasl.mechanism"] = self.kafka_sasl_mechanism
            config["sasl.username"] = self.kafka_sasl_username
            config["sasl.password"] = self.kafka_sasl_password
        if self.kafka_ssl_ca_location:
            config["ssl.ca.location"] = self.kafka_ssl_ca_location
        return config


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads single settings, and says in one line what is wrong with one. An empty variable is one that is not set."""

    env: Mapping[str, str]

    def text(self, name: str, default: str) -> str:
        """Read a text."""
        return self.env.get(name) or default

    def secret(self, name: str, default: str) -> str:
        """Read a text, or the file that `<name>_FILE` names, without the line's end."""
        path = self.env.get(f"{name}_FILE")
        if not path:
            return self.text(name, default)
        if self.env.get(name):
            msg = f"{name} and {name}_FILE are both set, expected one of them"
            raise SettingsError(msg)
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
            msg = f"{name}_FILE must name a readable file, got {path!r}: {reason}"
            raise SettingsError(msg) from None

    def url(self, name: str, schemes: tuple[str, ...], default: str) -> str:
        """Read a URL, a secret as well: it may hold a password, so a message says nothing of it."""
        value = self.secret(name, default)
        try:
            parts = urlsplit(value)
            is_good = parts.scheme in schemes and bool(parts.hostname or parts.path) and parts.port != 0
        except ValueError:
            is_good = False
        if value and not is_good:
            msg = f"{name} must be a URL that begins with {' or '.join(f'{scheme}://' for scheme in schemes)}"
            raise SettingsError(msg)
        return value

    def one_of(self, name: str, allowed: tuple[str, ...], default: str) -> Any:
        """Read one of some words."""
        value = self.text(name, default)
        if value not in allowed:
            msg = f"{name} must be one of {', '.join(word for word in allowed if word)}, got {value!r}"
            raise SettingsError(msg)
        return value

    def integer(self, name: str, default: int, low: int, high: int) -> int:
        """Read a whole number within limits."""
        parsed: int = self._within(name, str(default), (low, high), int, "a whole number")
        return parsed

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Read a number within limits."""
        parsed: float = self._within(name, str(default), (low, high), float, "a number")
        return parsed

    def _within(
        self, name: str, default: str, limits: tuple[float, float], parse: Callable[[str], Any], kind: str
    ) -> Any:
        value = self.text(name, default)
        try:
            parsed = parse(value)
        except ValueError:
            parsed = None
        low, high = limits
        if parsed is None or not low <= parsed <= high:
            msg = f"{name} must be {kind} from {low} to {high}, got {value!r}"
            raise SettingsError(msg)
        return parsed
