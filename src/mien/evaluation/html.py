"""One page of HTML: templates on a common base, plots and images inside the page, nothing loaded from elsewhere."""

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
from typing import TYPE_CHECKING, Any

import cv2
import jinja2
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from mien.media import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEMPLATES = Path(__file__).with_name("templates")
_CONTENTS = 4  # headings from which a page has a list of contents
_NAMESPACES = re.compile(r' xmlns(:\w+)?="[^"]*"')
_IDS = re.compile(r'(\bid="|href="#|url\(#)')


def write_page(path: str | os.PathLike[str], template: str, **values: Any) -> None:
    """Render a template of this package to an HTML file; text in `values` is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    atomic.write_text(path, add_contents(environment.get_template(template).render(values)))


def add_contents(page: str) -> str:
    """Number the headings h2 of a page, and list them before the first one if there are several."""
    titles: list[str] = []

    def number(match: re.Match[str]) -> str:
        titles.append(match[1])
        return f'<h2 id="section-{len(titles)}">{match[1]}</h2>'

    page = re.sub(r"<h2>(.*?)</h2>", number, page, flags=re.DOTALL)
    if len(titles) < _CONTENTS:
        return page
    links = "".join(f'<a href="#section-{k}">{title}</a>' for k, title in enumerate(titles, 1))
    return page.replace(
        '<h2 id="section-1">', f'<nav class="contents" aria-label="Contents">{links}</nav>\n<h2 id="section-1">', 1
    )


def environment() -> dict[str, str]:
    """Return versions and machine: what figures depend on."""
    facts = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    for name in ("mien", "onnxruntime", "numpy", "matplotlib"):
        with suppress(importlib.metadata.PackageNotFoundError):  # another wheel of the same library, or a source tree
            facts[name] = importlib.metadata.version(name)
    return facts | {"cv2": cv2.__version__, "processor": _processor(), "cores": str(os.cpu_count())}


def inline_svg(figure: Figure, title: str) -> Markup:
    """Return a figure as an element of the page: transparent, in the page's text colour, its ids unique by `title`."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = _NAMESPACES.sub("", text).replace("#000000", "currentColor")
    prefix = f"{re.sub(r'[^a-z0-9]+', '-', title.lower())}-"
    text = _IDS.sub(lambda match: match[1] + prefix, text)
    return Markup(text.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1))


def inline_png(image: NDArray[np.uint8]) -> str:
    """Return a gray or BGR image as a data URL."""
    return "data:image/png;base64," + base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode("ascii")


def json_object(text: str | None) -> dict[str, str]:
    """Return the values of a JSON object as text; {} when `text` holds no object."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return {}
    if not isinstance(values, dict):
        return {}
    return {str(key): value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}


def _processor() -> str:
    """Return the processor's name; on Linux only a file has it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
