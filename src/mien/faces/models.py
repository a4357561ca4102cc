"""The shipped models by name."""

from __future__ import annotations

import logging
from pathlib import Path

from mien.errors import ModelError
from mien.faces.classifier import OnnxClassifier
from mien.faces.ensemble import Ensemble
from mien.faces.onnx import ASSETS

DEFAULT = "mien-s"

FORMER = {"rep": "mien-s", "rep-fp32": "mien-s-fp32", "swift": "mien-xs", "wide": "mien-m"}
"""Earlier names of models -> names today."""

logger = logging.getLogger("mien")


def load_classifier(
    name: str | Path | None = None, threads: int | None = None, spin: bool = True
) -> OnnxClassifier | Ensemble:
    """A shipped model by its name, or any model file by its path; None is the default one.

    Names joined by +, as in `mien-s+baseline`, are an Ensemble; paths cannot be joined.

    Args:
        name: of the model.
        threads: for one call; None for all cores that the process may use.
        spin: see `mien.faces.onnx.open_session`.

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


def current_name(name: str) -> str:
    """Return the name today of a shipped model; a former name is noted on the log, by default stderr."""
    if name in FORMER:
        logger.warning("the model %s is now called %s; the old name works in this version alone", name, FORMER[name])
    return FORMER.get(name, name)


def _single(wanted: str | Path, threads: int | None, spin: bool) -> OnnxClassifier:
    if isinstance(wanted, Path) or wanted.endswith(".onnx"):
        return OnnxClassifier(wanted, threads, spin)
    wanted = current_name(wanted)
    shipped = {path.stem: path for path in sorted(ASSETS.glob("*.onnx")) if not _is_detector(path)}
    if wanted not in shipped:
        names = ", ".join(shipped) or "none"
        raise ModelError(f"no model named {wanted!r}; shipped: {names}; or give the path of an .onnx file")
    return OnnxClassifier(shipped[wanted], threads, spin)


def _is_detector(path: Path) -> bool:
    return path.name.startswith(("face_detection_", "mtcnn_"))
