"""Frames a second of `mien video`, from file to results, with each detector and beside `fer`; what detectors find.

The first table: a video, scaled to `--size`, is decoded, its faces found, classified and tracked, by the code that
`mien video` runs, without writing anything; `fer`, where its environment is given, decodes the same file and calls
`detect_emotions` on every frame. They take turns, so that a busy machine hits all; only ratios mean something there.

The second table: what the default costs, which searches for faces of every size twice a second and in between only for
faces about as large as the known ones, against a whole search of every frame, on the same videos.

The third table: time and faces of the three detectors alone on pictures and videos whose number of faces is known.
Recall is the share of these faces that were found; what is found beyond their number counts as false.

Usage: python benchmarks/video.py --video single_face.mp4 [--media single_face.mp4=1 no_face.mp4=0 multi_face.jpg=5]
       [--peer-python ENV/bin/python] [--size 640 480] [--detectors yunet ...] [--rounds 7] [--frames 96] [--out FILE]
The environment that benchmarks/peers.py makes with --env FOLDER will do.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mien import Pipeline, files, load, run, sources, video
from mien.detect import DETECTORS, detector
from mien.pipeline import WHOLE
from mien.report_page import environment
from mien.types import Face, Frame, Image, Result
from peer_process import PeerProcess

SIZE = (640, 480)
FRAMES = 480
REST = 0.1
"""Seconds between the turns, in which the threads of the one before come to rest."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--media", nargs="*", default=[], help="FILE=FACES, faces in the picture or in each frame")
    parser.add_argument("--peer-python", type=Path, help="Python of an environment with fer")
    parser.add_argument("--size", type=int, nargs=2, default=list(SIZE), help="width and height of the first table")
    parser.add_argument("--detectors", nargs="*", default=list(DETECTORS), help="of the first table")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--frames", type=int, default=96, help="a turn; whole blocks of frames")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "video.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = scaled(options.video, Path(folder) / "video.mp4", tuple(options.size))
        values = speeds(path, options)
    found = [finds(name, *each.rsplit("=", 1)) for each in options.media for name in DETECTORS]
    media = [each.rsplit("=", 1)[0] for each in options.media]
    films = [each for each in media if Path(each).suffix.lower() in sources.VIDEOS]
    values |= {"agreement": [agreement(film) for film in films], "detectors": found, "environment": environment()}
    files.write_text(options.out, json.dumps(values, indent=1) + "\n")
    print(markdown(values))


def scaled(path: Path, goal: Path, size: tuple[int, int] = SIZE) -> Path:
    """The video at one size, as H.264 where PyAV is installed; a short one again and again, as opening takes time."""
    writer = video.encoder(goal)
    for frame in islice(looped(path), FRAMES):
        writer.write(cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA), frame.time)
    writer.finish()
    return goal


