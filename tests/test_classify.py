"""What `mien.classify` promises about model files."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mien import classify
from mien.types import Classifier, ConfigError, ModelError

LABELS = ("dark", "middle", "bright")
META = {"labels": json.dumps(LABELS), "name": "tiny", "version": "1", "uncertain_below": "0.4"}


def write(
    path: Path, meta: dict[str, str] | None = None, name: str = "crops", kind: int = TensorProto.UINT8,
    side: int = 48, output: str = "probabilities", batch: str | int = "N",
) -> Path:  # fmt: skip
    """A model that tells dark from bright: the mean of the crop times (-1, 0, 1), softmax."""
    nodes = [
        helper.make_node("Cast", [name], ["float"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["float"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Sub", ["column", "centre"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], [output], axis=1),
    ]
    constants = [
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        helper.make_tensor("centre", TensorProto.FLOAT, [1], [127.5]),
        helper.make_tensor("weights", TensorProto.FLOAT, [1, 3], [-0.1, 0.0, 0.1]),
    ]
    inputs = [helper.make_tensor_value_info(name, kind, [batch, side, side])]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 3])]
    made = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
    )  # fmt: skip
    helper.set_model_props(made, META if meta is None else meta)
    onnx.save(made, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.onnx")


def test_a_model_says_what_it_is(path: Path) -> None:
    model = classify.OnnxClassifier(path)
    assert isinstance(model, Classifier)
    assert (model.labels, model.uncertain_below, model.name) == (LABELS, 0.4, "tiny")
    assert model.metadata == META
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_probabilities_follow_the_labels(path: Path) -> None:
    crops = np.stack([np.full((48, 48), v, np.uint8) for v in (0, 255)])
    out = classify.OnnxClassifier(path, threads=1)(crops)
    assert out.dtype == np.float32
    assert out.argmax(axis=1).tolist() == [0, 2]
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-6)


def test_no_crops_give_no_rows(path: Path) -> None:
    assert classify.OnnxClassifier(path)(np.zeros((0, 48, 48), np.uint8)).shape == (0, 3)


def test_large_batches_are_split_and_joined_in_order(path: Path) -> None:
    crops = np.arange(600, dtype=np.uint16).astype(np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    model = classify.OnnxClassifier(path)
    np.testing.assert_allclose(model(crops), np.concatenate([model(crop[None]) for crop in crops]), atol=1e-6)


@pytest.mark.parametrize(
    "crops", [np.zeros((1, 48, 48)), np.zeros((48, 48), np.uint8), np.zeros((1, 64, 64), np.uint8)]
)
def test_other_arrays_are_refused(path: Path, crops: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"uint8 \(N, 48, 48\)"):
        classify.OnnxClassifier(path)(crops)


def test_an_unset_threshold_is_zero_and_the_name_is_the_files(tmp_path: Path) -> None:
    model = classify.OnnxClassifier(write(tmp_path / "plain.onnx", {"labels": META["labels"]}))
    assert (model.uncertain_below, model.name) == (0.0, "plain")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta": {"name": "x"}}, "no `labels`"),
        ({"meta": {"labels": "not json"}}, "no `labels`"),
        ({"meta": {"labels": '["a", "a", "b"]'}}, "twice"),
        ({"meta": {"labels": '["a", "b"]'}}, "2 labels"),
        ({"meta": META | {"uncertain_below": "often"}}, "not a number"),
        ({"name": "pixels"}, "input is not `crops`"),
        ({"kind": TensorProto.FLOAT}, "input is not `crops`"),
        ({"side": 64}, "input is not `crops`"),
        ({"output": "logit"}, "no output `probabilities`"),
        ({"batch": 1}, "batch of two"),
    ],
)
def test_a_foreign_model_is_refused_with_the_reason(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "foreign.onnx", **changes)
    with pytest.raises(ModelError, match=message):
        classify.OnnxClassifier(path)


def test_missing_and_damaged_files_are_model_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="check the path"):
        classify.model(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match="not an ONNX model"):
        classify.model(str(tmp_path / "text.onnx"))


def test_names_look_into_the_assets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classify, "ASSETS", tmp_path)
    write(tmp_path / f"{classify.DEFAULT}.onnx")
    write(tmp_path / "other.onnx", META | {"name": "other"})
    (tmp_path / "mtcnn_pnet.onnx").write_bytes(b"")
    assert classify.model().name == "tiny"
    assert classify.model("other").name == "other"
    with pytest.raises(ModelError, match=f"shipped: other, {classify.DEFAULT};"):
        classify.model("best")


def test_threads_get_the_same_answers(path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (8, 5, 48, 48), dtype=np.uint8)
    model = classify.OnnxClassifier(path)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(model, crops))
    np.testing.assert_array_equal(together, [model(batch) for batch in crops])


def test_an_ensemble_is_the_mean_of_its_members_and_their_mirror_images() -> None:
    crops = np.random.default_rng(3).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    together, members = classify.model("rep+baseline"), [classify.model(name) for name in ("rep", "baseline")]
    wanted = np.mean([each(view) for each in members for view in (crops, crops[:, :, ::-1])], axis=0)
    np.testing.assert_allclose(together(crops), wanted, atol=1e-6)
    np.testing.assert_allclose(together(crops), together(crops[:, :, ::-1].copy()), atol=1e-6)
    assert together.name == "rep+baseline"
    assert together(crops[:0]).shape == (0, 5)
    assert len(together.sha256) == 64
    assert min(each.uncertain_below for each in members) <= together.uncertain_below < 1


def test_an_ensemble_of_one_or_of_an_unknown_name_is_refused() -> None:
    with pytest.raises(ModelError, match="no model named ''"):
        classify.model("rep+")
    with pytest.raises(ConfigError, match="at least two"):
        classify.Ensemble([classify.OnnxClassifier(classify.ASSETS / "rep.onnx")])


def test_paths_cannot_be_joined_and_the_message_says_so() -> None:
    with pytest.raises(ModelError, match="paths cannot"):
        classify.model("rep+mine/mine.onnx")
