"""Tables of training experiments, for docs/training.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, interval, percent, require, table
from benchmarks.pages.accuracy import difference

EXPERIMENTS = ROOT / "experiments" / "results"
VIEWS_SHOWN = ("fer2013", "ferplus-majority", "consensus")


def field_ablation(results: Path) -> str:
    """Return what each field of the augmentation brings in a short run."""
    rows = require(EXPERIMENTS, "field-ablation")["rows"]
    names = (*VIEWS_SHOWN, "photographs, balanced")
    shown = [[name, *(percent(row[key]) for key in names)] for name, row in rows.items()]
    return table(["two epochs from `mien-s`", *(f"`{key}`" for key in VIEWS_SHOWN), "photographs, balanced"], shown)


def with_photographs(results: Path) -> str:
    """Return FER2013 alone against FER2013 and photographs."""
    rows = require(EXPERIMENTS, "with-photographs")["rows"]
    names = (*VIEWS_SHOWN, "photographs")
    shown = [[WORDS.get(name, name), *(percent(row[key]) for key in names)] for name, row in rows.items()]
    return table(["six epochs from `mien-s-fer2013`", *(f"`{key}`" for key in VIEWS_SHOWN), "photographs, balanced"],
                 shown)  # fmt: skip


def other_starts(results: Path) -> str:
    """Return further runs from and near `mien-s`, at its operating point."""
    rows = require(EXPERIMENTS, "other-starts")["rows"]
    names = (*VIEWS_SHOWN, "photographs")
    shown = [[name, *(percent(row[key]) for key in names)] for name, row in rows.items()]
    return table(["weights", *(f"`{key}`" for key in VIEWS_SHOWN), "photographs, balanced"], shown)


def larger_models(results: Path) -> str:
    """Return `mien-m` and `baseline` before and after their further training."""
    rows = [
        [f"`{name}`", row["split"], view, percent(each["other"]), percent(each["accuracy"]), difference(each)]
        for name in ("mien-m", "baseline")
        for row in require(results, f"comparisons-{name}")["rows"]
        for view, each in row["views"].items()
        if view in VIEWS_SHOWN
    ]
    return table(["model", "split", "view", "before", "now", "difference, points (95 % interval)"], rows)


WORDS = {f"{name}-{seed}": f"{words}, seed {seed}" for name, words in
         (("alone", "FER2013 alone"), ("with", "FER2013 and photographs")) for seed in (1, 2)}  # fmt: skip


def own_data(results: Path) -> str:
    """Return what fine-tuning on own images brings."""
    rows: list[dict[str, Any]] = require(results, "own_data")["rows"]
    recalls = ("angry", "happy", "sad", "surprise", "neutral")
    shown = [
        [row["name"], f"{percent(row['balanced_accuracy'])} ({interval(row['interval'], joint='-')})",
         percent(row["accuracy"]), "/".join(percent(row["recalls"][name], 0) for name in recalls),
         percent(row["fer2013_public"])]
        for row in rows
    ]  # fmt: skip
    head = ["images", "balanced accuracy % (95 % interval)", "accuracy %", f"recall %: {'/'.join(recalls)}",
            "`fer2013` %"]  # fmt: skip
    return table(head, shown)


def speed(results: Path) -> str:
    """Return images a second of training."""
    rows = require(results, "training")["rows"]
    first = next(iter(rows.values()))["median"]
    shown = [[name, f"{row['median']:.0f}", f"{row['median'] / first:.1f}"] for name, row in rows.items()]
    return table(["", "images a second", "times the first"], shown)


BLOCKS = {
    "field-ablation": field_ablation,
    "with-photographs": with_photographs,
    "larger-models": larger_models,
    "own-data": own_data,
    "other-starts": other_starts,
    "training-speed": speed,
}
