"""An interactive page of a video's people: curves, summary, and the video itself, which a click takes to that time."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
from markupsafe import Markup

from mien.draw import COLOURS
from mien.errors import DataError
from mien.evaluation.html import write_page
from mien.sinks import Timeline
from mien.sinks.timeline import Columns, shown_people
from mien.types import Image

_COLUMNS = 1200  # of a curve, so that hours make a page of some hundred kB a person
_PEOPLE = 200


def write_timeline(
    faces: Timeline,
    path: str | os.PathLike[str],
    name: str,
    video: str | os.PathLike[str] | None = None,
    min_seen: float = 0.0,
) -> None:
    """Write one HTML file that loads nothing but, if it is there, the video.

    Args:
        faces: people of the video, with thumbnails if they were kept.
        path: file to write.
        name: title.
        video: annotated copy or source, linked by its path from the page's folder.
        min_seen: people seen for a shorter time, in seconds, are only counted.

    Raises:
        DataError: no face was seen.
    """
    tracks = faces.summary()
    if not tracks:
        raise DataError("no face was seen: there is nothing to show")
    shown = shown_people(tracks, min_seen, _PEOPLE)
    people = [
        {
            "name": "faces" if track.id is None else f"person {track.id}",
            "thumbnail": _data_url(faces.thumbnails.get(track.id)),
            "track": track,
            "shares": sorted(((k, v) for k, v in track.share.items() if v >= 0.005), key=lambda pair: -pair[1]),
        }
        for track in shown
    ]
    colours = {label: _css(COLOURS.get(label, (128, 128, 128))) for label in faces.labels}
    data = {
        "labels": faces.labels,
        "colours": list(colours.values()),
        "start": faces.span[0],
        "duration": max(faces.duration, 1e-3),
        "cuts": faces.cuts,
        "people": [_curves(faces.columns(track.id, _COLUMNS)) for track in shown],
    }
    write_page(
        path,
        "timeline.html",
        name=name,
        duration=faces.duration,
        shots=len(faces.cuts) + 1,
        labels=faces.labels,
        colours=colours,
        people=people,
        others=len(tracks) - len(shown),
        min_seen=min_seen,
        video=_relative(video, Path(path)) if video else "",
        data=Markup(_script_json(data)),
    )


def _curves(columns: Columns) -> Mapping[str, Any]:
    """Return probabilities in per cent, -1 where the person is not seen, and states."""
    rounded = np.nan_to_num(np.round(100 * columns.means), nan=-1).astype(int)
    return {"means": rounded.T.tolist(), "states": columns.states.tolist()}


def _script_json(data: Mapping[str, Any]) -> str:
    """Return JSON that cannot end the script element around it."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _data_url(image: Image | None) -> str:
    if image is None:
        return ""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return "data:image/jpeg;base64," + base64.b64encode(data).decode("ascii")


def _css(colour: tuple[int, int, int]) -> str:
    return "#" + bytes(reversed(colour)).hex()


def _relative(video: str | os.PathLike[str], page: Path) -> str:
    """Return the link from the page to the video."""
    try:
        return quote(Path(os.path.relpath(video, page.parent)).as_posix())
    except ValueError:  # on another drive of Windows
        return Path(video).resolve().as_uri()
