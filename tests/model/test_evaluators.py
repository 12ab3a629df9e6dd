import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from model.evaluators import agree, in_onnxruntime, in_sklearn
from model.trees import trees_of
from tests.model.builders import a_matrix, a_model


@pytest.fixture(scope="module")
def large() -> HistGradientBoostingClassifier:
    """A model of the size that a bank would have, with noise so that every tree is full."""
    dice = np.random.default_rng(1)
    matrix = dice.normal(size=(20_000, 24)).round(2)
    label = (matrix[:, 0] * matrix[:, 1] + matrix[:, 2] > 0) ^ (dice.random(20_000) < 0.1)
    return HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=31, early_stopping=False).fit(matrix, label)


@pytest.mark.parametrize("rows", [1, 2, 19, 257, 5_000, 40_000])
def test_onnxruntime_gives_scikit_learns_bits_for_batches_of_any_size(
    large: HistGradientBoostingClassifier, rows: int
) -> None:
    matrix = np.random.default_rng(rows).normal(size=(rows, 24)).round(2)

    raw = in_onnxruntime(large)(matrix)

    assert raw.dtype == np.float64
    assert raw.tobytes() == in_sklearn(large)(matrix).tobytes()
    assert rows == 1 or len(np.unique(raw)) > 1


def test_a_vector_on_a_threshold_goes_the_same_way(large: HistGradientBoostingClassifier) -> None:
    nodes = np.concatenate(trees_of(large))
    splits = nodes[nodes["is_leaf"] == 0]
    matrix = np.zeros((3 * len(splits), 24))
    for at, node in enumerate(splits):
        split = float(node["num_threshold"])
        matrix[3 * at : 3 * at + 3, int(node["feature_idx"])] = [
            np.nextafter(split, -np.inf),
            split,
            np.nextafter(split, np.inf),
        ]

    assert in_onnxruntime(large)(matrix).tobytes() == in_sklearn(large)(matrix).tobytes()


def test_a_model_whose_trees_are_single_leaves_works_too() -> None:
    label = np.arange(60) % 3 == 0
    constant = HistGradientBoostingClassifier(max_iter=3, min_samples_leaf=100).fit(a_matrix(60), label)

    assert all(len(tree) == 1 for tree in trees_of(constant))
    assert in_onnxruntime(constant)(a_matrix(9)).tobytes() == in_sklearn(constant)(a_matrix(9)).tobytes()


def test_the_check_at_opening_passes_what_is_equal_and_catches_one_bit() -> None:
    model = a_model()
    evaluate = in_onnxruntime(model)

    assert agree(model, evaluate)
    assert not agree(model, lambda matrix: np.nextafter(evaluate(matrix), np.inf))


def test_columns_in_another_memory_order_are_the_same_vectors(large: HistGradientBoostingClassifier) -> None:
    matrix = np.random.default_rng(3).normal(size=(100, 24))

    assert np.array_equal(in_onnxruntime(large)(np.asfortranarray(matrix)), in_onnxruntime(large)(matrix))