def speeds(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Frames a second of each contestant, turn by turn."""
    turns: dict[str, Callable[[int], float]] = {name: ours(path, name) for name in options.detectors}
    turns["yunet, whole search of each frame"] = ours(path, "yunet", 0.0)
    values: dict[str, Any] = {"size": options.size, "rounds": options.rounds, "frames": options.frames}
    peer = PeerProcess(options.peer_python, "peer_fer_video.py", path) if options.peer_python else None
    if peer:
        turns["fer"] = lambda count: float(peer.ask(str(count))["seconds"])
        values["peer"] = peer.hello
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn(run.BLOCK)  # the first is not counted
    for _ in range(options.rounds):
        for name, turn in turns.items():
            time.sleep(REST)
            seconds[name].append(turn(options.frames))
    if peer:
        peer.close()
    rates = {name: options.frames / np.array(each) for name, each in seconds.items()}
    values["rates"] = {name: {"median": float(np.median(each)), "all": each.tolist()} for name, each in rates.items()}
    if peer:
        values["ratio_to_fer"] = {name: quartiles(each / rates["fer"]) for name, each in rates.items() if name != "fer"}
    return values


def ours(path: Path, name: str, whole: float = WHOLE) -> Callable[[int], float]:
    results = run.results(
        sources.ahead(looped(path), lambda item: item.image.nbytes),
        load(detector=name, threads=1).stream(whole=whole),  # as `mien video` does it
    )

    def turn(count: int) -> float:
        cv2.setNumThreads(-1 if name == "haar" else 1)  # this, too; -1 is OpenCV's own choice
        start = time.perf_counter()
        seen = sum(1 for _ in islice(results, count))
        assert seen == count
        return time.perf_counter() - start

    return turn


def looped(path: Path) -> Iterator[Frame]:
    """The video again and again, with times that go on."""
    index, offset, step = 0, 0.0, 1 / sources.Video(path).fps
    while True:
        last = 0.0
        for frame in run.read(sources.Video(path)):
            assert isinstance(frame, Frame), frame
            yield replace(frame, index=index, time=offset + frame.time)
            index, last = index + 1, frame.time
        offset += last + step


def agreement(path: str) -> dict[str, Any]:
    """The default search of a video against a whole search of each of its frames."""
    pipeline = Pipeline()
    default, whole = (
        [result for result in run.results(run.read(sources.Video(path)), pipeline.stream(whole=seconds))
         if isinstance(result, Result)]
        for seconds in (WHOLE, 0.0)
    )  # fmt: skip
    same = [len(a.faces) == len(b.faces) for a, b in zip(default, whole, strict=True)]
    pairs = [
        pair
        for a, b, each in zip(default, whole, same, strict=True)
        if each
        for pair in zip(*(sorted(one.faces, key=lambda face: face.box) for one in (a, b)), strict=True)
    ]
    values: dict[str, Any] = {"media": Path(path).name, "frames": len(same), "same_number": sum(same) / len(same)}
    if pairs:
        values |= {
            "same_label": sum(a.label == b.label for a, b in pairs) / len(pairs),
            "probability": float(np.mean([np.abs(numbers(a) - numbers(b)).max() for a, b in pairs])),
            "overlap": float(np.mean([overlap(a, b) for a, b in pairs])),
        }
    return values


def numbers(face: Face) -> np.ndarray:
    return np.array(list(face.probabilities.values()))


def overlap(one: Face, other: Face) -> float:
    """Intersection over union of the boxes."""
    a, b = np.array(one.box), np.array(other.box)
    common = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))


def finds(name: str, path: str, faces: str) -> dict[str, Any]:
    """Time and faces of one detector on one picture, or on the frames of a video."""
    find, wanted = detector(name), int(faces)
    pictures: list[Image] = []
    readable = sources.Video(path) if Path(path).suffix.lower() in sources.VIDEOS else sources.frames(path)
    for frame in islice(readable, 100):
        assert isinstance(frame, Frame), frame
        pictures.append(frame.image)
    pictures *= 10 if len(pictures) == 1 else 1
    find(pictures[0])
    counts, seconds = [], []
    for picture in pictures:
        start = time.perf_counter()
        counts.append(len(find(picture)))
        seconds.append(time.perf_counter() - start)
    height, width = pictures[0].shape[:2]
    return {
        "detector": name, "media": Path(path).name, "size": [width, height], "faces": wanted, "frames": len(pictures),
        "milliseconds": quartiles(1000 * np.array(seconds)),
        "recall": sum(min(count, wanted) for count in counts) / (wanted * len(counts)) if wanted else None,
        "false": sum(max(count - wanted, 0) for count in counts) / len(counts),
    }  # fmt: skip


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
    return {"low": low, "median": median, "high": high}


def markdown(values: dict[str, Any]) -> str:
    """Tables for a document."""
    ratios = values.get("ratio_to_fer", {})
    lines = [f"| {'x'.join(map(str, values['size']))}, one face | frames/s | times fer (quartiles) |", "|---|---|---|"]
    for name, rate in values["rates"].items():
        ratio = ratios.get(name)
        beside = f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})" if ratio else ""
        lines.append(f"| {name} | {rate['median']:.1f} | {beside} |")
    lines += ["", "| default against whole search | frames | same number of faces | same label | difference of the "
              "probabilities | overlap of the boxes |", "|---|---|---|---|---|---|"]  # fmt: skip
    for row in values["agreement"]:
        rest = ["", "", ""]
        if "overlap" in row:
            rest = [f"{100 * row['same_label']:.1f} %", f"{row['probability']:.3f}", f"{row['overlap']:.3f}"]
        cells = [row["media"], str(row["frames"]), f"{100 * row['same_number']:.1f} %", *rest]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| media | detector | ms a frame | recall | false faces a frame |", "|---|---|---|---|---|"]
    for row in values["detectors"]:
        recall = "" if row["recall"] is None else f"{100 * row['recall']:.1f} %"
        place = f"{row['media']}, {row['size'][0]}x{row['size'][1]}"
        lines.append(
            f"| {place} | {row['detector']} | {row['milliseconds']['median']:.1f} | {recall} | {row['false']:.2f} |"
        )
    machine = values["environment"]
    return "\n".join([*lines, "", f"{machine['processor']}, {machine['cores']} cores."])


if __name__ == "__main__":
    main()
