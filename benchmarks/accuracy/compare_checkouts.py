"""Compare two checkouts of mien: do both give the same answers, to the last digit?

Each checkout runs in processes of its own, with its `src` first on PYTHONPATH. Compared are

- the probabilities of every shipped model on the PublicTest crops of FER2013, unrounded;
- the faces of every image, unrounded, through `mien.load()(path)`, with every detector;
- the lines that `mien predict --jsonl` and `mien video --jsonl` write (boxes, scores, probabilities, labels, ids);
- every figure that `mien evaluate --json` writes for every shipped model.

Model names, view names, flags and JSON keys that were renamed are compared under their new name. Names and hashes of
model files are left out: a new name inside a model file changes its hash. The exit status is 1 when anything differs
by more than the tolerance or is missing on one side.

Usage: python benchmarks/accuracy/compare_checkouts.py OLD NEW --data fer2013.zip [--votes ferplus_votes.csv]
       [--images FOLDER_OR_FILE ...] [--detectors yunet haar mtcnn] [--tolerance 0] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MODELS = {"mien-s": "rep", "mien-xs": "swift", "mien-m": "wide", "baseline": "baseline", "mien-s-fp32": "rep-fp32"}
"""New name of a model -> old name."""
FLAGS = {"--detect-every": "--every", "--redetect-every": "--whole", "--smoothing": "--smooth"}
"""New name of a flag of `mien video` -> old name."""
KEYS = {
    "T1": "fer2013",
    "T2": "fer2013-dedup",
    "T3": "ferplus-majority",
    "T4": "consensus",
    "uncertain_below": "confidence_threshold",
    "answered": "coverage",
    "answered_accuracy": "covered_accuracy",
    "reliable_from": "threshold_for_accuracy",
}
"""Old JSON key -> new key."""
IGNORED = {"model", "sha256"}
"""Keys of `mien evaluate` that name the model file."""
LABELS = ("angry", "happy", "sad", "surprise", "neutral")
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
VIDEOS = {".mp4", ".mov", ".avi", ".mkv", ".webm"}


@dataclass
class Difference:
    """How one measurement differs between the checkouts.

    Attributes:
        what: name of the measurement.
        values: number of compared values.
        differing: number of values that differ by more than the tolerance or are missing on one side.
        largest: largest absolute difference of two numbers.
        example: path of the first differing value, with both values.
    """

    what: str
    values: int = 0
    differing: int = 0
    largest: float = 0.0
    example: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="a checkout of mien")
    parser.add_argument("new", type=Path, help="the checkout to compare with it")
    parser.add_argument("--data", type=Path, help="fer2013.zip; without it only images and videos are compared")
    parser.add_argument("--votes", type=Path, help="csv of FER+ votes")
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="images, videos or folders of them")
    parser.add_argument("--detectors", nargs="+", default=["yunet", "haar", "mtcnn"])
    parser.add_argument("--tolerance", type=float, default=0.0, help="largest absolute difference that counts as equal")
    parser.add_argument("--json", type=Path, help="file for the table")
    options = parser.parse_args()
    images, videos = (find_media(options.images, suffixes) for suffixes in (IMAGES, VIDEOS))
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        crops = Path(scratch) / "crops.npy" if options.data else None
        if crops:
            write_public_test(options.data, crops)
        for side in (options.old, options.new):
            measured: dict[str, Any] = {}
            for what, measure in plan(options, images, videos, crops):
                print(f"{side}: {what}", file=sys.stderr, flush=True)
                measured[what] = measure(Checkout(side.resolve(), Path(scratch)))
            found.append(measured)
    old, new = found
    rows = [compare(what, old[what], new[what], options.tolerance) for what in old]
    print(markdown(rows))
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 1 if any(row.differing for row in rows) else 0


def find_media(places: list[Path], suffixes: set[str]) -> list[Path]:
    """Return the files with one of the suffixes, folders searched through all levels, sorted."""
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*"))]
    return sorted({file.resolve() for file in files if file.suffix.lower() in suffixes})


def write_public_test(data: Path, crops: Path) -> None:
    """Decode the five-class PublicTest crops of the Kaggle zip into a .npy file, uint8 (N, 48, 48)."""
    import cv2
    import numpy as np

    with zipfile.ZipFile(data) as archive:
        names = [name for name in sorted(archive.namelist()) if Path(name).name.startswith("PublicTest_")]
        names = [name for name in names if Path(name).parent.name in LABELS]
        raw = (np.frombuffer(archive.read(name), np.uint8) for name in names)
        np.save(crops, np.stack([cv2.imdecode(each, cv2.IMREAD_GRAYSCALE) for each in raw]))


class Checkout:
    """Runs commands of one checkout."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root, self.scratch = root, scratch
        self._assets = root / "src" / "mien" / "assets"

    def model(self, name: str) -> str:
        """Return the name that this checkout gives a model."""
        return name if (self._assets / f"{name}.onnx").is_file() else MODELS[name]

    def mien(self, *arguments: object) -> str:
        """Run a `mien` command and return its output. Exit status 1 means that an item was unreadable."""
        return self._run("-m", "mien", *arguments)

    def lines(self, *arguments: object) -> list[dict[str, Any]]:
        """Run a `mien` command with `--jsonl` and return the JSON lines."""
        out = self.scratch / "lines.jsonl"
        out.unlink(missing_ok=True)
        self.mien(*arguments, "--jsonl", out)
        return [json.loads(line) for line in out.read_text().splitlines()]

    def worker(self, **job: Any) -> Any:
        """Run one of the WORKERS inside the checkout."""
        out = self.scratch / "worker.json"
        self._run(__file__, "--worker", json.dumps({**job, "root": str(self.root), "out": str(out)}))
        return json.loads(out.read_text())

    def _run(self, *arguments: object) -> str:
        cache = self.scratch / self.root.as_posix().replace("/", "_")
        cache.mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src"), "MIEN_CACHE": str(cache)}
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, env=environment, cwd=self.scratch, capture_output=True, text=True, check=False)
        if done.returncode > 1 or "Traceback" in done.stderr:
            raise SystemExit(f"{' '.join(command[:8])} failed in {self.root}:\n{done.stderr[-2000:]}")
        return done.stdout


