"""MODEL_CARD.md of the default model: model_card.md.jinja, filled with the figures of results/ and of the model file.

A figure of another file than the shipped one is refused: run benchmarks/evaluate.py, robustness.py and peers.py first.
What was not measured (robustness, peers) is left out.

Usage: python benchmarks/model_card.py
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import jinja2
import onnx

from mien import files
from mien.classify import ASSETS, model

HERE = Path(__file__).parent
CARD = HERE.parent / "MODEL_CARD.md"
AUGMENTATION = ("flip", "rotation", "zoom", "shift", "brightness", "contrast", "gamma", "degrade", "erasing")
AUGMENTATION += ("mixup", "cutmix")


def main() -> None:
    files.write_text(CARD, card())
    print(f"wrote {CARD.name}")


def card(results: Path = HERE / "results") -> str:
    """The page as text.

    Args:
        results: folder of `<model>-PrivateTest.json`, and where they are there `<model>-fp32-PrivateTest.json`,
            `robustness-PublicTest.json` and `peers.json`.
    """
    shipped = model()
    name, meta = shipped.name, shipped.metadata
    views = checked(results / f"{name}-PrivateTest.json", shipped.sha256)["views"]
    recipe = json.loads(meta["recipe"])
    recalls = {label: row["recall"] for label, row in views["T1"]["per_class"].items()}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string((HERE / "model_card.md.jinja").read_text("utf-8"))
    return template.render(
        name=name, meta=meta, sha256=shipped.sha256, labels=shipped.labels, recipe=recipe, views=views, **views,
        origin=json.loads(meta["data"]),
        augmentation=[key if recipe[key] is True else f"{key} {recipe[key]}" for key in AUGMENTATION if recipe[key]],
        millions=f"{parameters(name) / 1e6:.2f}", megabytes=f"{(ASSETS / f'{name}.onnx').stat().st_size / 1e6:.1f}",
        worst=sorted(recalls, key=recalls.__getitem__)[:2], gaps=gaps(results, name, views),
        shaken=robustness(results, name, shipped.sha256), peers=peers(results, shipped.sha256), percent=percent,
        between=between,
    )  # fmt: skip


def checked(path: Path, sha256: str) -> dict[str, Any]:
    """Figures of a file in results/, which must be about this model file."""
    if not path.exists():
        raise SystemExit(f"{path} is missing: measure the shipped model first")
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if values["sha256"] != sha256:
        raise SystemExit(f"{path} is about another model file than the shipped one: measure again")
    return values


def gaps(results: Path, name: str, views: dict[str, Any]) -> dict[str, float]:
    """Accuracy of the int8 file minus that of the fp32 one, by view; empty where that was not measured."""
    path = results / f"{name}-fp32-PrivateTest.json"
    if not path.exists() or not (ASSETS / f"{name}-fp32.onnx").exists():
        return {}
    full = checked(path, hashlib.sha256((ASSETS / f"{name}-fp32.onnx").read_bytes()).hexdigest())["views"]
    return {view: values["accuracy"] - full[view]["accuracy"] for view, values in views.items()}


def robustness(results: Path, name: str, sha256: str) -> dict[str, Any] | None:
    """Figures of robustness.py for this model, or None where it was not measured."""
    path = results / "robustness-PublicTest.json"
    values = json.loads(path.read_text("utf-8")) if path.exists() else {"models": {}}
    if name not in values["models"]:
        return None
    found = {"end_to_end": None, "split": values["split"], **values["models"][name]}
    if found["sha256"] != sha256:
        raise SystemExit(f"{path} is about another model file than the shipped one: measure again")
    placed = [row["n"] for key, rows in (found["end_to_end"] or {}).items() if key != "crops" for row in rows]
    return {**found, "faces": min(placed, default=0)}


def peers(results: Path, sha256: str) -> dict[str, Any] | None:
    """Figures of peers.py, or None where they were not measured."""
    path = results / "peers.json"
    return {"times": None, **checked(path, sha256)} if path.exists() else None


def parameters(name: str) -> int:
    """Numbers in the fp32 file's weights, or in the model file itself where that is not shipped."""
    full = ASSETS / f"{name}-fp32.onnx"
    graph = onnx.load(full if full.exists() else ASSETS / f"{name}.onnx").graph
    return sum(math.prod(each.dims) for each in graph.initializer if len(each.dims) > 0)


def percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}"


def between(pair: list[float], form: str = "%.1f") -> str:
    low, high = (form % (100 * value) for value in pair)
    return f"{low} to {high}"


if __name__ == "__main__":
    main()
