"""The oracle against the flow between lists, and its walk of the trees against scikit-learn, to the bit."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bytewax.testing import run_main

from dataflows.connectors.vectors import as_frame, vectors_of
from features.session import FEATURES
from model.artifacts import ArtifactShelf
from model.scorer import Scorer
from tests.crash.flagging_model import save_flagging_model
from tests.crash.oracle import Expected, digest, level_of, minute_name, replay
from tests.crash.plain_events import EventReader, RefusedError
from tests.crash.plain_model import PlainModel
from tests.crash.stream import start_before, stream
from tests.dataflows.running_flow import ListedFlow, raw_batch

COUNT = 4_000
NOW_MS = 1_790_000_000_000
CUT = 137


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_flagging_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def values() -> list[bytes | None]:
    return [value for _, value in stream(11, COUNT, start_before(NOW_MS))]


@pytest.fixture(scope="module")
def expected(model_dir: Path, values: list[bytes | None]) -> Expected:
    records = ((offset, NOW_MS, value) for offset, value in enumerate(values))
    return replay({0: records}, PlainModel.current(model_dir))


@pytest.fixture(scope="module")
def flow(model_dir: Path, values: list[bytes | None]) -> ListedFlow:
    model_id = ArtifactShelf(model_dir).current()
    batches = [raw_batch(values[at : at + CUT], model_id, first_offset=at) for at in range(0, COUNT, CUT)]
    items = [("0", replace(batch, kafka_ms=np.full(len(batch.values), NOW_MS, dtype=np.int64))) for batch in batches]
    listed = ListedFlow(model_dir, items)
    run_main(listed.dataflow())  # type: ignore[no-untyped-call]
    return listed


def test_its_page_counts_are_those_of_the_flow(expected: Expected, flow: ListedFlow) -> None:
    counts: dict[str, dict[str, int]] = {}
    for update in flow.counted(0):
        for count in update.counts:
            counts.setdefault(count.page, {})[minute_name(count.minute_ms)] = count.count

    assert sum(map(len, counts.values())) > 200
    assert counts == expected.counts


def test_its_vectors_scores_and_levels_are_those_of_the_flow_to_the_bit(expected: Expected, flow: ListedFlow) -> None:
    found: dict[str, dict[str, Any]] = {}
    for decided in flow.decided(0):
        found |= {row["session_id"]: row for row in as_frame([vectors_of(decided, 0)]).iter_rows(named=True)}

    assert len(found) > 100
    assert {session_id: [row[name] for name in FEATURES] for session_id, row in found.items()} == {
        session_id: wanted["features"] for session_id, wanted in expected.vectors.items()
    }
    assert {session_id: (row["score"], row["level"]) for session_id, row in found.items()} == {
        session_id: (wanted["score"], wanted["level"]) for session_id, wanted in expected.vectors.items()
    }


def test_its_flags_are_those_of_the_flow(expected: Expected, flow: ListedFlow) -> None:
    flags = {
        crossing.flag_id: [
            crossing.level.name,
            0,
            decided.scored.features.enriched.events["offset"][crossing.row],
            float(decided.scored.raw[crossing.row]),
            float(decided.scored.score[crossing.row]),
        ]
        for decided in flow.decided(0)
        for crossing in decided.crossings
    }

    assert {level for level, *_ in flags.values()} == {"review", "block"}
    assert flags == expected.flags


def test_its_dead_letters_are_those_of_the_flow(expected: Expected, flow: ListedFlow) -> None:
    letters = {
        f"0:{letter.offset}": [letter.reason, digest(letter.value)]
        for batch in flow.admitted(0)
        for letter in batch.dead_letters
    }

    assert len({reason for reason, _ in letters.values()}) > 10
    assert letters == expected.letters


def test_every_record_has_one_outcome(expected: Expected) -> None:
    outcomes = expected.outcomes["0"]

    assert outcomes["consumed"] == COUNT
    assert all(outcomes[name] > 0 for name in ("scored", "duplicate", "late", "dead"))
    assert outcomes["dead"] + outcomes["late"] == len(expected.letters)


def test_what_it_expects_survives_its_file_to_the_bit(expected: Expected, tmp_path: Path) -> None:
    expected.save(tmp_path / "expected.json")

    assert Expected.load(tmp_path / "expected.json") == expected


def test_walking_the_trees_gives_the_scores_of_scikit_learn_to_the_bit(model_dir: Path) -> None:
    artifact = ArtifactShelf(model_dir).load(ArtifactShelf(model_dir).current())
    plain = PlainModel.current(model_dir)
    dice = np.random.default_rng(1)
    thresholds = np.concatenate([step[0].nodes["num_threshold"] for step in artifact.model._predictors])
    matrix = np.concatenate(
        [dice.normal(15, 12, size=(2_000, len(FEATURES))), dice.choice(thresholds, size=(2_000, len(FEATURES)))]
    )

    found = Scorer(artifact).score(matrix)
    raw = [plain.raw(row) for row in matrix.tolist()]

    assert len(set(raw)) > 100
    assert raw == found.raw.tolist()
    assert [plain.score(value) for value in raw] == found.score.tolist()


def test_scores_at_and_beyond_the_knots_are_those_of_the_service(model_dir: Path) -> None:
    calibration = ArtifactShelf(model_dir).load(ArtifactShelf(model_dir).current()).manifest.calibration
    plain = PlainModel.current(model_dir)
    raw = [*calibration.raw, *np.nextafter(calibration.raw, 99), *np.nextafter(calibration.raw, -99), -50.0, 50.0]

    assert [plain.score(value) for value in raw] == calibration.scores_of(np.array(raw)).tolist()


@pytest.mark.parametrize(
    ("score", "level"), [(0.8, ""), (np.nextafter(0.8, 1), "review"), (0.95, "review"), (0.96, "block")]
)
def test_a_level_begins_strictly_above_its_threshold(score: float, level: str) -> None:
    assert level_of(score) == level


def test_it_reads_a_later_version_of_the_event_by_the_schema_it_is_given(values: list[bytes | None]) -> None:
    later = json.loads((Path(__file__).parents[2] / "schemas" / "banking_ui_event.avsc").read_text())
    later["fields"].append({"name": "channel", "type": ["null", "string"], "default": None})
    good = next(value for value in values if value and value[:5] == b"\x00\x00\x00\x00\x01")

    record = EventReader({7: later}).read(b"\x00\x00\x00\x00\x07" + good[5:] + b"\x00", NOW_MS)

    assert record == EventReader().read(good, NOW_MS)
    with pytest.raises(RefusedError, match="unknown_schema"):
        EventReader({7: later}).read(good, NOW_MS)
