"""OnnxClassifier, Ensemble and load_classifier."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mien.errors import ConfigError, ModelError
from mien.evaluation.calibration import UNREACHABLE
from mien.faces import classifier, ensemble, models
from mien.faces.onnx import ASSETS
from mien.types import Classifier, Face

LABELS = ("dark", "middle", "bright")
META = {"labels": json.dumps(LABELS), "name": "tiny", "version": "1", "uncertain_below": "0.4"}


def write(
    path: Path, meta: dict[str, str] | None = None, name: str = "crops", kind: int = TensorProto.UINT8,
    side: int = 48, output: str = "probabilities", batch: str | int = "N",
) -> Path:  # fmt: skip
    """Write a model that separates dark from bright: softmax of the mean of the crop times (-1, 0, 1)."""
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
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 13)], ir_version=8,
    )  # fmt: skip
    helper.set_model_props(model, META if meta is None else meta)
    onnx.save(model, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "tiny.onnx")


def test_model_reports_its_metadata(path: Path) -> None:
    model = classifier.OnnxClassifier(path)
    assert isinstance(model, Classifier)
    assert (model.labels, model.confidence_threshold, model.name) == (LABELS, 0.4, "tiny")
    assert model.metadata == META
    assert model.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_probabilities_follow_the_labels(path: Path) -> None:
    crops = np.stack([np.full((48, 48), v, np.uint8) for v in (0, 255)])
    out = classifier.OnnxClassifier(path, threads=1)(crops)
    assert out.dtype == np.float32
    assert out.argmax(axis=1).tolist() == [0, 2]
    np.testing.assert_allclose(out.sum(axis=1), 1, atol=1e-6)


def test_empty_batch_returns_no_rows(path: Path) -> None:
    assert classifier.OnnxClassifier(path)(np.zeros((0, 48, 48), np.uint8)).shape == (0, 3)


def test_large_batch_keeps_its_order(path: Path) -> None:
    crops = np.arange(600, dtype=np.uint16).astype(np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    model = classifier.OnnxClassifier(path)
    np.testing.assert_allclose(model(crops), np.concatenate([model(crop[None]) for crop in crops]), atol=1e-6)


def test_cores_are_counted_for_many_crops_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier.OnnxClassifier(path)
    counted: list[int] = []
    monkeypatch.setattr(classifier.onnx, "cores", lambda: counted.append(1) or 2)
    assert model(np.zeros((32, 48, 48), np.uint8)).shape == (32, 3) and not counted
    assert model(np.zeros((33, 48, 48), np.uint8)).shape == (33, 3) and counted


@pytest.mark.parametrize("replaced", [True, False])
def test_many_crops_are_answered_by_the_model_that_was_loaded(path: Path, replaced: bool) -> None:
    crops = np.full((100, 48, 48), 255, np.uint8)
    model = classifier.OnnxClassifier(path, threads=2)
    few = model(crops[:1])
    if replaced:
        path.write_bytes((ASSETS / "mien-xs.onnx").read_bytes())
    else:
        path.unlink()
    many = model(crops)
    assert many.shape == (100, 3)
    np.testing.assert_allclose(many, few.repeat(100, 0), atol=1e-6)


@pytest.mark.parametrize(
    "crops", [np.zeros((1, 48, 48)), np.zeros((48, 48), np.uint8), np.zeros((1, 64, 64), np.uint8)]
)
def test_wrong_shape_or_type_is_rejected(path: Path, crops: np.ndarray) -> None:
    with pytest.raises(ConfigError, match=r"uint8 \(N, 48, 48\)"):
        classifier.OnnxClassifier(path)(crops)


def test_threshold_above_1_says_that_no_answer_is_certain(tmp_path: Path) -> None:
    path = write(tmp_path / "never.onnx", META | {"uncertain_below": str(UNREACHABLE)})
    model = classifier.OnnxClassifier(path)
    assert model.confidence_threshold == UNREACHABLE > 1
    sure = dict.fromkeys(LABELS, 0.0) | {LABELS[0]: 1.0}
    face = Face((0.0, 0.0, 9.0, 9.0), probabilities=sure, confidence_threshold=model.confidence_threshold)
    assert face.uncertain and not replace(face, confidence_threshold=1.0).uncertain


def test_metadata_defaults_to_zero_threshold_and_file_name(tmp_path: Path) -> None:
    model = classifier.OnnxClassifier(write(tmp_path / "plain.onnx", {"labels": META["labels"]}))
    assert (model.confidence_threshold, model.name) == (0.0, "plain")


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
def test_foreign_model_is_rejected_with_reason(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "foreign.onnx", **changes)
    with pytest.raises(ModelError, match=message):
        classifier.OnnxClassifier(path)


def test_missing_or_damaged_file_raises_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="check the path"):
        models.load_classifier(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(ModelError, match="not an ONNX model"):
        models.load_classifier(str(tmp_path / "text.onnx"))


def test_names_load_shipped_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "ASSETS", tmp_path)
    write(tmp_path / f"{models.DEFAULT}.onnx")
    write(tmp_path / "other.onnx", META | {"name": "other"})
    (tmp_path / "mtcnn_pnet.onnx").write_bytes(b"")
    assert models.load_classifier().name == "tiny"
    assert models.load_classifier("other").name == "other"
    with pytest.raises(ModelError, match=f"shipped: {models.DEFAULT}, other;"):
        models.load_classifier("best")


def test_threads_get_equal_probabilities(path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (8, 5, 48, 48), dtype=np.uint8)
    model = classifier.OnnxClassifier(path)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(model, crops))
    np.testing.assert_array_equal(together, [model(batch) for batch in crops])


def test_ensemble_averages_members_and_mirror_images() -> None:
    crops = np.random.default_rng(3).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    together = models.load_classifier("mien-s+baseline")
    members = [models.load_classifier(name) for name in ("mien-s", "baseline")]
    mean = np.mean([member(view) for member in members for view in (crops, crops[:, :, ::-1])], axis=0)
    np.testing.assert_allclose(together(crops), mean, atol=1e-6)
    np.testing.assert_allclose(together(crops), together(crops[:, :, ::-1].copy()), atol=1e-6)
    assert together.name == "mien-s+baseline"
    assert together(crops[:0]).shape == (0, 5)
    assert len(together.sha256) == 64
    assert min(member.confidence_threshold for member in members) <= together.confidence_threshold < 1


def test_ensemble_needs_two_known_models() -> None:
    with pytest.raises(ModelError, match="no model named ''"):
        models.load_classifier("mien-s+")
    with pytest.raises(ConfigError, match="at least two"):
        ensemble.Ensemble([classifier.OnnxClassifier(ASSETS / "mien-s.onnx")])


def test_paths_cannot_be_joined_to_an_ensemble() -> None:
    with pytest.raises(ModelError, match="paths cannot"):
        models.load_classifier("mien-s+mine/mine.onnx")
