"""Results drawn: as arrays, files, on the screen and in notebooks."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Pil
from PIL import ImageShow

from mien.draw import COLOURS, draw
from mien.errors import OutputError
from mien.media.output_paths import OutputPaths
from mien.media.paths import display
from mien.sinks import AnnotatedImage
from mien.types import Image, Result

SIDE = 640
"""Longest side in pixels of an image in a notebook."""

_MOST_FACES, _MOST_RESULTS = 50, 20
_STYLE = 'style="padding: 0.1em 0.8em 0.1em 0; text-align: left"'


def plot(result: Result, rgb: bool = False, inset: bool = False) -> Image:
    """Return the annotated image, a new uint8 array (H, W, 3), BGR or RGB."""
    image = draw(result, inset)
    return np.ascontiguousarray(image[:, :, ::-1]) if rgb else image


def save(result: Result, path: str | Path, inset: bool = False) -> Path:
    """Write the annotated image whole or not at all, but never over its source."""
    output = AnnotatedImage.ask(OutputPaths([result.name]), path)
    with AnnotatedImage(output, lambda result: draw(result, inset)) as sink:
        sink.write(result)
    return Path(path)


def show(result: Result) -> None:
    """Show the annotated image in the notebook, or else in the system's viewer.

    Raises:
        OutputError: there is no viewer.
    """
    if (ipython := sys.modules.get("IPython")) and hasattr(ipython.get_ipython(), "kernel"):
        from IPython.display import display as show_in_notebook

        show_in_notebook(result)
    elif not ImageShow.show(Pil.fromarray(plot(result, rgb=True)), title=display(result.name)):
        raise OutputError("there is no image viewer; use result.save(path) or result.plot()")


def png(result: Result, side: int = SIDE) -> bytes:
    """Return the annotated image as a PNG file, its longer side at most `side` pixels."""
    return _encoded(result, side, ".png")


def html(result: Result, side: int = SIDE) -> str:
    """Return the annotated image and a table of the faces."""
    source = base64.b64encode(_encoded(result, side, ".jpg")).decode()
    name = escape(display(result.name))
    return (
        f'<figure style="margin: 0.5em 0"><img alt="{name}" src="data:image/jpeg;base64,{source}">'
        f"<figcaption>{escape(repr(result))}</figcaption></figure>{_table(result)}"
    )


def html_list(results: Sequence[Result]) -> str:
    """Return the first results below each other, at half the size."""
    rest = len(results) - _MOST_RESULTS
    more = f"<p>and {rest} more</p>" if rest > 0 else ""
    return "".join(html(result, SIDE // 2) for result in results[:_MOST_RESULTS]) + more


def _encoded(result: Result, side: int, suffix: str) -> bytes:
    image = draw(result)
    scale = side / max(image.shape[:2])
    if scale < 1:
        size = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return cv2.imencode(suffix, image)[1].tobytes()


def _table(result: Result) -> str:
    if not result:
        return ""
    labels = list(dict.fromkeys(name for face in result for name in face.probabilities))
    ids = any(face.id is not None for face in result)
    lines = [_row("th", ["id" if ids else "face", "emotion", "confidence", *labels, "box"])]
    for number, face in enumerate(result[:_MOST_FACES], start=1):
        blue, green, red = COLOURS.get(face.emotion, (128, 128, 128))
        mark = f'<span style="color: rgb({red}, {green}, {blue})">&#9632;</span> '
        values = [f"{100 * face.probabilities[name]:.0f} %" if name in face.probabilities else "" for name in labels]
        box = ", ".join(f"{value:.0f}" for value in face.box)
        emotion = f"{mark}{escape(face.emotion)}{'?' * face.uncertain}" if face.emotion else ""
        who = str(face.id if face.id is not None else "" if ids else number)
        lines.append(_row("td", [who, emotion, f"{100 * face.confidence:.0f} %", *values, box], escaped=(1,)))
    if (rest := len(result) - _MOST_FACES) > 0:
        lines.append(_row("td", [f"and {rest} more"]))
    return f"<table>{''.join(lines)}</table>"


def _row(kind: str, cells: Sequence[str], escaped: Sequence[int] = ()) -> str:
    texts = [cell if k in escaped else escape(cell) for k, cell in enumerate(cells)]
    return f"<tr>{''.join(f'<{kind} {_STYLE}>{text}</{kind}>' for text in texts)}</tr>"
