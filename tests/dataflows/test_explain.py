"""Flags are computed again, by the command and on real flags of a running service."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dataflows.connectors.registry import Writers
from dataflows.connectors.topic_reader import TopicReader
from dataflows.explanation import EQUAL, Explanation, Sources, explain
from dataflows.explanation_page import page
from dataflows.settings import Settings
from features.session import FEATURES
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from model.artifacts import ArtifactError, ArtifactShelf
from observability.health import Readiness
from schemas import catalogue
from tests.service import PARTITIONS, Setting, stream


@pytest.fixture(scope="module")
def flagged(
    embedded_kafka: EmbeddedKafka,
    redis_server: EmbeddedRedis,
    new_topics: Callable[..., list[str]],
    model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Setting, list[dict[str, Any]]]:
    """A service that has read a stream, and its flags."""
    topics = new_topics("events", "flags", "letters", partitions=PARTITIONS)
    setting = Setting(embedded_kafka, redis_server.url, topics, model_dir, tmp_path_factory.mktemp("explain"))
    records = stream()
    setting.produce(records)
    with setting.running() as service:
        service.wait_for_all(len(records))
    return setting, [catalogue.read(catalogue.FLAG, message.value() or b"") for message in setting.read(setting.flags)]


def explained(setting: Setting, flag: dict[str, Any]) -> Explanation:
    settings = Settings.from_env(setting.env)
    with TopicReader(settings, flag["topic"]) as events:
        shelf = ArtifactShelf(settings.model_dir)
        return explain(flag, Sources(events, Writers("", Readiness()), shelf, settings.lateness_ms))


def run(setting: Setting, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dataflows.explain", *arguments]
    env = {**os.environ, **setting.env}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603


def test_every_flag_is_equal_to_the_bit_by_its_own_state_and_by_its_session(
    flagged: tuple[Setting, list[dict[str, Any]]],
) -> None:
    setting, flags = flagged
    assert len(flags) > 50

    for flag in flags[:40]:
        found = explained(setting, flag)

        assert found.first == EQUAL
        assert found.holds, found.second
        assert found.baseline + found.others + sum(each.contribution for each in found.reasons) == pytest.approx(
            flag["raw_score"], rel=1e-9
        )
        assert found.steps[-1].score == flag["score"] or found.second != EQUAL


def test_a_flag_that_was_changed_is_found_out_by_the_features_name(
    flagged: tuple[Setting, list[dict[str, Any]]],
) -> None:
    setting, flags = flagged
    vector = list(flags[0]["features"])
    vector[FEATURES.index("session_events")] += 1

    found = explained(setting, {**flags[0], "features": vector})

    assert found.first == "session_events differs"
    assert not found.holds


def test_a_raw_score_that_was_changed_is_found_out(flagged: tuple[Setting, list[dict[str, Any]]]) -> None:
    setting, flags = flagged

    found = explained(setting, {**flags[0], "raw_score": flags[0]["raw_score"] + 1e-12})

    assert found.first.startswith("raw score")
    assert not found.holds


def test_without_its_model_a_flag_is_not_explained(flagged: tuple[Setting, list[dict[str, Any]]]) -> None:
    setting, flags = flagged

    with pytest.raises(ArtifactError, match="cannot be read"):
        explained(setting, {**flags[0], "model_id": "0" * 16})


def test_the_command_tells_the_session_and_writes_a_page(
    flagged: tuple[Setting, list[dict[str, Any]]], tmp_path: Path
) -> None:
    setting, flags = flagged
    flag = flags[3]

    done = run(setting, flag["flag_id"], "--html", str(tmp_path / "flag.html"))

    assert done.returncode == 0, done.stderr
    assert f"from the state in the flag: {EQUAL}" in done.stdout
    assert flag["reasons"][0]["code"] in done.stdout
    html = (tmp_path / "flag.html").read_text()
    assert html.startswith("<!doctype html>")
    assert html.count("<svg") == 3
    assert "src=" not in html
    assert "http" not in html


def test_the_command_gives_json_without_devices_and_addresses(
    flagged: tuple[Setting, list[dict[str, Any]]],
) -> None:
    setting, flags = flagged

    done = run(setting, flags[0]["flag_id"], "--json")

    told = json.loads(done.stdout)
    assert (told["holds"], told["first"]) == (True, EQUAL)
    assert told["steps"][-1]["event_type"]
    assert not {"ip", "device_fingerprint", "input_hash"} & set(told["steps"][0])


def test_a_flag_that_is_not_there_is_said_in_one_line(flagged: tuple[Setting, list[dict[str, Any]]]) -> None:
    setting, _ = flagged

    done = run(setting, "0" * 64)

    assert done.returncode == 1
    assert done.stderr == f"explain: topic {setting.flags} has no flag {'0' * 64}\n"


def test_what_came_in_events_is_escaped_on_the_page(flagged: tuple[Setting, list[dict[str, Any]]]) -> None:
    setting, flags = flagged
    found = explained(setting, flags[0])
    hostile = [found.steps[0].__class__("t", "g", "click", "/<script>alert(1)</script>", 1, "", 0.5, "")]

    html = page(Explanation(**{name: getattr(found, name) for name in found.__slots__} | {"steps": hostile}))

    assert "<script>" not in html
    assert "&lt;script&gt;" in html
