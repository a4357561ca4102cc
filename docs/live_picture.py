"""Make docs/live.webp, the animated picture of the live view in the README, from the portrait of the package.

A camera seems to move over the portrait, and for a moment a sheet of paper hides the mouth. Boxes, labels, bars and ids
are what mien answers for these frames.

Usage: python docs/live_picture.py [FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import mien
from mien.draw import Overlay, Status
from mien.video_pipeline import VideoPipeline

SIZE = (640, 400)
RATE = 12  # frames a second
FRAMES = 72
PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


def view(portrait: np.ndarray, time: float) -> np.ndarray:
    """Return what the camera sees at a time of the loop, 0..1: uint8 BGR of SIZE."""
    turn = 2 * np.pi * time
    width = 350 + 50 * np.cos(turn)
    middle = (262 + 18 * np.sin(turn), 135 + 10 * np.sin(2 * turn))
    hidden = max(0.0, min(1.0, 2.2 - abs(time - 0.5) / 0.1))  # 0: the paper is below the image, 1: over the mouth
    scene = portrait.copy()
    top = round(330 - 206 * hidden)
    cv2.fillConvexPoly(scene, np.array([[165, top + 6], [285, top - 4], [300, 512], [150, 512]]), (214, 226, 232))
    matrix = cv2.getRotationMatrix2D(middle, 5 * np.sin(turn), SIZE[0] / width)
    matrix[:, 2] += (SIZE[0] / 2 - middle[0], SIZE[1] / 2 - middle[1])
    return cv2.warpAffine(scene, matrix, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def main(path: Path) -> None:
    portrait = cv2.imread(str(PORTRAIT))
    stream, overlay = VideoPipeline(mien.load()), Overlay(inset=True)
    pictures = []
    for index in range(2 * FRAMES):  # the first loop fills the tracker's memory, so that the second joins up
        image = view(portrait, index / FRAMES % 1)
        result = stream.process(mien.Frame(image, index, index / RATE))
        if index >= FRAMES:
            shown = overlay(result, Status(recording=True, detector=stream.pipeline.detector.name))
            pictures.append(Image.fromarray(cv2.cvtColor(shown, cv2.COLOR_BGR2RGB)))
            print(index, [(face.id, face.emotion, face.uncertain, round(face.confidence, 2)) for face in result.faces])
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=1000 // RATE, loop=0, quality=60, method=4
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("live.webp"))
