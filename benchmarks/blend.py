"""What a blend of the FER+ head and the mean over the mirror image would change: a checkpoint on PublicTest, fp32.

The checkpoint is `best.safetensors` of a run with `ferplus`; its two heads are read out once, and put together at
several weights, as `export` would do with the recipe's `blend` and `mirror`.

Usage: python benchmarks/blend.py --data fer2013.zip --votes ferplus_votes.csv --checkpoint runs/rep/best.safetensors
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mien import files
from mien.train import data, loop, models, store
from mien.train.lessons import EMOTION_VOTES

BLENDS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0, 5.0)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--votes", required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "blend.json")
    options = parser.parse_args()
    tensors, meta = store.load(options.checkpoint)
    model: Any = models.build(meta["config"]["network"], len(meta["labels"]), auxiliary=EMOTION_VOTES)
    model.load_state_dict(tensors)
    model.eval()
    names = [data.FERPLUS_NAMES.get(name, name) for name in data.FERPLUS[:EMOTION_VOTES]]
    order = [names.index(label) for label in meta["labels"]]
    rows = []
    views = {
        name: faces for name, faces in data.views(options.data, options.votes, "PublicTest").items() if name != "T2"
    }
    heads = {name: [both(model, faces.images, meta, flip) for flip in (False, True)] for name, faces in views.items()}
    for blend in BLENDS:
        for mirror in (False, True):
            row: dict[str, Any] = {"blend": blend, "mirror": mirror}
            for name, faces in views.items():
                plain, turned = (softmax(own + blend * votes[:, order]) for own, votes in heads[name])
                answers = (plain + turned) / 2 if mirror else plain
                row[name] = float((answers.argmax(1) == faces.targets).mean())
            rows.append(row)
    files.write_text(options.out, json.dumps({"model": meta["config"]["name"], "rows": rows}, indent=1) + "\n")
    print("| blend | T1 | T3 | T4 | T1, mirror | T3, mirror | T4, mirror |\n|---|---|---|---|---|---|---|")
    for one, two in zip(rows[::2], rows[1::2], strict=True):
        cells = [f"{100 * row[name]:.1f}" for row in (one, two) for name in ("T1", "T3", "T4")]
        print(f"| {one['blend']:g} | {' | '.join(cells)} |")


def both(model: Any, images: np.ndarray, meta: dict[str, Any], flip: bool) -> tuple[np.ndarray, np.ndarray]:
    """Logits of the head and of the FER+ head for uint8 (N, 48, 48)."""
    found = []
    for part in torch.split(torch.from_numpy(images)[:, None].float() / 255, 256):
        features = model.features(loop.prepare(part.flip(3) if flip else part, meta["mean"], meta["std"]))
        found.append((model.head(features).numpy(), model.auxiliary(features).numpy()))
    own, votes = zip(*found, strict=True)
    return np.concatenate(own), np.concatenate(votes)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


if __name__ == "__main__":
    main()
