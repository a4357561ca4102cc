"""Tables of accuracy, robustness, peers and data, for README.md, docs/benchmarks.md and docs/training.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.accuracy import audit
from benchmarks.harness import interval, machine, percent, require, table
from benchmarks.peers import footprint

MODELS = ("mien-s", "mien-s-7", "mien-xs", "mien-m", "baseline", "mien-s+mien-m+baseline")


def readme(results: Path) -> str:
    """Return the README's table: the default model on two views of PrivateTest and on photographs, beside `fer`."""
    views = require(results, "mien-s-PrivateTest", "mien-s")["views"]
    peer = require(results, "peers", "mien-s")
    rows = []
    for view, what in (("fer2013", "FER2013's labels"), ("ferplus-majority", "majority of ten raters (FER+)")):
        spread, theirs = interval(views[view]["interval"], joint="-"), percent(peer["views"][view]["fer"]["accuracy"])
        rows.append([f"{what}, {views[view]['n']:,} images", f"{percent(views[view]['accuracy'])} ({spread})", theirs])
    photos = require(results, "photos-mien-s", "mien-s")
    low, high = photos["balanced_accuracy_interval"]
    what = f"press photographs through the detector, {photos['images']:,} images, mean of the classes"
    rows.append([what, f"{photos['balanced_accuracy']:.1f} ({low:.1f}-{high:.1f})", "not measured"])
    return table(["accuracy, %", "`mien-s` (95 % interval)", f"`fer` {peer['versions']['fer']['fer']}"], rows)


def accuracies(results: Path, split: str, models: Sequence[str] = MODELS) -> str:
    """Return the table of models and views on one split."""
    rows = []
    for name in models:
        for view, row in require(results, f"{name}-{split}", name)["views"].items():
            recalls = "/".join(percent(row["per_class"][label]["recall"], 0) for label in row["labels"])
            spread = interval(row["interval"], joint="-")
            rows.append([f"`{name}`", view, f"{row['n']:,}", f"{percent(row['accuracy'])} ({spread})",
                         percent(row["macro_f1"]), f"{row['ece']:.3f}", recalls])  # fmt: skip
    labels = "recall %: angry/happy/sad/surprise/neutral"
    return table(["model", "view", "images", "accuracy % (95 % interval)", "macro-F1", "ECE", labels], rows)


def photographs(results: Path) -> str:
    """Return the figures on labelled photographs, through the detector."""
    rows = []
    for name in ("mien-s", "mien-s-turned", "mien-s-fer2013", "mien-xs", "mien-m", "baseline"):
        model = name.removesuffix("-turned")
        row = require(results, f"photos-{name}", model if model in MODELS else "")
        recalls = "/".join(f"{value:.0f}" for value in row["recalls"].values())
        low, high = row["balanced_accuracy_interval"]
        label = f"`{model}`" + (", turned" if model != name else ", the default before" if model not in MODELS else "")
        rows.append([label, f"{row['balanced_accuracy']:.1f} ({low:.1f}-{high:.1f})", f"{row['accuracy']:.1f}", recalls,
                     f"{row['answered']:.0f}", f"{row['right_among_answered']:.1f}"])  # fmt: skip
    heads = ["model", "balanced accuracy % (95 % interval)", "accuracy %", "recall %: angry/happy/sad/surprise/neutral"]
    return table([*heads, "not uncertain %", "accuracy of these %"], rows)


def views(results: Path) -> str:
    """Return the number of images of each view and the hash of their names."""
    found = require(results, "mien-s-PrivateTest", "mien-s")["views"]
    rows = [[view, f"{row['n']:,}", f"`{row['index']}`"] for view, row in found.items()]
    return table(["view", "images", "sha256 of the sorted file names"], rows)


def comparisons(results: Path) -> str:
    """Return the paired differences between the default model and the others."""
    rows = [
        [f"{row['first']} - {row['second']}", row["split"], view, difference(each, 2), f"{each['p']:.2g}"]
        for row in require(results, "comparisons")["rows"]
        for view, each in row["views"].items()
    ]
    return table(["models", "split", "view", "difference, points (95 % interval)", "McNemar p"], rows)


def int8_stem(results: Path) -> str:
    """Return the models with a first convolution in fp32 and in int8."""
    rows = [
        [f"`{row['first']}`", row["split"], view, percent(each["other"], 2), percent(each["accuracy"], 2),
         difference(each, 2), f"{each['p']:.2g}"]
        for row in require(results, "comparisons-int8-stem")["rows"]
        for view, each in row["views"].items()
    ]  # fmt: skip
    head = ["model", "split", "view", "fp32", "int8", "difference, points (95 % interval)", "McNemar p"]
    return table(head, rows)


