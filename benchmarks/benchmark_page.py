"""docs/benchmark.md and the table of accuracies in README.md, from the figures in results/.

A table whose figures are not there is left out; nothing is measured here. A test holds both files to their figures.

Usage: python benchmarks/benchmark_page.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import audit
import peers
from mien import files

HERE = Path(__file__).parent
RESULTS = HERE / "results"
README, PAGE = HERE.parent / "README.md", HERE.parent / "docs" / "benchmark.md"
MODELS = ("rep", "swift", "wide", "baseline", "rep+wide+baseline")
SHOWN = ("rep", "swift", "baseline", "rep+wide+baseline")
"""In README.md."""
MARKS = "<!-- accuracy, written by benchmarks/benchmark_page.py -->", "<!-- end of accuracy -->"

INTRODUCTION = """# What is measured, and what came out

Written by `benchmarks/benchmark_page.py` from `benchmarks/results/`; how to measure again stands at the head of each
script in `benchmarks/`.

**Protocol.** FER2013 with its official splits, five classes. Training pictures that are pixel-identical to a test
picture are removed. Everything is chosen on PublicTest; PrivateTest is touched once a final model and decides nothing.
int8 files, one answer a picture, no averaging. Intervals are 95 % bootstrap intervals in which identical pictures are
resampled together; p is McNemar's exact test. Four views of a split: **T1** all pictures, FER2013's labels; **T2**
without those that have an identical twin in another split; **T3** pictures whose FER+ votes have a strict majority for
one of the classes, with that label; **T4** where T1 and T3 agree.
"""


def main() -> None:
    files.write_text(PAGE, page())
    files.write_text(README, readme(README.read_text("utf-8")))
    print(f"wrote {PAGE.name} and {README.name}")


def page() -> str:
    """docs/benchmark.md as text."""
    parts = [INTRODUCTION, *pictures(), *accuracies(), *comparisons(), *robustness(), *beside_peers(), *data_audit()]
    return "\n".join(parts).rstrip() + "\n"


def readme(text: str) -> str:
    """README.md with its table of accuracies as the figures are now."""
    before, rest = text.split(MARKS[0])
    return f"{before}{MARKS[0]}\n{table('PrivateTest', SHOWN)}\n{MARKS[1]}{rest.split(MARKS[1])[1]}"


def found(name: str) -> Any:
    """Figures of a file in results/, or None."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def pictures() -> list[str]:
    views = found("rep-PrivateTest")["views"]
    rows = [f"| {view} | {row['n']:,} | `{row['index']}` |" for view, row in views.items()]
    return ["Views of PrivateTest, with the sha256 of the sorted file names:", "", "| view | pictures | sha256 |",
            "|---|---|---|", *rows, ""]  # fmt: skip


def accuracies() -> list[str]:
    return ["## Accuracy", "", table("PrivateTest"), "", "On PublicTest, where models were chosen:", "",
            table("PublicTest"), ""]  # fmt: skip


def table(split: str, models: Sequence[str] = MODELS) -> str:
    """Models on the views of a split."""
    lines = [
        "| model | view | images | accuracy % (95 % interval) | macro-F1 | ECE | recall %: angry/happy/sad/surprise/"
        "neutral |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in models:
        for view, row in (found(f"{name}-{split}") or {"views": {}})["views"].items():
            low, high = (f"{100 * value:.1f}" for value in row["interval"])
            recalls = "/".join(f"{100 * row['per_class'][label]['recall']:.0f}" for label in row["labels"])
            lines.append(
                f"| `{name}` | {view} | {row['n']:,} | {100 * row['accuracy']:.1f} ({low}-{high}) | "
                f"{100 * row['macro_f1']:.1f} | {row['ece']:.3f} | {recalls} |"
            )
    return "\n".join(lines)


def comparisons() -> list[str]:
    rows = [
        f"| {row['first']} and {row['second']} | {row['split']} | {view} | {100 * each['difference']:+.2f} "
        f"({100 * each['interval'][0]:+.1f} to {100 * each['interval'][1]:+.1f}) | {each['p']:.2g} |"
        for row in found("comparisons") or []
        for view, each in row["views"].items()
    ]
    if not rows:
        return []
    head = ["| models | split | view | difference, points (95 % interval) | McNemar p |", "|---|---|---|---|---|"]
    return ["## Models against each other, picture by picture", "", *head, *rows, ""]


def robustness() -> list[str]:
    values = found("robustness-PublicTest")
    if not values:
        return []
    lines = ["## Robustness", ""]
    for name, row in values["models"].items():
        low, high = (f"{100 * value:.1f}" for value in row["interval"])
        mean, clean, worst = 100 * row["mean"], 100 * row["clean"], " and ".join(row["worst"])
        lines += [
            f"- `{name}`: {mean:.1f} % ({low} to {high}) over {len(row['accuracy'])} corruptions in five severities,",
            f"  {clean:.1f} % on the {row['n']:,} PublicTest pictures as they are; the worst are {worst}.",
        ]
    for name, row in values["differences"].items():
        low, high = (f"{100 * value:+.1f}" for value in row["interval"])
        lines.append(f"- {name}: {100 * row['difference']:+.1f} points ({low} to {high}).")
    names = list(values["models"])
    lines += ["", "Accuracy in %, severities 1 to 5; amounts in `src/mien/train/robustness.py`.", ""]
    lines += [f"| corruption | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for corruption in values["corruptions"]:
        cells = (
            " ".join(f"{100 * v:.0f}" for v in values["models"][name]["accuracy"][corruption])
            + f" (mean {100 * sum(values['models'][name]['accuracy'][corruption]) / 5:.1f})"
            for name in names
        )
        lines.append(f"| {corruption} | {' | '.join(cells)} |")
    return [*lines, "", "![curves](../benchmarks/results/robustness-PublicTest.png)", ""]


def beside_peers() -> list[str]:
    values = found("peers")
    if not values:
        return []
    left_out = ("system", "processor", "cores")
    versions = "; ".join(
        f"{name}: {', '.join(f'{key} {value}' for key, value in each.items() if key not in left_out)}"
        for name, each in values["versions"].items()
    )
    about = "The same crops in one run; of `fer`'s seven answers the most probable of the five classes."
    return ["## Beside `fer`", "", about, "", peers.markdown(values), "", f"Versions: {versions}.", ""]


def data_audit() -> list[str]:
    values = found("audit")
    if not values:
        return []
    return ["## What is wrong with the data", "", "`mien data audit`:", "", audit.markdown(values), ""]


if __name__ == "__main__":
    main()
