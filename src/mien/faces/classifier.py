"""OnnxClassifier: uint8 crops -> probabilities, from a model file that keeps the contract of the design."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ConfigError, ModelError
from mien.faces import onnx
from mien.types import Floats

_BATCH = 256
_ADVICE = "give a file that `mien train` wrote"


class OnnxClassifier:
    """A model file, loaded and checked. Safe to call from several threads."""

    def __init__(self, path: Path | str, threads: int | None = None, spin: bool = True) -> None:
        """Load a model.

        Args:
            path: an ONNX file with input `crops` uint8 (N, 48, 48), output `probabilities` float32 (N, C) and metadata
                `labels`, a JSON list of C names.
            threads: threads for one call; None for all cores that the process may use.
            spin: see `mien.faces.onnx.open_session`.

        Raises:
            ModelError: the file is missing, no ONNX, or a model of another kind.
        """
        self._path = Path(path)
        try:
            self._sha256 = hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{path}: cannot read the model ({error.strerror}); check the path") from error
        self._session = onnx.open_session(self._path, _ADVICE, threads, spin)
        self._metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._labels = _labels(self._path, self._metadata)
        self._confidence_threshold = _threshold(self._path, self._metadata)
        _check_graph(self._path, self._session, len(self._labels))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns."""
        return self._labels

    @property
    def confidence_threshold(self) -> float:
        """Top probability below which an answer counts as uncertain, 0..1; 0 when the model has none."""
        return self._confidence_threshold

    @property
    def metadata(self) -> dict[str, str]:
        """All that the file says about itself, as text: labels, version, mean, std, temperature, data, license..."""
        return dict(self._metadata)

    @property
    def name(self) -> str:
        """The model's name, or the file's when it has none."""
        return self._metadata.get("name") or self._path.stem

    @property
    def sha256(self) -> str:
        """Hash of the file, 64 hexadecimal digits."""
        return self._sha256

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify crops.

        Args:
            crops: uint8 gray, shape (N, 48, 48); N may be 0.

        Returns:
            float32 (N, C), rows sum to 1, columns in the order of `labels`.

        Raises:
            ConfigError: another shape or type.
        """
        if crops.dtype != np.uint8 or crops.ndim != 3 or crops.shape[1:] != (48, 48):
            raise ConfigError(
                f"crops must be uint8 (N, 48, 48), not {crops.dtype} {crops.shape}; see mien.faces.crop.crops"
            )
        out = np.zeros((len(crops), len(self._labels)), np.float32)
        # In pieces, so that memory does not grow with the number of faces.
        for start in range(0, len(crops), _BATCH):
            piece = np.ascontiguousarray(crops[start : start + _BATCH])
            out[start : start + _BATCH] = self._session.run(["probabilities"], {"crops": piece})[0]
        return out


def _labels(path: Path, metadata: dict[str, str]) -> tuple[str, ...]:
    try:
        labels = json.loads(metadata.get("labels", "null"))
    except ValueError:
        labels = None
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise ModelError(f"{path}: its metadata has no `labels`, a JSON list of names; {_ADVICE}")
    if len(set(labels)) < len(labels):
        raise ModelError(f"{path}: its `labels` name a class twice; {_ADVICE}")
    return tuple(labels)


def _threshold(path: Path, metadata: dict[str, str]) -> float:
    text = metadata.get("uncertain_below") or "0"
    try:
        return float(text)
    except ValueError:
        raise ModelError(f"{path}: its `confidence_threshold` is {text!r}, not a number; {_ADVICE}") from None


def _check_graph(path: Path, session: Any, classes: int) -> None:
    inputs = [(value.name, value.type, tuple(value.shape[1:])) for value in session.get_inputs()]
    outputs = [(value.name, value.type) for value in session.get_outputs()]
    if inputs != [("crops", "tensor(uint8)", (48, 48))]:
        raise ModelError(f"{path}: its input is not `crops`, uint8 (N, 48, 48); {_ADVICE}")
    if ("probabilities", "tensor(float)") not in outputs:
        raise ModelError(f"{path}: it has no output `probabilities`, float32 (N, C); {_ADVICE}")
    # The declared shape may be symbolic and a fixed N would only fail at the first crowd: run it on two.
    try:
        shape = session.run(["probabilities"], {"crops": np.zeros((2, 48, 48), np.uint8)})[0].shape
    except Exception as error:
        raise ModelError(f"{path}: it does not run on a batch of two crops; {_ADVICE}") from error
    if shape != (2, classes):
        raise ModelError(f"{path}: it gives {shape} for 2 crops and has {classes} labels; {_ADVICE}")
