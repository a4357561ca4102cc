"""Make the examples of the page's first screen: the bundled portrait, a crowd of it, drawn faces and a drawn video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from mien.types import Image

SIDE = 256
"""Side of a drawn face in pixels; it is drawn four times larger and averaged down."""

LOOKS: dict[str, tuple[float, float, float, float, float]] = {
    "happy": (1.15, 0.0, 0.1, 0.5, 0.65),
    "surprise": (-0.3, 0.95, 0.9, 0.3, 1.1),
    "sad": (-1.16, 0.24, -0.78, 1.24, 0.59),
    "neutral": (0.0, 0.19, -0.3, -0.11, 0.6),
    "angry": (-1.1, 0.0, -1.0, -0.43, 1.05),
}
"""Smile, open mouth, raised brows, tilt of the brows, open eyes. mien is uncertain about the angry one."""

_ZOOM = 4
_SKIN, _SHADE, _HAIR, _LIPS = (158, 190, 232), (134, 166, 212), (38, 52, 78), (85, 75, 178)  # BGR


def write_examples(portrait: Path, folder: Path) -> None:
    """Write portrait.jpg, drawings.jpg, crowd.jpg and video.webm, and a small JPEG for the button of each."""
    photo = cv2.imread(str(portrait))
    faces = [drawn_face(look) for look in LOOKS.values()]
    drawings = np.full((2 * SIDE, 3 * SIDE, 3), (214, 206, 196), np.uint8)
    for row, some in enumerate((faces[:3], faces[3:])):
        left = (3 - len(some)) * SIDE // 2
        drawings[row * SIDE : (row + 1) * SIDE, left : left + len(some) * SIDE] = np.hstack(some)
    crowd = _crowd(photo)
    (folder / "portrait.jpg").write_bytes(portrait.read_bytes())
    _write(folder / "drawings.jpg", drawings, 85)
    _write(folder / "crowd.jpg", crowd, 80)
    _write_video(folder / "video.webm")
    thumbs = {"portrait": photo[40:400, 0:480], "drawings": drawings[:, 42:726], "crowd": crowd}
    for name, image in (thumbs | {"video": drawn_face(LOOKS["surprise"])[:192]}).items():
        _write(folder / f"{name}-small.jpg", cv2.resize(image, (224, 168), interpolation=cv2.INTER_AREA), 80)


def drawn_face(look: tuple[float, float, float, float, float]) -> Image:
    """Return a drawn face, uint8 BGR (256, 256, 3)."""
    smile, gape, brow, tilt, eye = look
    image = np.full((SIDE * _ZOOM, SIDE * _ZOOM, 3), (214, 206, 196), np.uint8)
    shapes: list[tuple[tuple[float, float], tuple[float, float], tuple[int, int, int]]] = [
        ((128, 280), (100, 80), (110, 90, 60)),  # shirt
        ((128, 205), (26, 40), _SHADE),  # neck
        ((128, 112), (76, 92), _HAIR),
        ((128, 128), (60, 80), _SKIN),
        ((128, 66), (64, 30), _HAIR),
        ((68, 130), (8, 16), _SHADE),  # ears
        ((188, 130), (8, 16), _SHADE),
    ]
    for x in (104, 152):
        shapes += [
            ((x, 120), (15, 10), _SHADE),
            ((x, 121), (12, 6.5 * eye), (245, 245, 245)),
            ((x, 121), (6, min(6, 6.5 * eye)), (70, 50, 35)),
            ((x, 121), (3, 3 * min(1, eye)), (10, 10, 10)),
            ((x - 2, 119), (1.5, 1.5), (255, 255, 255)),
        ]
    for centre, axes, colour in shapes:
        cv2.ellipse(image, _point(centre), _point(axes), 0, 0, 360, colour, -1, cv2.LINE_AA)
    for x, side in ((104, 1), (152, -1)):
        cv2.ellipse(image, _point((x, 121)), _point((12, 6.5 * eye)), 0, 180, 360, (40, 40, 50), 6, cv2.LINE_AA)
        y = 101 - 9 * brow
        _curve(image, [(x - side * 16, y + 3 + tilt * 7), (x, y - 4), (x + side * 15, y + 3 - tilt * 9)], _HAIR, 4)
        if smile > 0.3:
            _curve(image, [(x - side * 8, 150), (x - side * 16, 164), (x - side * 10, 178)], _SHADE, 2)
    _curve(image, [(125, 122), (116, 152), (128, 154)], _SHADE, 3)
    _curve(image, [(120, 154), (128, 159), (137, 154)], (110, 140, 190), 2.5)
    _draw_mouth(image, smile, gape)
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.GaussianBlur(small, (0, 0), 0.6))


def _draw_mouth(image: Image, smile: float, gape: float) -> None:
    reach, y = 26 - 8 * gape, 178 - 5 * smile
    ends = (128 - reach, y), (128 + reach, y)
    upper = [ends[0], (128.0, y + 8 * smile - 8 * gape), ends[1]]
    lower = [ends[0], (128.0, y + 22 * smile + 36 * gape), ends[1]]
    if gape > 0.05 or smile > 0.3:
        inside = np.vstack([_points(upper), _points(lower)[::-1]])
        cv2.fillPoly(image, [inside], (50, 40, 90) if gape > 0.3 else (235, 240, 245), cv2.LINE_AA)
    _curve(image, upper, _LIPS, 3.5)
    _curve(image, lower, _LIPS, 4)


def _point(xy: tuple[float, float]) -> tuple[int, int]:
    return round(xy[0] * _ZOOM), round(xy[1] * _ZOOM)


def _points(through: list[tuple[float, float]]) -> NDArray[np.int32]:
    """Return the points of a quadratic curve in pixels of the enlarged drawing."""
    start, middle, end = np.array(through, float)
    t = np.linspace(0, 1, 40)[:, None]
    return np.rint(((1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end) * _ZOOM).astype(np.int32)


def _curve(image: Image, through: list[tuple[float, float]], colour: tuple[int, int, int], width: float) -> None:
    cv2.polylines(image, [_points(through)], False, colour, round(width * _ZOOM), cv2.LINE_AA)


def _crowd(photo: Image) -> Image:
    """Return 24 faces in rows, the portrait and drawings, some turned, dark, blurred or covered."""
    random = np.random.default_rng(7)
    cut = photo[20:260, 110:340]
    tile = np.zeros((4 * 170, 6 * 170, 3), np.uint8)
    for k in range(24):
        drawn = drawn_face(list(LOOKS.values())[k // 3 % len(LOOKS)])[18:238, 18:238]
        face = cv2.resize(drawn if k % 3 == 1 else cut, (170, 170), interpolation=cv2.INTER_AREA)
        if k % 2:
            face = face[:, ::-1]
        turn = cv2.getRotationMatrix2D((85, 85), float(random.uniform(-14, 14)), float(random.uniform(0.95, 1.15)))
        face = cv2.warpAffine(face, turn, (170, 170), borderMode=cv2.BORDER_REFLECT)
        if k % 8 == 3:
            face = cv2.GaussianBlur(face, (0, 0), 6)
        if k % 9 == 2:
            face[100:] = (120, 120, 120)
        bright = random.uniform(0.5, 1.15)
        row, column = divmod(k, 6)
        tile[row * 170 : row * 170 + 170, column * 170 : column * 170 + 170] = np.clip(face * bright, 0, 255)
    return tile


def _write(path: Path, image: Image, quality: int) -> None:
    path.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def _write_video(path: Path, rate: int = 25) -> None:
    """Write a drawn face that goes from one look to the next and moves a little."""
    looks = [LOOKS[name] for name in ("neutral", "happy", "surprise", "sad", "neutral")]
    hold, change = 40, 12  # frames
    options: dict[str, Any] = {"deadline": "good", "cpu-used": "4", "crf": "16", "b": "600k"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        still = {}
        for k in range((len(looks) - 1) * (hold + change) + hold):
            step, at = divmod(k, hold + change)
            share = max(0.0, (at - hold) / change)
            share = share * share * (3 - 2 * share)
            following = looks[min(step + 1, len(looks) - 1)]
            look = tuple(round((1 - share) * a + share * b, 4) for a, b in zip(looks[step], following, strict=True))
            if look not in still:
                still[look] = drawn_face(look)  # type: ignore[arg-type]
            shift = np.array([[0.95, 0, 38 + 22 * np.sin(k / 25)], [0, 0.95, 2 + 6 * np.sin(k / 17)]])
            frame = cv2.warpAffine(still[look], shift, (320, 240), borderValue=(214, 206, 196))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "bgr24")))
        out.mux(stream.encode(None))
