"""OnnxClassifier: uint8 crops -> probabilities, from a model file that keeps the contract of the design."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import runtime
from mien.types import ConfigError, Floats, ModelError

ASSETS = Path(__file__).parent / "assets"
DEFAULT = "rep"
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
            spin: see `mien.runtime.session`.

        Raises:
            ModelError: the file is missing, no ONNX, or a model of another kind.
        """
        self._path = Path(path)
        try:
            self._sha256 = hashlib.sha256(self._path.read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{path}: cannot read the model ({error.strerror}); check the path") from error
        self._session = runtime.session(self._path, _ADVICE, threads, spin)
        self._metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        self._labels = _labels(self._path, self._metadata)
        self._uncertain_below = _threshold(self._path, self._metadata)
        _check_graph(self._path, self._session, len(self._labels))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns."""
        return self._labels

    @property
    def uncertain_below(self) -> float:
        """Top probability below which an answer counts as uncertain, 0..1; 0 when the model has none."""
        return self._uncertain_below

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
            raise ConfigError(f"crops must be uint8 (N, 48, 48), not {crops.dtype} {crops.shape}; see mien.image.crops")
        out = np.zeros((len(crops), len(self._labels)), np.float32)
        # In pieces, so that memory does not grow with the number of faces.
        for start in range(0, len(crops), _BATCH):
            piece = np.ascontiguousarray(crops[start : start + _BATCH])
            out[start : start + _BATCH] = self._session.run(["probabilities"], {"crops": piece})[0]
        return out


class Ensemble:
    """Several models as one: the mean of their probabilities for each crop and its mirror image.

    Costs the time of all of them, twice; whether it is more often right than its best member has to be measured. Safe
    to call from several threads.
    """

    def __init__(self, members: Sequence[OnnxClassifier]) -> None:
        """Put models together.

        Raises:
            ConfigError: fewer than two, or models of different classes.
        """
        if len(members) < 2:
            raise ConfigError("an ensemble has at least two models, as in rep+baseline")
        self._members, self._labels = tuple(members), members[0].labels
        for each in members:
            if set(each.labels) != set(self._labels):
                raise ConfigError(f"{each.name} knows other classes than {members[0].name}: they cannot be averaged")
        self._orders = [[each.labels.index(label) for label in self._labels] for each in members]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the columns: that of the first member."""
        return self._labels

    @property
    def uncertain_below(self) -> float:
        """Mean of the members' thresholds."""
        return float(np.mean([each.uncertain_below for each in self._members]))

    @property
    def metadata(self) -> dict[str, str]:
        """The members' hashes; an ensemble has no file, and so no recipe and temperature of its own."""
        return {"members": json.dumps({each.name: each.sha256 for each in self._members})}

    @property
    def name(self) -> str:
        """Names of the members, joined by +."""
        return "+".join(each.name for each in self._members)

    @property
    def sha256(self) -> str:
        """Hash of the members' hashes, 64 hexadecimal digits."""
        return hashlib.sha256("".join(each.sha256 for each in self._members).encode()).hexdigest()

    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """Classify crops: as `OnnxClassifier`."""
        views = (crops, crops[:, :, ::-1])
        pairs = zip(self._members, self._orders, strict=True)
        answers = [each(view)[:, order] for each, order in pairs for view in views]
        mean: Floats = np.mean(answers, axis=0, dtype=np.float32)
        return mean


def model(name: str | Path | None = None, threads: int | None = None, spin: bool = True) -> OnnxClassifier | Ensemble:
    """A shipped model by its name, or any model file by its path; None is the default one.

    Names joined by +, as in `rep+baseline`, are an Ensemble; paths cannot be joined.

    Args:
        name: of the model.
        threads: for one call; None for all cores that the process may use.
        spin: see `mien.runtime.session`.

    Raises:
        ModelError: no such model.
        ConfigError: models that cannot be averaged.
    """
    wanted = DEFAULT if name is None else name
    if isinstance(wanted, str) and "+" in wanted and not wanted.endswith(".onnx"):
        return Ensemble([_single(each, threads, spin) for each in wanted.split("+")])
    if isinstance(wanted, str) and "+" in wanted and not Path(wanted).exists():
        raise ModelError(f"no model file {wanted!r}; only names of shipped models can be joined by +, paths cannot")
    return _single(wanted, threads, spin)


def _single(wanted: str | Path, threads: int | None, spin: bool) -> OnnxClassifier:
    if isinstance(wanted, Path) or wanted.endswith(".onnx"):
        return OnnxClassifier(wanted, threads, spin)
    shipped = {path.stem: path for path in sorted(ASSETS.glob("*.onnx")) if not _is_detector(path)}
    if wanted not in shipped:
        names = ", ".join(shipped) or "none"
        raise ModelError(f"no model named {wanted!r}; shipped: {names}; or give the path of an .onnx file")
    return OnnxClassifier(shipped[wanted], threads, spin)


def _is_detector(path: Path) -> bool:
    return path.name.startswith(("face_detection_", "mtcnn_"))


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
        raise ModelError(f"{path}: its `uncertain_below` is {text!r}, not a number; {_ADVICE}") from None


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
