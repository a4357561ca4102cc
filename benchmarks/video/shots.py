"""Measure how well cuts and fades are found in made videos with known ones: shots.json.

Each made video is a row of scenes joined by cuts, dissolves and fades through black or white. Scenes are parts of
videos, and photographs under a hand-held camera. They hold what is no cut: flashes, frames that drop out, switched
lights, fast pans and zooms, captions that appear, hands that cover the camera. The videos are encoded as H.264 and read
back. A found cut is right if it lies within a transition, or within 0.12 s of it; each transition counts once.

Thresholds were chosen with the seeds 100 to 129; the figures are those of the seeds 0 to 23.

Usage: python -m benchmarks.video.shots MEDIA_FOLDER [--seeds 24] [--first 0] [--out FILE]
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from mien.faces import onnx
from mien.media.shots import NumberShots, ShotDetector, thumbnail
from mien.media.video import Video
from mien.media.video_writer import VideoWriter
from mien.types import Failure, Frame

Image = NDArray[np.uint8]
Scene = Callable[[int], Image]
WIDTH, HEIGHT, RATE = 480, 270, 25
TOLERANCE = 0.12  # seconds
JOINTS = ("cut", "cut", "cut", "dissolve", "black", "white")
EVENTS = ("none", "flash", "dropout", "light", "pan", "zoom", "caption", "hand")


class Joint(NamedTuple):
    """A change of scene: its kind, and the times of the last frame of one and the first frame of the other scene."""

    kind: str
    start: float
    end: float


def read_clips(folder: Path) -> list[list[Image]]:
    """Return the frames of the folder's videos, in the size of the made videos; black frames in one split it."""
    clips: list[list[Image]] = []
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in (".mp4", ".mov"):
            images = [fitted(item.image) for item in Video(path) if isinstance(item, Frame)]
            groups = groupby(images, key=lambda image: bool(image.std() < 5))
            clips.append(max((list(group) for is_blank, group in groups if not is_blank), key=len))
    return clips


def read_photographs(folder: Path) -> list[Image]:
    """Return the folder's photographs and the portrait, at most 1,400 pixels wide."""
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".jpg", ".png")]
    images = [cv2.imread(str(path)) for path in [*paths, onnx.ASSETS / "portrait.jpg"]]
    return [shrunk(np.asarray(image, np.uint8)) for image in images if image is not None]


def shrunk(image: Image) -> Image:
    scale = min(1400 / image.shape[1], 1.0)
    return np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)


def fitted(image: Image) -> Image:
    """Cut the middle of an image to the shape of the videos, and scale it."""
    height, width = image.shape[:2]
    high, wide = min(height, width * HEIGHT // WIDTH), min(width, height * WIDTH // HEIGHT)
    top, left = (height - high) // 2, (width - wide) // 2
    return np.asarray(cv2.resize(image[top : top + high, left : left + wide], (WIDTH, HEIGHT)), np.uint8)


def view(photograph: Image, x: float, y: float, width: float) -> Image:
    """Return the view of a camera: its centre in shares of the photograph, its width in shares of the photograph's."""
    scale = WIDTH / (photograph.shape[1] * width)
    centre = np.array([x * photograph.shape[1], y * photograph.shape[0]]) * scale
    matrix = np.array([[scale, 0, WIDTH / 2 - centre[0]], [0, scale, HEIGHT / 2 - centre[1]]])
    size, flags = (WIDTH, HEIGHT), cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.warpAffine(photograph, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT), np.uint8)


def clip_scene(clip: list[Image], rng: np.random.Generator) -> Scene:
    """Play a video forwards and backwards from a random frame on, maybe mirrored."""
    start, mirrored = int(rng.integers(len(clip))), bool(rng.integers(2))

    def scene(k: int) -> Image:
        at = (start + k) % (2 * len(clip) - 2)
        frame = clip[at if at < len(clip) else 2 * len(clip) - 2 - at]
        return frame[:, ::-1] if mirrored else frame

    return scene


def photograph_scene(photograph: Image, rng: np.random.Generator) -> Scene:
    """Show a photograph through a hand-held camera that drifts slowly."""
    x, y, width = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.35, 0.8)
    drift, shake = rng.uniform(-0.02, 0.02, 3), np.cumsum(rng.normal(0, 0.0006, (1000, 2)), 0)

    def scene(k: int) -> Image:
        t = k / RATE
        return view(photograph, x + drift[0] * t + shake[k, 0], y + drift[1] * t + shake[k, 1], width + drift[2] * t)

    return scene


