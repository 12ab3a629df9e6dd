from dataclasses import asdict
from pathlib import Path

import pytest

from dataflows.settings import Settings, SettingsError

DEFAULTS = {
    "kafka_bootstrap_servers": "127.0.0.1:9092",
    "kafka_security_protocol": "plaintext",
    "kafka_sasl_mechanism": "SCRAM-SHA-512",
    "kafka_sasl_username": "",
    "kafka_sasl_password": "",
    "kafka_ssl_ca_location": "",
    "kafka_group": "clickstream-fraud",
    "events_topic": "clickstream-events",
    "flags_topic": "fraud-flags",
    "dead_letters_topic": "clickstream-dead-letters",
    "status_topic": "account-status",
    "schema_registry_url": "",
    "redis_url": "redis://127.0.0.1:6379/0",
    "enrichment": "redis",
    "evaluator": "onnxruntime",
    "model_dir": Path("model/artifacts"),
    "review_above": 0.8,
    "block_above": 0.95,
    "lateness_seconds": 3600,
    "max_live_sessions": 1_000_000,
    "page_count_retention_seconds": 86_400,
    "session_ttl_seconds": 1_800,
    "flush_interval_ms": 250,
    "start_from": "",
    "accept_gap": False,
    "lane": 0,
    "lanes": 1,
    "whole_snapshots": False,
    "start_timeout_seconds": 120,
    "delivery_timeout_seconds": 120,
    "stop_timeout_seconds": 10,
    "metrics_host": "127.0.0.1",
    "metrics_port": 9400,
    "log_format": "console",
}

CHANGED = {
    "KAFKA_BOOTSTRAP_SERVERS": ("kafka_bootstrap_servers", "kafka-1:9093,kafka-2:9093"),
    "KAFKA_SSL_CA_LOCATION": ("kafka_ssl_ca_location", "ca.pem"),
    "KAFKA_GROUP": ("kafka_group", "blue"),
    "EVENTS_TOPIC": ("events_topic", "events"),
    "FLAGS_TOPIC": ("flags_topic", "flags"),
    "DEAD_LETTERS_TOPIC": ("dead_letters_topic", "letters"),
    "STATUS_TOPIC": ("status_topic", "statuses"),
    "SCHEMA_REGISTRY_URL": ("schema_registry_url", "https://registry:8081"),
    "REDIS_URL": ("redis_url", "rediss://redis:6380/1"),
    "ENRICHMENT": ("enrichment", "none"),
    "EVALUATOR": ("evaluator", "sklearn"),
    "REVIEW_ABOVE": ("review_above", "0.5"),
    "BLOCK_ABOVE": ("block_above", "0.99"),
    "LATENESS_SECONDS": ("lateness_seconds", "60"),
    "MAX_LIVE_SESSIONS": ("max_live_sessions", "7"),
    "PAGE_COUNT_RETENTION": ("page_count_retention_seconds", "7200"),
    "SESSION_TTL": ("session_ttl_seconds", "60"),
    "FLUSH_INTERVAL_MS": ("flush_interval_ms", "100"),
    "START_FROM": ("start_from", "beginning"),
    "START_TIMEOUT": ("start_timeout_seconds", "1"),
    "DELIVERY_TIMEOUT": ("delivery_timeout_seconds", "2"),
    "STOP_TIMEOUT": ("stop_timeout_seconds", "3"),
    "METRICS_HOST": ("metrics_host", "0.0.0.0"),  # noqa: S104 - a value, nothing listens
    "METRICS_PORT": ("metrics_port", "0"),
    "LOG_FORMAT": ("log_format", "json"),
}

BAD = [
    ("KAFKA_SECURITY_PROTOCOL", "tls", "must be one of plaintext, ssl, sasl_plaintext, sasl_ssl, got 'tls'"),
    ("KAFKA_SASL_MECHANISM", "MD5", "must be one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, got 'MD5'"),
    ("ENRICHMENT", "maybe", "must be one of redis, none, got 'maybe'"),
    ("EVALUATOR", "gpu", "must be one of onnxruntime, sklearn, got 'gpu'"),
    ("START_FROM", "yesterday", "must be one of beginning, committed, got 'yesterday'"),
    ("ACCEPT_GAP", "true", "must be one of 0, 1, got 'true'"),
    ("LOG_FORMAT", "xml", "must be one of console, json, got 'xml'"),
    ("REVIEW_ABOVE", "1.01", "must be a number from 0 to 1, got '1.01'"),
    ("REVIEW_ABOVE", "nan", "must be a number from 0 to 1, got 'nan'"),
    ("BLOCK_ABOVE", "high", "must be a number from 0 to 1, got 'high'"),
    ("LATENESS_SECONDS", "-1", "must be a whole number from 0 to 604800, got '-1'"),
    ("MAX_LIVE_SESSIONS", "0", "must be a whole number from 1 to 100000000, got '0'"),
    ("PAGE_COUNT_RETENTION", "7199", "must be a whole number from 7200 to 31622400, got '7199'"),
    ("SESSION_TTL", "0", "must be a whole number from 1 to 2592000, got '0'"),
    ("FLUSH_INTERVAL_MS", "0.5", "must be a whole number from 1 to 60000, got '0.5'"),
    ("LANE", "-1", "must be a whole number from 0 to 9999, got '-1'"),
    ("LANES", "0", "must be a whole number from 1 to 10000, got '0'"),
    ("START_TIMEOUT", "0", "must be a whole number from 1 to 3600, got '0'"),
    ("DELIVERY_TIMEOUT", "1h", "must be a whole number from 1 to 3600, got '1h'"),
    ("STOP_TIMEOUT", "3601", "must be a whole number from 1 to 3600, got '3601'"),
    ("METRICS_PORT", "65536", "must be a whole number from 0 to 65535, got '65536'"),
]

