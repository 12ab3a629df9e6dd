"""D21, with real processes: after a fix, what was rejected is replayed and scored, each record exactly once."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from dataflows.connectors.letter_topic import LetterTopic, LetterTopicError
from dataflows.connectors.page_counts import WATERMARKS_KEY
from infra.embedded import EmbeddedKafka, EmbeddedRedis
from infra.server_process import free_port
from schemas import catalogue
from tests.builders import a_session
from tests.dataflows.a_letter_box import LetterBox
from tests.dataflows.connectors.a_registry import KNOWN, Registry
from tests.service import RunningService, Setting, counts_in


def test_after_a_fix_every_repaired_record_is_scored_exactly_once_even_if_the_replay_crashed(
    embedded_kafka: EmbeddedKafka,
    empty_redis: EmbeddedRedis,
    new_topics: Callable[..., list[str]],
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    topics = new_topics("events", "flags", "letters", partitions=4)
    setting = Setting(embedded_kafka, empty_redis.url, topics, model_dir, tmp_path)
    registry = Registry(free_port(), {"/schemas/ids/1": KNOWN})
    monkeypatch.setitem(setting.env, "SCHEMA_REGISTRY_URL", registry.url())
    feed = Feed(setting)

    with registry.up():
        with setting.running() as service:
            feed.until_watermarks_are_published(service)
            assert (service.records("scored"), service.records("dead")) == (200, 100)
            assert service.stop(signal.SIGTERM) == 0
        registry.replies["/schemas/ids/7"] = KNOWN
        for name, value in setting.env.items():
            monkeypatch.setenv(name, value)
        box = LetterBox(embedded_kafka, setting.redis, setting.events, setting.dead_letters, capsys)
        with monkeypatch.context() as crash:
            crash.setattr(LetterTopic, "commit", _crash)
            assert box.run("replay")[0] == 1
        assert box.totals("replay") == {"replayed": 100}
        assert box.totals("replay") == {}
        sent = sum(message.headers() is not None for message in setting.read(setting.events))
        with setting.running() as service:
            service.wait_for_all(300 + sent)
            ends = {name: service.records(name) for name in ("scored", "dead", "late", "duplicate")}
            assert service.stop(signal.SIGTERM) == 0

    assert sent > 100
    assert ends == {"scored": 300, "dead": 100, "late": 0, "duplicate": sent - 100}
    assert sum(counts_in(setting.redis).values()) == 300


def wait_for_a_snapshot(service: RunningService) -> None:
    before = service.samples("fraud_snapshot_timestamp_seconds")
    service.wait_for(lambda: service.samples("fraud_snapshot_timestamp_seconds") != before)


class Feed:
    """Thirty sessions of ten events, of which ten sessions come under schema id 7; one event of each at a time."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        sessions = [a_session(["page_view"] * 10, session_id=f"s-{n}") for n in range(30)]
        self.rounds = [
            [
                (events[n]["session_id"], catalogue.frame(7 if at >= 20 else 1, catalogue.EVENT, events[n]))
                for at, events in enumerate(sessions)
            ]
            for n in range(10)
        ]

    def until_watermarks_are_published(self, service: RunningService) -> None:
        """Send everything: a watermark is published when a later snapshot says that it is durable."""
        self.setting.produce([record for records in self.rounds[:7] for record in records])
        service.wait_for_all(210)
        for count, records in enumerate(self.rounds[7:], start=8):
            wait_for_a_snapshot(service)
            self.setting.produce(records)
            service.wait_for_all(30 * count)
        service.wait_for(lambda: len(self.setting.redis.hgetall(WATERMARKS_KEY)) == 4)


def _crash(*_: object) -> None:
    msg = "the process is gone between sending and noting"
    raise LetterTopicError(msg)