def moving_scene(photograph: Image, rng: np.random.Generator, kind: str, length: int) -> Scene:
    """Pan or zoom fast over a photograph once, with the motion blur of a quarter of a frame's time to all of it."""
    duration, begin = rng.uniform(0.2, 0.8) * RATE, rng.uniform(0.3, 0.6) * length
    shutter = rng.uniform(0.25, 1.0)
    if kind == "pan":
        width = rng.uniform(0.3, 0.45)
        ends = np.array([[width / 2, 0.5, width], [1 - width / 2, 0.5, width]])
        ends = ends if rng.integers(2) else ends[::-1]
    else:
        ends = np.array([[0.5, 0.5, 0.9], [rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), 0.35]])

    def at(k: float) -> Image:
        share = np.clip((k - begin) / duration, 0, 1)
        share = share * share * (3 - 2 * share)  # speeds up and slows down
        return view(photograph, *(ends[0] + share * (ends[1] - ends[0])))

    def scene(k: int) -> Image:
        if not begin - 1 < k < begin + duration + 1:
            return at(k)
        return np.asarray(np.mean([at(k + shutter * j / 6) for j in range(6)], axis=0), np.uint8)

    return scene


def with_event(scene: Scene, kind: str, length: int, rng: np.random.Generator) -> Scene:
    """Let something happen within a scene that is no cut."""
    begin = int(rng.uniform(0.3, 0.6) * length)
    count, gain, offset = int(rng.integers(1, 5)), rng.uniform(1.3, 2.5), rng.uniform(20, 160)
    dark, caption = rng.uniform(0.35, 0.7), rng.uniform(0.1, 0.22)
    level = float(rng.choice([0.0, 255.0]))

    def changed(k: int) -> Image:
        image = scene(k)
        if kind == "flash" and 0 <= k - begin < count:
            decay = 1 - (k - begin) / (count + 1)
            return np.asarray(np.clip(image * (1 + (gain - 1) * decay) + offset * decay, 0, 255), np.uint8)
        if kind == "dropout" and 0 <= k - begin < count:
            return np.full_like(image, level)
        if kind == "light" and k >= begin:
            return np.asarray(image * dark, np.uint8)
        if kind == "caption" and k >= begin:
            image = image.copy()
            top = int(HEIGHT * (0.97 - caption))
            image[top : HEIGHT - 8, 30 : WIDTH - 30] = (60, 30, 20)
            cv2.putText(image, "breaking: nothing has been cut", (45, top + 28), 0, 0.8, (255, 255, 255), 2)
        if kind == "hand" and begin <= k < begin + 15:
            image = image.copy()
            reach = WIDTH * 1.4 * (1 - abs(k - begin - 7) / 8)
            cv2.ellipse(image, (0, HEIGHT // 2), (round(reach / 1.4 * 0.9), HEIGHT), 0, 0, 360, (90, 120, 170), -1)
        return image

    return changed


def make(
    clips: list[list[Image]], photographs: list[Image], seed: int
) -> tuple[list[Image], list[Joint], Counter[str]]:
    """Return the frames of a made video of about twelve seconds, its joints, and the events that are no cut."""
    rng = np.random.default_rng(seed)
    frames: list[Image] = []
    joints: list[Joint] = []
    events: Counter[str] = Counter()
    tail: tuple[Scene, int] | None = None  # the last scene and its length
    of_clips, of_photographs = (
        rng.permutation(len(clips)),
        rng.permutation(len(photographs)),
    )  # no source twice in a row
    for number in range(6):
        length = int(rng.uniform(1.6, 3.2) * RATE)
        event = EVENTS[rng.integers(len(EVENTS))]
        events[event] += 1
        clip = clips[of_clips[number % len(clips)]]
        photograph = photographs[of_photographs[number % len(photographs)]]
        if event in ("pan", "zoom"):
            scene = moving_scene(photograph, rng, event, length)
        else:
            plain = clip_scene(clip, rng) if rng.integers(2) else photograph_scene(photograph, rng)
            scene = with_event(plain, event, length, rng)
        if tail is not None:
            kind = JOINTS[rng.integers(len(JOINTS))]
            count = 0 if kind == "cut" else int(rng.uniform(0.4, 1.4) * RATE)
            start = (len(frames) - 1) / RATE
            for k in range(1, count + 1):
                frames.append(joined(kind, tail[0](tail[1] + k - 1), scene(0), k / (count + 1)))
            joints.append(Joint(kind, start, len(frames) / RATE))
        frames += [scene(k) for k in range(length)]
        tail = scene, length
    return frames, joints, events


def joined(kind: str, one: Image, other: Image, share: float) -> Image:
    """Return a frame within a dissolve or a fade."""
    a, b = one.astype(np.float32), other.astype(np.float32)
    if kind == "dissolve":
        return np.asarray((1 - share) * a + share * b, np.uint8)
    colour = 0.0 if kind == "black" else 255.0
    image, kept = (a, 1 - 2 * share) if share < 0.5 else (b, 2 * share - 1)
    return np.asarray(kept * image + (1 - kept) * colour, np.uint8)


def found_cuts(path: Path, live: bool) -> list[float]:
    """Return the times of the first frames of all shots but the first."""
    frames = (item for item in Video(path) if isinstance(item, Frame))
    numbered: Iterator[tuple[float, int]]
    if live:
        detector = ShotDetector()
        numbered = ((frame.time, detector.update(thumbnail(frame.pixels, frame.time))) for frame in frames)
    else:
        numbered = ((item[0].time, item[1]) for item in NumberShots(frames) if not isinstance(item, Failure))
    last, times = 1, []
    for time, shot in numbered:
        if shot != last:
            times.append(time)
        last = shot
    return times


def score(joints: list[Joint], times: list[float], late: float) -> tuple[list[Joint], list[float]]:
    """Return the joints that were missed and the found cuts that are wrong."""
    missed, left = [], list(times)
    for joint in joints:
        near = [t for t in left if joint.start - TOLERANCE <= t <= joint.end + TOLERANCE + late]
        missed += [] if near else [joint]
        if near:
            left.remove(near[0])
    return missed, left


def main() -> None:
    parser = harness.parser(__doc__, "shots")
    parser.add_argument("media", type=Path, help="folder of videos and photographs")
    parser.add_argument("--seeds", type=int, default=24, help="number of made videos")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--verbose", action="store_true", help="print each error")
    options = parser.parse_args()
    clips, photographs = read_clips(options.media), read_photographs(options.media)
    joints: Counter[str] = Counter()
    events: Counter[str] = Counter()
    found: dict[str, Counter[str]] = {"file": Counter(), "live": Counter()}
    wrong, count, seconds = Counter[str](), 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(options.first, options.first + options.seeds):
            frames, truth, happened = make(clips, photographs, seed)
            path = Path(folder) / "made.mp4"
            with VideoWriter(path, WIDTH, HEIGHT, RATE) as writer:
                for k, frame in enumerate(frames):
                    writer.write(np.ascontiguousarray(frame), k / RATE)
            joints.update(joint.kind for joint in truth)
            events.update(happened)
            count, seconds = count + len(frames), seconds + len(frames) / RATE
            for mode, right in found.items():
                missed, false = score(truth, found_cuts(path, mode == "live"), 0.4 if mode == "live" else 0.0)
                right.update(joint.kind for joint in truth if joint not in missed)
                wrong[mode] += len(false)
                if options.verbose and (missed or false):
                    print(seed, mode, "missed", [f"{j.kind} {j.start:.2f}" for j in missed], "false", false, happened)
    values: dict[str, Any] = {
        "videos": options.seeds, "first_seed": options.first, "frames": count, "seconds": round(seconds, 1),
        "joints": dict(joints), "events": dict(events), "tolerance": TOLERANCE,
    }  # fmt: skip
    for mode, right in found.items():
        hits, total = right.total(), joints.total()
        values[mode] = {
            "precision": hits / max(hits + wrong[mode], 1),
            "recall": hits / total,
            "false": wrong[mode],
            "recall_by_kind": {kind: right[kind] / joints[kind] for kind in sorted(joints)},
        }
        print(mode, values[mode])
    harness.save(options.out, values)


if __name__ == "__main__":
    main()
