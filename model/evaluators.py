"""Two ways to add up the trees of a model, equal to the bit: scikit-learn's own, and the same trees in ONNX Runtime.

scikit-learn walks one tree after the other for the whole batch, with a fixed cost a call that is larger than a small
batch. ONNX Runtime does all trees in one call. Both add the baseline first and then the trees in their order, in
double precision, so that every bit is the same; whoever opens a model checks that (`agree`), and must not use one that
differs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
import sklearn
from numpy.typing import NDArray
from onnx import TensorProto, helper

from model.trees import baseline_of, trees_of

Evaluator = Literal["onnxruntime", "sklearn"]
Evaluate = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Feature matrix, float64 (events, features), to log-odds, float64 (events,)."""

_SUM, _LESS_OR_EQUAL = 1, 0
_OPSET, _IR_VERSION = 5, 9
_PROBES = 256


def in_sklearn(model: Any) -> Evaluate:
    """Return scikit-learn's evaluation of a classifier."""

    def evaluate(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        with sklearn.config_context(assume_finite=True):
            raw: NDArray[np.float64] = model.decision_function(matrix)
        return raw

    return evaluate


def in_onnxruntime(model: Any) -> Evaluate:
    """Return ONNX Runtime's evaluation of a classifier: one thread, as the flow has one worker a core.

    Raises:
        TreeError: If the classifier is not a binary one over plain numbers.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    graph = as_onnx(trees_of(model), baseline_of(model), model.n_features_in_).SerializeToString()
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def evaluate(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        [raw] = session.run(None, {"matrix": np.ascontiguousarray(matrix)})
        log_odds: NDArray[np.float64] = raw[:, 0]
        return log_odds

    return evaluate


def agree(model: Any, evaluate: Evaluate) -> bool:
    """Say whether an evaluation gives scikit-learn's bits, for vectors on and beside the trees' own thresholds."""
    dice = np.random.default_rng(0)
    probes = dice.normal(size=(_PROBES, model.n_features_in_))
    nodes = np.concatenate(trees_of(model))
    for feature in range(model.n_features_in_):
        at = nodes["num_threshold"][(nodes["is_leaf"] == 0) & (nodes["feature_idx"] == feature)]
        at = at[np.isfinite(at)]
        if len(at):
            beside = np.concatenate([at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf)])
            probes[:, feature] = dice.choice(beside, _PROBES)
    return bool(np.array_equal(evaluate(probes), in_sklearn(model)(probes)))


@dataclass(slots=True)
class _Nodes:
    """The attributes of ONNX' TreeEnsemble, as they grow; a child is a node, or a leaf where its `..._leafs` is 1."""

    featureids: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    truenodeids: list[int] = field(default_factory=list)
    trueleafs: list[int] = field(default_factory=list)
    falsenodeids: list[int] = field(default_factory=list)
    falseleafs: list[int] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    leaf_weights: list[float] = field(default_factory=list)

    def add_tree(self, nodes: NDArray[np.void]) -> None:
        """Add a tree behind the others."""
        first = len(self.splits)
        self.roots.append(first)
        if nodes[0]["is_leaf"]:
            self.add_constant(float(nodes[0]["value"]))
            return
        place = first + np.cumsum(nodes["is_leaf"] == 0) - 1
        for node in nodes[nodes["is_leaf"] == 0]:
            true, is_leaf = self._child(nodes, int(node["left"]), place)
            false, other_is_leaf = self._child(nodes, int(node["right"]), place)
            self._add(int(node["feature_idx"]), float(node["num_threshold"]), (true, is_leaf), (false, other_is_leaf))

    def add_constant(self, value: float) -> None:
        """Add a node both of whose sides are one value."""
        self.leaf_weights.append(value)
        leaf = len(self.leaf_weights) - 1, 1
        self._add(0, 0.0, leaf, leaf)

    def _child(self, nodes: NDArray[np.void], at: int, place: NDArray[np.int64]) -> tuple[int, int]:
        if not nodes[at]["is_leaf"]:
            return int(place[at]), 0
        self.leaf_weights.append(float(nodes[at]["value"]))
        return len(self.leaf_weights) - 1, 1

    def _add(self, feature: int, split: float, true: tuple[int, int], false: tuple[int, int]) -> None:
        self.featureids.append(feature)
        self.splits.append(split)
        self.truenodeids.append(true[0])
        self.trueleafs.append(true[1])
        self.falsenodeids.append(false[0])
        self.falseleafs.append(false[1])


def as_onnx(trees: list[NDArray[np.void]], baseline: float, features: int) -> onnx.ModelProto:
    """Write trees as an ONNX model: `matrix`, double (events, features), to `raw`, double (events, 1).

    The baseline is a tree of its own, the first one, because scikit-learn begins with it: floating-point sums depend on
    their order.

    Args:
        trees: As `trees_of` returns them.
        baseline: What their values are added to.
        features: The columns of the matrix.
    """
    nodes = _Nodes()
    nodes.roots.append(0)
    nodes.add_constant(baseline)
    for tree in trees:
        nodes.add_tree(tree)
    ensemble = helper.make_node(
        "TreeEnsemble",
        ["matrix"],
        ["raw"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=_SUM,
        tree_roots=nodes.roots,
        nodes_modes=helper.make_tensor(
            "modes", TensorProto.UINT8, [len(nodes.splits)], [_LESS_OR_EQUAL] * len(nodes.splits)
        ),
        nodes_featureids=nodes.featureids,
        nodes_splits=_doubles("splits", nodes.splits),
        nodes_truenodeids=nodes.truenodeids,
        nodes_trueleafs=nodes.trueleafs,
        nodes_falsenodeids=nodes.falsenodeids,
        nodes_falseleafs=nodes.falseleafs,
        leaf_targetids=[0] * len(nodes.leaf_weights),
        leaf_weights=_doubles("leaf_weights", nodes.leaf_weights),
    )
    matrix = helper.make_tensor_value_info("matrix", TensorProto.DOUBLE, [None, features])
    raw = helper.make_tensor_value_info("raw", TensorProto.DOUBLE, [None, 1])
    graph = helper.make_graph([ensemble], "trees", [matrix], [raw])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", _OPSET)])
    model.ir_version = _IR_VERSION
    return model


def _doubles(name: str, values: list[float]) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values)
