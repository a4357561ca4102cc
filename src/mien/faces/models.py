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
"""Former names of models -> current names."""

logger = logging.getLogger("mien")


def load_classifier(
    name: str | Path | None = None, threads: int | None = None, spin: bool = True
) -> OnnxClassifier | Ensemble:
    """Load a classifier.

    Args:
        name: a shipped model, shipped models joined by + for an `Ensemble`, the path of an .onnx file, or None for the
            default.
        threads: threads of one call; None for all cores that the process may use.
        spin: see `mien.faces.onnx.open_session`.
    """
    name = DEFAULT if name is None else name
    if isinstance(name, str) and "+" in name:
        if not name.endswith(".onnx"):
            return Ensemble([_load(member, threads, spin) for member in name.split("+")])
        if not Path(name).exists():
            raise ModelError(f"no model file {name!r}; only names of shipped models can be joined by +, paths cannot")
    return _load(name, threads, spin)


def current_name(name: str) -> str:
    """Return the current name of a shipped model; a former name is logged as a warning."""
    if name in FORMER:
        logger.warning("the model %s is now called %s; the old name works in this version alone", name, FORMER[name])
    return FORMER.get(name, name)


def _load(name: str | Path, threads: int | None, spin: bool) -> OnnxClassifier:
    if isinstance(name, Path) or name.endswith(".onnx"):
        return OnnxClassifier(name, threads, spin)
    name = current_name(name)
    paths = [path for path in sorted(ASSETS.glob("*.onnx")) if not path.name.startswith(("yunet", "mtcnn_"))]
    shipped = {path.stem: path for path in paths}
    if name not in shipped:
        names = ", ".join(shipped) or "none"
        raise ModelError(f"no model named {name!r}; shipped: {names}; or give the path of an .onnx file")
    return OnnxClassifier(shipped[name], threads, spin)
