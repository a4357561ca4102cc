"""Replaced and damaged model files, and the processors of a container."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx as onnx_files
import pytest

from mien.errors import ModelError
from mien.faces import cores, onnx
from mien.faces.classifier import OnnxClassifier


def altered(folder: Path, old: bytes = b"", new: bytes = b"", spoil: bool = False, **metadata: str) -> Path:
    model = onnx_files.load(onnx.ASSETS / "baseline.onnx")
    for entry in model.metadata_props:
        entry.value = metadata.get(entry.key, entry.value)
    for tensor in model.graph.initializer if spoil else ():
        if tensor.data_type == onnx_files.TensorProto.FLOAT:
            values = np.full_like(onnx_files.numpy_helper.to_array(tensor), np.nan)
            tensor.CopyFrom(onnx_files.numpy_helper.from_array(values, tensor.name))
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(old, new) if old else model.SerializeToString())
    return path


def test_replaced_shipped_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / onnx.SUMS).write_text((onnx.ASSETS / onnx.SUMS).read_text())
    (tmp_path / "mien-s.onnx").write_bytes((onnx.ASSETS / "baseline.onnx").read_bytes())
    monkeypatch.setattr(onnx, "ASSETS", tmp_path)
    with pytest.raises(ModelError, match=r"mien-s\.onnx: damaged, or another file than the one shipped"):
        OnnxClassifier(tmp_path / "mien-s.onnx")


def test_metadata_that_is_not_utf8_raises_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="metadata cannot be read"):
        OnnxClassifier(altered(tmp_path, b'"angry"', b'"angr\xff"'))


@pytest.mark.parametrize("labels", ["[" * 50_000, "9" * 5000, json.dumps({"a": 1})])
def test_labels_that_are_no_list_of_names_raise_model_error(tmp_path: Path, labels: str) -> None:
    with pytest.raises(ModelError, match="no `labels`"):
        OnnxClassifier(altered(tmp_path, labels=labels))


@pytest.mark.parametrize("threshold", ["nan", "inf", "-1", "7"])
def test_impossible_threshold_raises_model_error(tmp_path: Path, threshold: str) -> None:
    with pytest.raises(ModelError, match="uncertain_below"):
        OnnxClassifier(altered(tmp_path, uncertain_below=threshold))


def test_model_with_answers_that_are_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no probabilities"):
        OnnxClassifier(altered(tmp_path, spoil=True))


@pytest.mark.parametrize(("quota", "count"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("", 8)])
def test_quota_of_a_container_bounds_the_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, count: int
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "cpu.max").write_text(quota)
    (tmp_path / "own").write_text("0::/a/b\n")
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert cores.cores() == count
