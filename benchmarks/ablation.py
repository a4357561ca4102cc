"""What each ingredient of the default model's recipe brings, with several seeds, on a small network.

The network is `rep` with half of its filters on pictures of 24 pixels, so that a run takes minutes on one core and each
row can have several seeds; a row is the recipe with one thing changed. The last row is the comparison of Bialek et al.
(2023): one binary network a class, each against the rest, of which the surest one answers, against one network for
all classes. Accuracy is that of the last epoch on PublicTest (the learning rate has come to 0 there), fp32.

Finished runs are kept: started again, it goes on with what is missing.

Usage: python benchmarks/ablation.py --data fer2013.zip --votes ferplus_votes.csv [--runs runs/ablation] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien import files
from mien.train import data, lessons, loop, models, store
from mien.train.config import Stage, TrainConfig, read_recipe

WIDTH, SIZE, EPOCHS = 0.5, 24, 8
STAGE = Stage(epochs=EPOCHS, lr=0.1, size=SIZE, width=WIDTH, dropout=0.0)
VARIANTS: dict[str, dict[str, Any]] = {
    "as the recipe, without teacher": {},
    "half of the target soft labels": {
        "soft_labels": "recipes/soft_labels.npz",
        "stages": (replace(STAGE, distill=0.5),),
    },
    "answers of wide to the views, 0.8 of the target": {
        "teacher": "wide",
        "stages": (replace(STAGE, distill=0.8),),
    },
    "the same of wide and baseline in turn": {
        "teacher": "wide+baseline",
        "stages": (replace(STAGE, distill=0.8),),
    },
    "no FER+ head": {"ferplus": 0.0},
    "learns the other two classes as well": {"extra_classes": True},
    "augmentation at 0.4 of its strength in the last third": {
        "stages": (replace(STAGE, epochs=5, lr_end=0.025), replace(STAGE, epochs=3, lr=0.025, augment=0.4)),
    },
    "mixup 0.2": {"mixup": 0.2},
    "labels not smoothed": {"label_smoothing": 0.0},
    "no blur, noise and low resolution": {"degrade": 0.0},
    "weights not averaged": {"ema": 0.0},
    "AdamW": {"optimizer": "adamw", "weight_decay": 0.05, "stages": (replace(STAGE, lr=4e-3),)},
}
BINARY = "one binary network a class, no FER+ head"
GROUPS = (tuple(VARIANTS)[:8], (BINARY, *tuple(VARIANTS)[8:]))
"""The first come before the others, with all their seeds."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "ablation.json")
    options = parser.parse_args()
    recipe = read_recipe("recipes/rep.yaml")
    base = replace(recipe, name="ablation", stages=(STAGE,), soft_labels="", teacher="", init="", blend=0.0)
    sets = {count: data.load(options.data, count, options.votes) for count in (5, 7)}
    rows: list[dict[str, Any]] = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    names = (*VARIANTS, BINARY)
    for group in GROUPS:
        for seed, variant in product(range(1, options.seeds + 1), group):
            if any((row["variant"], row["seed"]) == (variant, seed) for row in rows):
                continue
            folder = options.runs / f"{names.index(variant)}-{seed}"
            if variant == BINARY:
                right = binary(replace(base, seed=seed, ferplus=0.0), sets[5], folder)
            else:
                config = replace(base, seed=seed, **VARIANTS[variant])
                faces = sets[7 if config.extra_classes else 5]
                truth = faces.split("PublicTest").with_labels(sets[5].labels)
                answers = trained(config, faces, folder, truth.images)
                columns = [faces.labels.index(label) for label in sets[5].labels]
                right = float((answers[:, columns].argmax(1) == truth.targets).mean())
            rows.append({"variant": variant, "seed": seed, "accuracy": right})
            settings = {"width": WIDTH, "size": SIZE, "epochs": EPOCHS}
            files.write_text(options.out, json.dumps({**settings, "rows": rows}, indent=1) + "\n")
            print(markdown(rows), flush=True)


def trained(config: TrainConfig, faces: data.Faces, folder: Path, images: np.ndarray) -> np.ndarray:
    """Train, and answer with the weights of the last epoch: probabilities (N, C)."""
    loop.fit(config, faces, folder, resume=True)
    tensors, _ = store.load(folder / "last.safetensors")
    auxiliary = lessons.EMOTION_VOTES if config.ferplus else 0
    model = models.build(config.network, len(faces.labels), WIDTH, auxiliary=auxiliary)
    model.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("average.")})
    model.eval()
    mean, std = data.statistics(faces.split("Training"))
    with torch.no_grad():
        logits = [
            model(loop.prepare(part[:, None].float() / 255, mean, std, SIZE))
            for part in torch.split(torch.from_numpy(images), 256)
        ]
    return torch.softmax(torch.cat(logits), 1).numpy()


def binary(config: TrainConfig, faces: data.Faces, folder: Path) -> float:
    """Accuracy of one network a class, each of which knows only that class and the rest."""
    truth = faces.split("PublicTest")
    columns = [
        trained(
            config,
            replace(faces, targets=(faces.targets != number).astype(np.int64), labels=(label, "rest")),
            folder / label,
            truth.images,
        )[:, 0]
        for number, label in enumerate(faces.labels)
    ]
    return float((np.stack(columns, 1).argmax(1) == truth.targets).mean())


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table for a document."""
    lines = ["| | PublicTest, mean | deviation | seeds |", "|---|---|---|---|"]
    for variant in dict.fromkeys(row["variant"] for row in rows):
        found = [100 * row["accuracy"] for row in rows if row["variant"] == variant]
        spread = f"{np.std(found, ddof=1):.2f}" if len(found) > 1 else ""
        lines.append(f"| {variant} | {np.mean(found):.2f} | {spread} | {len(found)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
