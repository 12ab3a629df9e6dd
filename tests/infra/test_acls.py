import json

from dataflows.risk import RiskProcess, settings_from
from dataflows.settings import Settings
from infra.secure_kafka import ACLS_FILE, Acl, load_acls
from infra.topics import load_topics

README = ACLS_FILE.with_name("README.md").read_text()


def every_acl() -> list[Acl]:
    return [Acl(**entry) for entry in json.loads(ACLS_FILE.read_text())]


def test_the_service_is_granted_what_its_own_settings_name() -> None:
    settings = Settings.from_env({})

    assert {(acl.operation, acl.resource, acl.name) for acl in load_acls("service")} == {
        ("READ", "topic", settings.events_topic),
        ("WRITE", "topic", settings.flags_topic),
        ("WRITE", "topic", settings.dead_letters_topic),
        ("READ", "group", settings.kafka_group),
    }


def test_the_risk_flow_is_granted_what_its_own_settings_name() -> None:
    process = RiskProcess(settings_from({}))

    needed = {(right, "topic", topic) for topic, right in process.rights().items()}
    granted = {(acl.operation, acl.resource, acl.name) for acl in load_acls("risk")}
    assert granted == needed | {("READ", "group", process.settings.kafka_group)}


def test_the_table_in_the_readme_lists_the_rights_of_the_file() -> None:
    rows = [
        row.split(" | ")[:3]
        for row in README.splitlines()
        if row.startswith(("| service |", "| risk |", "| producer |"))
    ]

    assert rows == [[f"| {acl.role}", acl.operation, f"{acl.resource} `{acl.name}`"] for acl in every_acl()]


def test_the_table_in_the_readme_lists_the_topics_of_the_file() -> None:
    rows = {row.split("`")[1]: row for row in README.splitlines() if row.startswith("| `") and row.count("|") == 6}

    assert list(rows) == [topic.name for topic in load_topics()]
    for topic in load_topics():
        is_compact = topic.config["cleanup.policy"] == "compact"
        kept = "for good" if is_compact else f"{int(topic.config['retention.ms']) // 86_400_000} days"
        assert f"| {topic.partitions} | {topic.replication} | {kept} |" in rows[topic.name]
