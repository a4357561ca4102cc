"""What each step towards speed brought: the figures of results/ before and after it, from the repository's history.

Of each file of figures every committed version is read, and then the one that lies there now. Between two versions in a
row stand the changes that can have moved its figures, by the subjects of their commits; where several of them lie
between two measurements, their parts cannot be told apart. The machines and what else ran on them differ from one
version to the next: what was taken in the same run as its yardstick (`fer`, reading alone, one picture after the
other) can be compared, milliseconds hardly.

Usage: python benchmarks/history.py   (in a clone with the whole history; speed_page.py does it too)
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mien import files

RESULTS = Path(__file__).parent / "results"

CHANGES: dict[str, tuple[str, ...]] = {
    "YuNet runs in ONNX Runtime": ("video", "folder", "frame_profile: detect"),
    "Video: whole searches twice a second": ("video: 640x480 video,",),
    "int8: the ReLU is part of the quantised convolution": ("peers", "frame_profile: classify"),
    "Networks with one thread in videos": ("video",),
    "Videos: one OpenCV thread beside the others": ("video", "frame_profile: detect", "frame_profile: crop"),
    "New models: rep learns 42 more epochs": ("video", "folder", "peers", "frame_profile: classify"),
    "rep begins as part of wide": ("video", "folder", "peers", "frame_profile: classify"),
    "Pictures are searched in the threads that read them": ("folder", "frame_profile: crop"),
    "The profile times what mien video runs": ("frame_profile",),
}
"""How the subject of a commit begins -> the figures that it can have moved, by how `file: figure` begins."""

Values = dict[str, Any]
Figure = Callable[[Values], float | None]


def rate(name: str) -> Figure:
    return lambda values: values["rates"][name]["median"] if name in values["rates"] else None


def beside(name: str) -> Figure:
    def figure(values: Values) -> float | None:
        found = values.get("ratio_to_fer", {}).get(name)
        return found["median"] if found else None

    return figure


def time(kind: str) -> Figure:
    return lambda values: 1000 * values["times"][kind]["seconds_a_face"]["mien"] if "times" in values else None


def ratio(kind: str) -> Figure:
    return lambda values: values["times"][kind]["ratio"] if "times" in values else None


def predict(side: int, over: str | None = None) -> Figure:
    """Pictures a second of `mien predict`, or how many times those of another way."""

    def figure(values: Values) -> float | None:
        rates = next((row["pictures_per_second"] for row in values["sizes"] if row["side"] == side), None)
        if rates is None:
            return None
        return float(rates["predict"]["median"] / (rates[over]["median"] if over else 1))

    return figure


def step(*names: str) -> Figure:
    """Time of the processor of a step, in ms, by the first of its names that is there."""

    def figure(values: Values) -> float | None:
        return next((values["steps"][name]["cpu_milliseconds"] for name in names if name in values["steps"]), None)

    return figure


WHOLE = "yunet, whole search of each frame"
FIGURES: tuple[tuple[str, str, Figure], ...] = (
    ("video", "640x480 video, frames a second", rate("yunet")),
    ("video", "640x480 video, times `fer`", beside("yunet")),
    ("video", "whole search of each frame, 640x480 video, frames a second", rate(WHOLE)),
    ("video", "whole search of each frame, 640x480 video, times `fer`", beside(WHOLE)),
    ("peers", "one face, one thread, ms", time("one")),
    ("peers", "one face, one thread, times `fer`", ratio("one")),
    ("peers", "64 faces, ms a face", time("many")),
    ("peers", "64 faces, times `fer`", ratio("many")),
    ("folder", "pictures of 1280 pixels, a second", predict(1280)),
    ("folder", "pictures of 1280 pixels, times one by one", predict(1280, "one by one")),
    ("folder", "pictures of 1280 pixels, share of reading alone", predict(1280, "read")),
    ("frame_profile", "detect, whole, ms of the processor", step("detect, whole", "detect")),
    ("frame_profile", "crop, ms of the processor", step("crop")),
    ("frame_profile", "classify, ms of the processor", step("classify")),
)
"""File of results, name of the figure, and how it is found there."""


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    renew()
    print(markdown(json.loads((RESULTS / "history.json").read_text("utf-8"))))


def renew() -> None:
    """Write results/history.json; without the whole history it stays as it is."""
    if (RESULTS.parents[1] / ".git").exists() and git("rev-parse", "--is-shallow-repository").strip() == "false":
        rows = [row for file in dict.fromkeys(file for file, *_ in FIGURES) for row in moved(file)]
        files.write_text(RESULTS / "history.json", json.dumps(rows, indent=1) + "\n")


def moved(file: str) -> list[dict[str, Any]]:
    """The figures of one file before and after the changes between two of its versions."""
    found = []
    for (old, before), (new, after) in itertools.pairwise(versions(file)):
        between = log(f"{old}..{new}")
        for changes, figures in itertools.groupby(
            (each for each in FIGURES if each[0] == file), key=lambda each: touching(between, f"{file}: {each[1]}")
        ):
            pairs = [(name, figure(before), figure(after)) for _, name, figure in figures]
            both = [
                {"figure": name, "before": one, "after": two}
                for name, one, two in pairs
                if one is not None and two is not None
            ]
            if changes and both:
                found.append({"file": file, "from": old, "to": new, "changes": changes, "figures": both})
    return found


def touching(commits: list[tuple[str, str]], figure: str) -> list[dict[str, str]]:
    """Those of the commits that can have moved a figure."""
    return [
        {"commit": commit, "subject": subject}
        for commit, subject in commits
        for start, touched in CHANGES.items()
        if subject.startswith(start) and figure.startswith(touched)
    ]


def versions(file: str) -> list[tuple[str, Values]]:
    """(commit, content) of each committed version of results/<file>.json, and at last what lies there now."""
    path = f"benchmarks/results/{file}.json"
    found = []
    for commit, _ in log("--diff-filter=AM", "HEAD", "--", path):
        found.append((commit, json.loads(git("show", f"{commit}:{path}"))))
    now = json.loads((RESULTS / f"{file}.json").read_text("utf-8"))
    return found if found and found[-1][1] == now else [*found, ("HEAD", now)]


def log(*words: str) -> list[tuple[str, str]]:
    """(commit, subject), the oldest first."""
    lines = git("log", "--reverse", "--format=%h%x09%s", *words).splitlines()
    return [(commit, subject) for commit, _, subject in (line.partition("\t") for line in lines)]


def git(*words: str) -> str:
    return subprocess.run(
        ["git", *words], cwd=RESULTS.parents[1], check=True, capture_output=True, encoding="utf-8"
    ).stdout


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table for a document."""
    lines = ["| what changed | figure | before | after |", "|---|---|---|---|"]
    for row in rows:
        named = "<br>".join(f"{change['subject']} (`{change['commit']}`)" for change in row["changes"])
        for k, each in enumerate(row["figures"]):
            cells = [named if k == 0 else "", each["figure"], shown(each["before"]), shown(each["after"])]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    main()
