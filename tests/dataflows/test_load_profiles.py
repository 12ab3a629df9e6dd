"""What is normal for users, from stored events into Redis: only of honest sessions, and nothing newer is lost."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import redis

from dataflows.connectors.profile_store import TTL_SECONDS
from dataflows.load_profiles import main
from features.profile import read
from infra.embedded import EmbeddedRedis
from infra.server_process import free_port
from model.simulator.__main__ import main as simulate_weeks


@pytest.fixture
def store(empty_redis: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    monkeypatch.setenv("REDIS_URL", empty_redis.url)
    with redis.Redis.from_url(empty_redis.url) as client:
        yield client


@pytest.fixture(scope="module")
def weeks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weeks")
    assert simulate_weeks(["--out", str(folder), "--customers", "30", "--days", "10", "--attack-share", "0.2"]) == 0
    return folder


def load(weeks: Path, *more: str) -> int:
    return main(["--events", str(weeks / "events.parquet"), *more])


def test_a_user_has_the_normal_of_their_honest_sessions(
    weeks: Path, store: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    events = pl.read_parquet(weeks / "events.parquet")
    fraud = pl.read_csv(weeks / "labels.csv")["session_id"].to_list()
    honest = events.filter(~pl.col("session_id").is_in(fraud)).group_by("user_id")
    expected = honest.agg(pl.col("session_id").n_unique(), pl.col("timestamp").max()).rows()

    assert load(weeks, "--labels", str(weeks / "labels.csv")) == 0

    profiles = {user: read([store.get(f"profile:{user}")])[0] for user, _, _ in expected}
    assert [(user, one["sessions"], one["latest_ms"]) for user, one in profiles.items()] == expected
    assert len(store.keys()) == len(expected) < events["user_id"].n_unique() + 1
    assert 0 < store.ttl(f"profile:{expected[0][0]}") <= TTL_SECONDS
    assert f"{len(expected)} profiles written, 0 were there" in capsys.readouterr().out


def test_without_labels_all_sessions_are_learned_from(weeks: Path, store: redis.Redis) -> None:
    events = pl.read_parquet(weeks / "events.parquet")
    sessions = dict(events.group_by("user_id").agg(pl.col("session_id").n_unique()).rows())

    assert load(weeks) == 0

    assert {user: read([store.get(f"profile:{user}")])[0]["sessions"] for user in sessions} == sessions


def test_what_is_there_from_later_sessions_stays_and_what_is_none_is_replaced(
    weeks: Path, store: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    load(weeks)
    later, older, other, *_ = sorted(key.decode() for key in store.scan_iter())
    whole = {key: store.get(key) for key in (later, older, other)}
    profile = read([whole[later]]).copy()
    profile["latest_ms"] += 1
    store.set(later, profile.tobytes())
    profile["latest_ms"] = 1
    store.set(older, profile.tobytes())
    store.set(other, b"who wrote this")
    capsys.readouterr()

    assert load(weeks) == 0

    assert int(read([store.get(later)])[0]["latest_ms"]) == int(read([whole[later]])[0]["latest_ms"]) + 1
    assert (store.get(older), store.get(other)) == (whole[older], whole[other])
    assert "2 profiles written" in capsys.readouterr().out


def test_what_cannot_be_done_is_said_in_one_line(
    weeks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")

    statuses = [main(["--events", str(tmp_path / "none.parquet")]), load(weeks, "--labels", str(tmp_path / "none.csv"))]
    statuses.append(load(weeks))

    lines = capsys.readouterr().err.splitlines()
    assert statuses == [2, 2, 1]
    assert len(lines) == 3
    assert all(line.startswith("python -m dataflows.load_profiles: ") for line in lines)
