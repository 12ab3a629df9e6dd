from pathlib import Path

import numpy as np
import pytest

from features.session import FEATURES
from model.reasons import CODES, Reasons
from model.scorer import Scorer
from tests.model.builders import a_matrix, an_artifact


def test_baseline_and_contributions_add_up_to_the_raw_score(tmp_path: Path) -> None:
    artifact = an_artifact(tmp_path)
    reasons = Reasons(artifact)
    matrix = a_matrix(300, seed=6)

    sums = [reasons.baseline + sum(reasons.contributions(row)) for row in matrix]

    assert sums == pytest.approx(Scorer(artifact).raw(matrix), rel=1e-9, abs=1e-12)


def test_baseline_is_what_the_manifest_expects(tmp_path: Path) -> None:
    artifact = an_artifact(tmp_path)

    assert Reasons(artifact).baseline == pytest.approx(artifact.manifest.expected_raw, rel=1e-12)


def test_reasons_are_the_largest_positive_contributions(tmp_path: Path) -> None:
    reasons = Reasons(an_artifact(tmp_path))
    vector = a_matrix(1, seed=8)[0]
    vector[[3, 20]] = 2.5

    explained = reasons.explain(vector, top=4)

    by_size = sorted(reasons.contributions(vector), reverse=True)
    assert [reason.contribution for reason in explained] == [size for size in by_size[:4] if size > 0]
    assert {explained[0].feature, explained[1].feature} == {FEATURES[3], FEATURES[20]}
    assert explained[0].code == CODES[explained[0].feature]
    assert explained[0].value == 2.5


def test_row_without_anything_suspicious_has_only_the_reasons_it_has(tmp_path: Path) -> None:
    reasons = Reasons(an_artifact(tmp_path))
    vector = np.full(len(FEATURES), -2.0)

    explained = reasons.explain(vector, top=len(FEATURES))

    assert all(reason.contribution > 0 for reason in explained)
    assert len(explained) < len(FEATURES)


def test_every_feature_has_a_code() -> None:
    assert set(CODES) == set(FEATURES)


def test_codes_are_upper_case_words_for_rules_to_name() -> None:
    assert all(code.isupper() and code.replace("_", "").isalpha() for code in CODES.values())
