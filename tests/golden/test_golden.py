"""State that a release has written is still read, and gives what it gave then."""

import json
from pathlib import Path
from typing import Any

import pytest
from bytewax.visualize import to_rendered

from dataflows.fraud import build, live_ends
from dataflows.service import Service
from dataflows.settings import Settings
from features.session import FEATURES
from tests.golden.states import FOLDER, what_follows, written

RELEASES = sorted(path for path in FOLDER.iterdir() if path.is_dir() and (path / "what_follows.json").exists())
NAMES = ("admission", "page_windows", "live_sessions", "decisions", "position")

STEPS = (
    *("events_in", "decode", "admit", "dead_letters_out", "page_windows", "page_counts_out"),
    *("enrich", "sessions", "score", "decide", "flags_out", "features_out"),
)
"""Stored state is found under these names: one that changes is lost without a word from the engine."""


@pytest.mark.parametrize("release", RELEASES, ids=lambda path: path.name)
def test_the_state_of_every_release_still_gives_what_it_gave(release: Path) -> None:
    stored = {name: (release / f"{name}.bin").read_bytes() for name in NAMES}
    expected = json.loads((release / "what_follows.json").read_text())
    if len(expected["vectors"][0]) < len(FEATURES):
        expected["partial"] = [True] * len(expected["partial"])

    assert with_as_many_features(what_follows(stored), expected) == expected


def test_there_is_a_release_to_compare_with() -> None:
    assert RELEASES


def test_state_written_now_gives_the_same_as_the_newest_releases() -> None:
    expected = json.loads((RELEASES[-1] / "what_follows.json").read_text())

    assert with_as_many_features(what_follows(written()), expected) == expected


def with_as_many_features(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """Leave out the features that the release did not have: they come after its own."""
    count = len(expected["vectors"][0])
    return {**found, "vectors": [vector[:count] for vector in found["vectors"]]}


def test_the_steps_have_the_names_under_which_their_state_is_stored() -> None:
    service = Service(Settings.from_env({}))

    rendered = to_rendered(build(service, live_ends(service)))

    assert rendered.flow_id == "fraud"
    assert tuple(step.step_id.removeprefix("fraud.") for step in rendered.substeps) == STEPS