def robustness(results: Path) -> str:
    """Return the means over all corruptions and the table of severities."""
    values = require(results, "robustness-PublicTest")
    names = list(values["models"])
    lines = []
    for name in names:
        row = require(results, "robustness-PublicTest", name)["models"][name]
        lines.append(
            f"- `{name}`: {percent(row['mean'])} % ({interval(row['interval'])}) over {len(row['accuracy'])} "
            f"corruptions in five severities;\n  {percent(row['clean'])} % on the {row['n']:,} clean images. "
            f"The worst corruptions are {' and '.join(row['worst'])}."
        )
    lines += [f"- {name}: {difference(row)} points." for name, row in values["differences"].items()]
    rows = []
    for corruption in values["corruptions"]:
        shares = [values["models"][name]["accuracy"][corruption] for name in names]
        cells = (f"{' '.join(percent(v, 0) for v in each)} (mean {percent(sum(each) / len(each))})" for each in shares)
        rows.append([corruption, *cells])
    return "\n".join([*lines, "", table(["corruption, accuracy % at severities 1 to 5", *names], rows)])


def peers(results: Path) -> str:
    """Return the tables of `fer`: accuracy, time and installation."""
    values = require(results, "peers", "mien-s")
    about = {"mien": ("system", "processor", "cores"), "fer": ()}
    versions = "; ".join(
        f"{name}: {', '.join(f'{key} {value}' for key, value in each.items() if key not in about[name])}"
        for name, each in values["versions"].items()
    )
    return f"{beside_fer(values)}\n\nVersions: {versions}."


def beside_fer(values: dict[str, Any]) -> str:
    """Return the tables of one result file of benchmarks/peers/fer.py."""
    version = f"fer {values['versions']['fer']['fer']}"
    rows = [
        [view, f"{row['n']:,}", percent(row["mien"]["accuracy"], 2), percent(row["fer"]["accuracy"], 2),
         difference(row["difference"], 2), f"{row['difference']['p']:.2g}"]
        for view, row in values["views"].items()
    ]  # fmt: skip
    head = [
        values["split"],
        "images",
        f"{values['model']} %",
        f"{version} %",
        "difference (95 % interval)",
        "McNemar p",
    ]
    parts = [table(head, rows)]
    if "times" in values:
        rows = [
            time_row(what, values["times"][key]) for what, key in (("1 face, ms", "one"), ("64 faces, faces/s", "many"))
        ]
        parts.append(table(["", values["model"], version, "ratio (range over the turns)"], rows))
        where = machine({"environment": values["versions"]["mien"]})
        parts.append(f"Ratio: how many times faster mien is (below 1: slower). {where}")
    if "footprint" in values:
        parts.append(footprint.markdown(values["footprint"]))
    return "\n\n".join(parts)


def time_row(what: str, row: dict[str, Any]) -> list[str]:
    """Return one row of the table of times."""
    peer = row["fastest_peer"]
    pair = (row["seconds_a_face"]["mien"], row["seconds_a_face"][peer])
    shown = [f"{1e3 * value:.2f}" if row["batch"] == 1 else f"{1 / value:,.0f}" for value in pair]
    low, high = row["ratio_range"]
    threads = f"mien on {row['threads']} thread{'s' * (row['threads'] > 1)}, {peer.replace('threads', 'on threads:')}"
    return [f"{what} ({threads})", *shown, f"{row['ratio']:.2f} ({low:.2f} to {high:.2f})"]


def data_audit(results: Path) -> str:
    """Return what `mien data audit` finds in FER2013."""
    return audit.markdown(require(results, "audit"))


def blend(results: Path) -> str:
    """Return the accuracy at several weights of the FER+ head."""
    rows = require(results, "blend")["rows"]
    names = ("fer2013", "ferplus-majority", "consensus")
    cells: dict[float, list[str]] = {}
    for mirror in (False, True):
        for row in rows:
            if row["mirror"] is mirror:
                cells.setdefault(row["blend"], []).extend(percent(row[name]) for name in names)
    head = ["blend", *(f"`{name}`" for name in names), *(f"`{name}`, mirrored" for name in names)]
    return table(head, [[f"{weight:g}", *each] for weight, each in cells.items()])


def difference(row: dict[str, Any], digits: int = 1) -> str:
    """Return a difference in points with its interval."""
    return f"{100 * row['difference']:+.{digits}f} ({interval(row['interval'], '{:+.1f}')})"


BLOCKS = {
    "views": views,
    "private": lambda results: accuracies(results, "PrivateTest"),
    "public": lambda results: accuracies(results, "PublicTest"),
    "photographs": photographs,
    "comparisons": comparisons,
    "int8-stem": int8_stem,
    "robustness": robustness,
    "peers": peers,
    "audit": data_audit,
}