TOGETHER = [
    ({"LANE": "2", "LANES": "2"}, "LANE must be below LANES=2, got 2"),
    ({"REVIEW_ABOVE": "0.95"}, "BLOCK_ABOVE must be above REVIEW_ABOVE=0.95, got 0.95"),
    (
        {"LATENESS_SECONDS": "86400"},
        "PAGE_COUNT_RETENTION must be above LATENESS_SECONDS=86400, got 86400",
    ),
    (
        {"KAFKA_SECURITY_PROTOCOL": "sasl_ssl"},
        "KAFKA_SASL_USERNAME must be set with KAFKA_SECURITY_PROTOCOL=sasl_ssl",
    ),
]

SECRETS = {
    "KAFKA_SASL_PASSWORD": ("kafka_sasl_password", "open sesame"),
    "SCHEMA_REGISTRY_URL": ("schema_registry_url", "https://reader:open-sesame@registry:8081"),
    "REDIS_URL": ("redis_url", "redis://writer:open-sesame@redis:6379/0"),
}


def test_an_empty_environment_gives_the_defaults() -> None:
    assert asdict(Settings.from_env({})) == DEFAULTS


@pytest.mark.parametrize("name", CHANGED)
def test_a_variable_sets_its_field_and_no_other(name: str) -> None:
    field, value = CHANGED[name]

    settings = asdict(Settings.from_env({name: value}))

    assert str(settings[field]) == value
    assert settings | {field: DEFAULTS[field]} == DEFAULTS


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    names = [*CHANGED, *(f"{name}_FILE" for name in SECRETS), "LANE", "LANES", "ACCEPT_GAP", "MODEL_DIR"]

    assert asdict(Settings.from_env(dict.fromkeys(names, ""))) == DEFAULTS


@pytest.mark.parametrize(("name", "value", "line"), BAD)
def test_a_bad_value_is_refused_in_one_line_with_name_value_and_what_is_allowed(
    name: str, value: str, line: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({name: value})

    assert str(refusal.value) == f"{name} {line}"


@pytest.mark.parametrize(("env", "line"), TOGETHER)
def test_settings_that_do_not_go_together_are_refused(env: dict[str, str], line: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        Settings.from_env(env)

    assert str(refusal.value) == line


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("REDIS_URL", "redis.internal:6379/secret"),
        ("REDIS_URL", "redis://:secret@redis:port/0"),
        ("SCHEMA_REGISTRY_URL", "file:///etc/secret"),
        ("SCHEMA_REGISTRY_URL", "http://[secret"),
    ],
)
def test_a_bad_url_is_refused_without_being_shown_since_it_may_hold_a_password(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} must be a URL that begins with ") as refusal:
        Settings.from_env({name: value})

    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_comes_from_its_variable_or_from_a_file(name: str, tmp_path: Path) -> None:
    field, secret = SECRETS[name]
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")

    by_variable = Settings.from_env({name: secret})
    by_file = Settings.from_env({f"{name}_FILE": str(file)})

    assert getattr(by_variable, field) == getattr(by_file, field) == secret
    assert "sesame" not in repr(by_file)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_in_both_places_is_refused_without_being_shown(name: str, tmp_path: Path) -> None:
    secret = SECRETS[name][1]

    with pytest.raises(SettingsError) as refusal:
        Settings.from_env({name: secret, f"{name}_FILE": str(tmp_path / "secret")})

    assert str(refusal.value) == f"{name} and {name}_FILE are both set, expected one of them"


def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing, binary = tmp_path / "missing", tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match=r"REDIS_URL_FILE must name a readable file, got .*missing.*No such file"):
        Settings.from_env({"REDIS_URL_FILE": str(missing)})
    with pytest.raises(SettingsError, match=r"KAFKA_SASL_PASSWORD_FILE .*binary.*: not UTF-8"):
        Settings.from_env({"KAFKA_SASL_PASSWORD_FILE": str(binary)})


def test_a_kafka_client_gets_who_we_are_only_where_that_is_asked_for() -> None:
    credentials = {"KAFKA_SASL_USERNAME": "fraud", "KAFKA_SASL_PASSWORD": "open sesame"}

    open_door = Settings.from_env(credentials).kafka()
    guarded = Settings.from_env(credentials | {"KAFKA_SECURITY_PROTOCOL": "sasl_ssl"}).kafka()

    assert open_door["bootstrap.servers"] == "127.0.0.1:9092"
    assert not [name for name in open_door if name.startswith(("sasl", "ssl"))]
    assert guarded == open_door | {
        "security.protocol": "sasl_ssl",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "fraud",
        "sasl.password": "open sesame",
    }
