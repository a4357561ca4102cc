"""Weights that are shifted for the matrix unit give the same answers; other files stay as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from mien.faces import amx
from mien.faces.classifier import OnnxClassifier
from mien.faces.onnx import ASSETS

SHIPPED = ("mien-s", "mien-s-7", "mien-xs", "mien-m", "baseline")


@pytest.fixture
def crops() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (5, 48, 48), dtype=np.uint8)


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(amx, "_CPUINFO", path)
    monkeypatch.delenv(amx.VARIABLE, raising=False)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_shifted_weights_give_the_same_probabilities(name: str, crops: NDArray[np.uint8]) -> None:
    content = (ASSETS / f"{name}.onnx").read_bytes()
    shifted = amx.shift_weights(content)
    answers = [
        InferenceSession(file, providers=["CPUExecutionProvider"]).run(None, {"crops": crops})[0]
        for file in (content, shifted)
    ]
    np.testing.assert_array_equal(*answers)
    changed = np.frombuffer(content, np.int8) != np.frombuffer(shifted, np.int8)
    assert changed.mean() > 0.5, "the weights are most of a file"


def test_shifted_weights_are_not_shifted_again() -> None:
    shifted = amx.shift_weights((ASSETS / "mien-s.onnx").read_bytes())
    assert amx.shift_weights(shifted) == shifted


@pytest.mark.parametrize("name", ["mien-s-fp32", "yunet"])
def test_files_without_int8_weights_stay(name: str) -> None:
    content = (ASSETS / f"{name}.onnx").read_bytes()
    assert amx.shift_weights(content) == content


@pytest.mark.parametrize(
    "content",
    [b"", b"\x00", b"GIF89a, no model", b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", bytes(100), b"\x80" * 500_000],
    ids=["empty", "zero", "text", "too long", "zeros", "endless number"],
)
def test_what_is_no_model_stays(content: bytes) -> None:
    assert amx.shift_weights(content) == content


def test_truncated_files_stay() -> None:
    content = (ASSETS / "mien-xs.onnx").read_bytes()
    for length in range(1, len(content), len(content) // 50):
        assert amx.shift_weights(content[:length]) == content[:length]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("flags\t\t: fpu amx_bf16 amx_tile amx_int8\n", True), ("flags\t\t: fpu avx2 amx_bf16\n", False), ("", False)],
)
def test_amx_is_read_from_linux(cpuinfo: Path, flags: str, expected: bool) -> None:
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: amx_int8\n{flags}processor\t: 1\n", encoding="utf-8")
    assert amx.has_amx() is expected


def test_amx_is_not_used_elsewhere_or_on_request(cpuinfo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not amx.has_amx()
    cpuinfo.write_text("flags : amx_int8\n", encoding="utf-8")
    monkeypatch.setenv(amx.VARIABLE, "0")
    assert not amx.has_amx()


def test_classifier_answers_alike_with_and_without_amx(
    cpuinfo: Path, crops: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpuinfo.write_text("flags : amx_int8\n", encoding="utf-8")
    shifted: list[bytes] = []
    shift = amx.shift_weights

    def record(content: bytes) -> bytes:
        shifted.append(shift(content))
        return shifted[-1]

    monkeypatch.setattr(amx, "shift_weights", record)
    on_matrices = OnnxClassifier(ASSETS / "mien-s.onnx", threads=1)
    assert len(shifted) == 1
    monkeypatch.setattr(amx, "has_amx", lambda: False)
    plain = OnnxClassifier(ASSETS / "mien-s.onnx", threads=1)
    assert len(shifted) == 1
    np.testing.assert_array_equal(on_matrices(crops), plain(crops))
    assert on_matrices.sha256 == plain.sha256
