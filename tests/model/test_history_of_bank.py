"""Weeks of the simulated bank: customers with habits that stay, campaigns that share what they use, and oddities."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.labels import read_labels
from model.profiles import with_profiles
from model.simulator import History, SimulatorConfig, another_world, history
from model.simulator.__main__ import main
from model.simulator.config import ATTACK_MIX
from schemas.events import EVENT_FRAME, LOGIN, TRANSFER

START_MS = 1_749_513_600_000
SMALL = replace(SimulatorConfig(), customers=150, attack_share=0.08)


@pytest.fixture(scope="module")
def weeks() -> History:
    return history(SMALL, 7, 30, START_MS)


def test_the_same_seed_gives_the_same_weeks_and_another_seed_others(weeks: History) -> None:
    again, other = history(SMALL, 7, 30, START_MS), history(SMALL, 8, 30, START_MS)

    assert again.events.equals(weeks.events)
    assert again.labels.equals(weeks.labels)
    assert not other.events.equals(weeks.events)


def test_events_are_a_frame_in_stream_order_with_few_out_of_order_and_none_inside_a_session(weeks: History) -> None:
    events = weeks.events
    assert dict(events.schema) == dict(EVENT_FRAME)
    assert events["row"].to_list() == list(range(events.height))
    behind = events["timestamp"].cum_max() - events["timestamp"]
    assert 0 < (behind > 0).mean() < 0.05
    assert behind.max() <= SMALL.out_of_order_ms
    steps = events.select(pl.col("timestamp").diff().over("session_id")).to_series().drop_nulls()
    assert (steps >= 0).all()


def test_attacks_have_their_share_and_every_kind_comes_with_its_onset(weeks: History) -> None:
    labels, sessions = weeks.labels, weeks.events["session_id"].n_unique()

    assert set(labels["kind"]) == set(ATTACK_MIX)
    assert 0.06 < labels.height / sessions < 0.1
    onsets = labels.join(weeks.events, left_on="onset_event_id", right_on="event_id", how="left")
    assert (onsets["timestamp"] == onsets["onset_at"]).all()
    assert (onsets["session_id"] == onsets["session_id_right"]).all()
    assert (labels["known_at"] > labels["onset_at"]).all()


def test_a_hijack_begins_as_the_customers_own_session(weeks: History) -> None:
    hijacked = weeks.labels.filter(pl.col("kind") == "session_hijack")
    for session, onset in hijacked.select("session_id", "onset_at").iter_rows():
        rows = weeks.events.filter(pl.col("session_id") == session)
        before, after = rows.filter(pl.col("timestamp") < onset), rows.filter(pl.col("timestamp") >= onset)
        assert before.height >= 1
        assert after["ip"][0] != before["ip"][-1]


def test_most_attacks_on_money_move_it_after_some_events(weeks: History) -> None:
    moving = weeks.labels.filter(~pl.col("kind").is_in(["credential_stuffing"]))
    first = weeks.events.filter(pl.col("event_type") == TRANSFER).group_by("session_id").agg(pl.col("timestamp").min())
    moved = moving.join(first, on="session_id", how="left")

    after = moved["timestamp"] > moved["onset_at"]
    assert after.fill_null(value=False).mean() > 0.9


def test_attacks_of_a_campaign_share_devices_or_accounts(weeks: History) -> None:
    kinds = weeks.labels.select("session_id", "kind")
    rows = weeks.events.join(kinds, on="session_id", how="inner")
    stuffing = rows.filter(pl.col("kind") == "credential_stuffing")
    by_device = stuffing.group_by("device_fingerprint").agg(pl.col("user_id").n_unique())
    mules = rows.filter((pl.col("kind") == "mule_payee") & (pl.col("page") == "/payees/new")).drop_nulls("input_hash")
    by_account = mules.group_by("input_hash").agg(pl.col("user_id").n_unique())

    assert by_device["user_id"].max() > 3
    assert by_account["user_id"].max() > 3


def test_customers_keep_their_rhythm(weeks: History) -> None:
    """Sessions of one customer resemble each other more than those of different customers do."""
    honest = weeks.events.join(weeks.labels, on="session_id", how="anti")
    gaps = honest.with_columns(gap=pl.col("timestamp").diff().over("session_id")).filter(pl.col("gap") > 300)
    log = gaps.group_by("session_id", "user_id").agg(pl.col("gap").log().mean(), pl.len()).filter(pl.col("len") >= 10)
    within = log.group_by("user_id").agg(pl.col("gap").var())["gap"].drop_nulls().mean()

    assert within < 0.6 * log["gap"].var()


def test_customers_come_back_with_their_own_devices(weeks: History) -> None:
    honest = weeks.events.join(weeks.labels, on="session_id", how="anti").filter(pl.col("event_type") == LOGIN)
    by_user = honest.group_by("user_id").agg(pl.col("device_fingerprint").n_unique(), pl.len())
    devices = by_user.filter(pl.col("len") > 8)

    assert devices.height > 20
    assert devices["device_fingerprint"].median() <= 3


def test_honest_oddities_come() -> None:
    events, labels = history(replace(SMALL, customers=300, aggregator_share=0.2), 3, 30, START_MS)
    honest = events.join(labels, on="session_id", how="anti")
    per_session = honest.group_by("session_id").agg(
        pl.col("ip").n_unique(), pl.col("ip").first().alias("first"), pl.col("user_id").first()
    )
    by_device = honest.group_by("device_fingerprint").agg(pl.col("user_id").n_unique().alias("users"))
    by_address = honest.group_by("ip").agg(pl.col("user_id").n_unique().alias("users"))
    failed = honest.filter(pl.col("event_type") == 4).group_by("session_id").len()

    assert (per_session["ip"] > 1).mean() > 0.1  # mobile networks
    assert per_session["first"].str.starts_with("23.").sum() + per_session["first"].str.starts_with("185.").sum() > 0
    assert by_device["users"].max() > 10  # a company that reads accounts
    assert by_address["users"].max() > 10  # an office, a carrier
    assert failed["len"].max() >= 2  # somebody forgot the password


def test_difficulty_brings_attackers_nearer_to_their_victims() -> None:
    distance = {}
    for difficulty in (0.0, 1.0):
        config = replace(SMALL, difficulty=difficulty, attack_mix={"account_takeover": 1.0})
        events, labels = history(config, 5, 30, START_MS)
        gaps = events.with_columns(gap=pl.col("timestamp").diff().over("session_id")).filter(pl.col("gap") > 0)
        log = gaps.group_by("session_id", "user_id").agg(pl.col("gap").log().mean())
        usual = log.join(labels, on="session_id", how="anti").group_by("user_id").agg(pl.col("gap").mean().alias("own"))
        attacked = log.join(labels, on="session_id", how="inner").join(usual, on="user_id")
        distance[difficulty] = (attacked["gap"] - attacked["own"]).abs().mean()

    assert distance[1.0] < 0.8 * distance[0.0]


def test_drift_brings_new_phones() -> None:
    phones = defaultdict(set)
    for drift in (0.0, 5.0):
        events, labels = history(replace(SMALL, drift=drift), 5, 40, START_MS)
        honest = events.join(labels, on="session_id", how="anti")
        phones[drift] = set(honest["device_fingerprint"])

    assert len(phones[5.0]) > 1.3 * len(phones[0.0])


def test_other_worlds_differ_and_world_0_is_the_bank_itself() -> None:
    config = SimulatorConfig()

    assert another_world(config, 0) == config
    assert another_world(config, 3) == another_world(config, 3)
    assert len({another_world(config, number).tempo for number in range(5)}) == 5


def test_the_command_writes_events_and_labels_that_are_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--days", "3", "--customers", "60", "--attack-share", "0.1"]) == 0

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    events, labels = pl.read_parquet(tmp_path / "events.parquet"), read_labels(tmp_path / "labels.csv")
    assert told == {"events": events.height, "sessions": events["session_id"].n_unique(), "attacks": labels.height}
    assert events["event_type"].dtype == pl.String
    assert "row" not in events.columns


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "x", "--difficulty", "2"], "argument --difficulty: must be a number from 0 to 1, got '2'"),
        (["--out", "/dev/null/x", "--days", "1", "--customers", "3"], "/dev/null/x"),
    ],
)
def test_what_cannot_be_written_is_refused_in_one_line(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as ended:
        code = int(str(ended.code))

    refused = capsys.readouterr().err
    assert code == 2
    assert says in refused
    assert refused.count("\n") == 1


def test_profiles_of_users_grow_over_the_weeks(weeks: History) -> None:
    profiles = with_profiles(weeks.events, weeks.labels)["profile"]
    known = np.array([len(each) > 0 for each in profiles.to_list()])

    assert known[: len(known) // 10].mean() < 0.6
    assert known[-len(known) // 10 :].mean() > 0.9
