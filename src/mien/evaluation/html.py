"""Parts of HTML pages: plots and images inside the page, and the environment."""

from __future__ import annotations

import base64
import importlib.metadata
import io
import json
import os
import platform
import re
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from numpy.typing import NDArray

_NAMESPACES = re.compile(r' xmlns(:\w+)?="[^"]*"')
_IDS = re.compile(r'(\bid="|href="#|url\(#)')


def environment() -> dict[str, str]:
    """Versions and machine on which the figures were made."""
    found = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in ("mien", "onnxruntime", "numpy", "matplotlib"):
        with suppress(importlib.metadata.PackageNotFoundError):  # another wheel of the same library, or a source tree
            found[name] = importlib.metadata.version(name)
    found["cv2"] = cv2.__version__
    return found | {"processor": _processor(), "cores": str(os.cpu_count())}


def inline_svg(figure: Figure, title: str) -> Markup:
    """The figure as an element of the page: no ground of its own, black as the page's text, ids that are its own."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = _NAMESPACES.sub("", text).replace("#000000", "currentColor")
    own = f"{re.sub(r'[^a-z0-9]+', '-', title.lower())}-"
    text = _IDS.sub(lambda found: found[1] + own, text)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1))


def inline_png(image: NDArray[np.uint8]) -> str:
    packed = cv2.imencode(".png", image)[1]
    return "data:image/png;base64," + base64.b64encode(packed.tobytes()).decode("ascii")


def json_object(text: str | None) -> dict[str, str]:
    """A JSON object as text by name; empty when it is none."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _processor() -> str:
    """Name of the processor; Linux tells only in a file."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