Measurement = Callable[[Checkout], Any]


def plan(
    options: argparse.Namespace, images: list[Path], videos: list[Path], crops: Path | None
) -> Iterator[tuple[str, Measurement]]:
    """Yield every measurement: its name and a function of the checkout."""
    for model in MODELS if crops else ():
        yield (
            f"PublicTest probabilities, {model}",
            lambda side, model=model: side.worker(do="probabilities", model=side.model(model), crops=str(crops)),
        )
    for detector in options.detectors if images else ():
        yield (
            f"faces of {len(images)} images, {detector}, unrounded",
            lambda side, name=detector: side.worker(do="faces", detector=name, images=[str(each) for each in images]),
        )
        yield (
            f"mien predict, {len(images)} images, {detector}",
            lambda side, name=detector: side.lines("predict", *images, "--detector", name),
        )
    for flags in ({}, {"--detect-every": 3, "--redetect-every": 0, "--smoothing": 0}) if videos else ():
        shown = " ".join(f"{name} {value}" for name, value in flags.items())
        yield (
            f"mien video, {len(videos)} videos {shown}".rstrip(),
            lambda side, flags=flags: side.lines("video", *videos, *video_flags(side, flags)),
        )
    for model in MODELS if options.data else ():
        yield f"mien evaluate, {model}", lambda side, model=model: evaluate(side, model, options)


def video_flags(side: Checkout, flags: dict[str, float]) -> list[str]:
    """Return the flags under the names that the checkout knows."""
    known = side.mien("video", "--help")
    pairs = ((name if f"{name} " in known else FLAGS[name], str(value)) for name, value in flags.items())
    return [text for pair in pairs for text in pair]


def evaluate(side: Checkout, model: str, options: argparse.Namespace) -> Any:
    """Return the figures of `mien evaluate` on PublicTest."""
    out = side.scratch / "evaluate.json"
    votes = ["--votes", options.votes.resolve()] if options.votes else []
    data = ["--data", options.data.resolve(), *votes, "--split", "PublicTest"]
    side.mien("evaluate", *data, "--model", side.model(model), "--json", out)
    return {key: value for key, value in json.loads(out.read_text()).items() if key not in IGNORED}


def compare(what: str, old: Any, new: Any, tolerance: float) -> Difference:
    """Compare two measurements value by value."""
    left, right = dict(flatten(old)), dict(flatten(new))
    row = Difference(what)
    for path in dict.fromkeys((*left, *right)):
        row.values += 1
        if path in left and path in right:
            first, second = left[path], right[path]
            numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (first, second))
            gap = abs(first - second) if numbers else 0.0
            row.largest = max(row.largest, gap)
            equal = first == second or (numbers and gap <= tolerance)
        else:
            first, second, equal = left.get(path, "missing"), right.get(path, "missing"), False
        if not equal:
            row.differing += 1
            row.example = row.example or f"{path}: {first} / {second}"
    return row


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of nested lists and dictionaries with its path, under the new key names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{path}/{KEYS.get(key, key)}")
    elif isinstance(value, list):
        yield f"{path}/length", len(value)
        for number, inner in enumerate(value):
            yield from flatten(inner, f"{path}/{number}")
    else:
        yield path, KEYS.get(value, value) if isinstance(value, str) else value


def markdown(rows: list[Difference]) -> str:
    """Return the table."""
    lines = [
        "| what | values | differing | largest difference | first difference (old / new) |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {r.what} | {r.values:,} | {r.differing:,} | {r.largest:.3g} | {r.example} |" for r in rows]
    return "\n".join(lines)


def work(job: dict[str, Any]) -> None:
    """Run one job inside a checkout and write its values as JSON: floats keep all their digits."""
    import mien

    assert Path(mien.__file__).is_relative_to(job["root"]), f"{mien.__file__} is not from {job['root']}"
    Path(job["out"]).write_text(json.dumps(WORKERS[job["do"]](job)))


def probabilities(job: dict[str, Any]) -> list[list[float]]:
    """Return the probabilities of a model for the crops: (N, 5), columns in the order of LABELS."""
    import numpy as np

    import mien

    classifier = mien.load(model=job["model"], threads=1).classifier
    columns = [list(classifier.labels).index(label) for label in LABELS]
    values: list[list[float]] = classifier(np.load(job["crops"]))[:, columns].tolist()
    return values


def faces(job: dict[str, Any]) -> dict[str, Any]:
    """Return the faces of every image, or the error of an image that cannot be read."""
    import mien

    pipeline = mien.load(detector=job["detector"], threads=1)
    answers: dict[str, Any] = {}
    for image in job["images"]:
        try:
            result = pipeline(image)
        except mien.Error as error:
            answers[image] = str(error)
            continue
        answers[image] = [
            {
                "box": [float(value) for value in face.box],
                "score": float(face.score),
                "landmarks": [[float(x), float(y)] for x, y in face.landmarks],
                "emotion": face.emotion,
                "uncertain": bool(face.uncertain),
                "probabilities": {name: float(value) for name, value in face.probabilities.items()},
            }
            for face in result.faces
        ]
    return answers


WORKERS: dict[str, Callable[[dict[str, Any]], Any]] = {"probabilities": probabilities, "faces": faces}


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
