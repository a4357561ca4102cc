"""OnnxClassifier: crops -> probabilities, by a model file that follows the contract of docs/design.md."""

from __future__ import annotations

import hashlib
import json
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from mien.errors import ConfigError, ModelError
from mien.faces import amx, onnx
from mien.media.foreign import parsing, short
from mien.types import Floats

_BATCH = 16
"""Crops of one call of the network: of more, the features leave the processor's cache, and each takes longer."""

_MANY = 2 * _BATCH
"""More crops are worth a second session, for calls of one thread side by side."""

_SAMPLE = np.stack([np.zeros((48, 48), np.uint8), np.arange(48 * 48, dtype=np.uint16).reshape(48, 48).astype(np.uint8)])
_ADVICE = "give a file that `mien train` wrote"


class OnnxClassifier:
    """A loaded and checked model file. Safe to share among threads.

    Attributes:
        labels: class names in column order.
        confidence_threshold: top probability below which an answer is uncertain, 0..1; 0 when the model has none,
            above 1 when all its answers are uncertain.
        metadata: all metadata of the file as text: labels, version, mean, std, temperature, data, license...
        name: name in the metadata, or the stem of the file.
        sha256: hash of the file, in hexadecimal.
    """

    def __init__(self, path: Path | str, threads: int | None = None, spin: bool = True) -> None:
        """Load a model.

        Args:
            path: ONNX file with input `crops` uint8 (N, 48, 48), output `probabilities` float32 (N, C) and metadata
                `labels`, a JSON list of C names.
            threads: threads of one call; None for all cores that the process may use.
            spin: see `mien.faces.onnx.open_session`.
        """
        self._path, self._threads, self._spin = Path(path), threads, spin
        with parsing(path, ModelError, "cannot read the model", "check the path"):
            content = self._path.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        is_shipped = onnx.check_shipped(self._path, self.sha256)
        self._open(content)
        with parsing(path, ModelError, "its metadata cannot be read", _ADVICE):
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self.name = self.metadata.get("name") or self._path.stem
        self.labels = self._parse_labels()
        self.confidence_threshold = self._parse_threshold()
        if not is_shipped:  # a shipped file is the one that the tests have checked
            self._check_graph()

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify crops, uint8 gray (N, 48, 48) -> float32 (N, C); rows sum to 1, columns follow `labels`."""
        if crops.dtype != np.uint8 or crops.ndim != 3 or crops.shape[1:] != (48, 48):
            raise ConfigError(
                f"crops must be uint8 (N, 48, 48), not {crops.dtype} {crops.shape}; see mien.faces.crop.crops"
            )
        if not len(crops):
            return np.zeros((0, len(self.labels)), np.float32)
        batches = [np.ascontiguousarray(crops[start : start + _BATCH]) for start in range(0, len(crops), _BATCH)]
        if len(crops) > _MANY and (threads := self._threads or onnx.cores()) > 1:  # asked for many crops only
            run = partial(_run, self._single_session())
            with ThreadPoolExecutor(min(threads, len(batches))) as pool:
                return np.concatenate(list(pool.map(run, batches)))
        return np.concatenate([_run(self._session, batch) for batch in batches])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the session: the file is loaded again, a shipped one from the assets of the other installation."""
        left_out = ("_session", "_single", "_lock")
        state = {name: value for name, value in self.__dict__.items() if name not in left_out}
        is_shipped = self._path.parent == onnx.ASSETS
        state["_path"] = Path(self._path.name) if is_shipped else self._path.absolute()
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._path = onnx.ASSETS / self._path  # an absolute path stays
        with parsing(self._path, ModelError, "cannot read the model", "check the path"):
            content = self._path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise ModelError(f"{self._path}: another file than the one that was pickled; load the pipeline anew")
        self._open(content)

    def _open(self, content: bytes) -> None:
        self._session = self._new_session(content, self._threads)
        self._single = self._session if self._threads == 1 else None
        self._lock = Lock()

    def _new_session(self, content: bytes, threads: int | None) -> InferenceSession:
        changed = amx.shift_weights(content) if amx.has_amx() else None
        return onnx.open_session(self._path, _ADVICE, threads, self._spin, changed)

    def _single_session(self) -> InferenceSession:
        """Return the session for calls of one thread, opened when it is first needed."""
        with self._lock:
            if self._single is None:
                try:
                    content = self._path.read_bytes()
                except OSError:
                    content = b""
                is_same = hashlib.sha256(content).hexdigest() == self.sha256  # or another model was written there
                self._single = self._new_session(content, 1) if is_same else self._session
            return self._single

    def _parse_labels(self) -> tuple[str, ...]:
        try:
            labels = json.loads(self.metadata.get("labels", "null"))
        except (ValueError, RecursionError):
            labels = None
        if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
            raise self._invalid("its metadata has no `labels`, a JSON list of names")
        if len(set(labels)) < len(labels):
            raise self._invalid("its `labels` name a class twice")
        return tuple(labels)

    def _parse_threshold(self) -> float:
        text = self.metadata.get("uncertain_below") or "0"
        try:
            threshold = float(text)
        except ValueError:
            threshold = math.nan
        if not 0 <= threshold < 2:  # above 1: no answer is certain
            raise self._invalid(f"its `uncertain_below` is {short(text)}, not a number of 0..1 (1.0001: never certain)")
        return threshold

    def _check_graph(self) -> None:
        inputs = [(value.name, value.type, tuple(value.shape[1:])) for value in self._session.get_inputs()]
        outputs = [(value.name, value.type) for value in self._session.get_outputs()]
        if inputs != [("crops", "tensor(uint8)", (48, 48))]:
            raise self._invalid("its input is not `crops`, uint8 (N, 48, 48)")
        if ("probabilities", "tensor(float)") not in outputs:
            raise self._invalid("it has no output `probabilities`, float32 (N, C)")
        # A declared shape may be symbolic, and a fixed N would fail only at the first two faces: run it on two.
        try:
            answer = self._session.run(["probabilities"], {"crops": _SAMPLE})[0]
        except Exception as error:
            raise self._invalid("it does not run on a batch of two crops") from error
        if answer.shape != (2, len(self.labels)):
            raise self._invalid(f"it returns {answer.shape} for 2 crops and has {len(self.labels)} labels")
        if not np.isfinite(answer).all() or (answer < 0).any() or np.abs(answer.sum(1) - 1).max() > 1e-3:
            raise self._invalid("its answers are no probabilities: it is damaged, or of another kind")

    def _invalid(self, reason: str) -> ModelError:
        return ModelError(f"{self._path}: {reason}; {_ADVICE}")


def _run(session: InferenceSession, crops: NDArray[np.uint8]) -> Floats:
    return np.asarray(session.run(["probabilities"], {"crops": crops})[0], np.float32)
