"""Fine-tune the default model on photographs of some people and measure it on those of others, before and after.

The people of the archive are dealt into two halves. A run learns from one half, with 30, 100 or 300 images a class
where there are so many, as `mien train --data own/` does without a recipe, and answers the other half; then they change
places. Balanced accuracy with a 95 % interval by person, on both halves together; accuracy on a third of FER2013's
PublicTest shows what is forgotten. fp32, face crops as the pipeline makes them.

Usage: python -m benchmarks.accuracy.own_data --photographs photos_dev.zip --data fer2013.zip [--images 30 100 300]
       [--freeze SHARE] [--epochs N] [--out FILE]
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from mien.data.faces import Faces
from mien.data.fer2013 import load_fer2013
from mien.data.registry import load_any
from mien.data.splits import carve_splits
from mien.evaluation.metrics import evaluate
from mien.train import checkpoint, finetune, log, trainer
from mien.train.config import FINETUNE
from mien.train.torch_classifier import TorchClassifier
from mien.types import EMOTIONS, label_columns


def main() -> None:
    parser = harness.parser(__doc__, "own_data", data=True)
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--images", type=int, nargs="*", default=[30, 100, 300], help="largest numbers a class")
    parser.add_argument("--replay", nargs="*", default=["no", "yes"], choices=["no", "yes"])
    parser.add_argument("--freeze", type=float, help="share of frozen blocks in place of that of the plan")
    parser.add_argument("--epochs", type=int, help="in place of those of the plan")
    options = parser.parse_args()
    faces = load_any(options.photographs, kind="photographs", drop_leaks=False).mapped(EMOTIONS)
    fer = load_fer2013(options.data)
    valid = fer.split("PublicTest").take(np.arange(0, 3037, 3))
    halves = deal(faces)
    start = TorchClassifier(checkpoint.resolve(FINETUNE.init))
    known = harness.load(options.out.stem, options.out.parent) or {"rows": []}  # rows of an earlier call are kept
    done = {row["name"]: row for row in known["rows"]}
    rows = [done.get("before") or measure("before", [(half, answer(start, half)) for half in halves], valid, [start])]
    print(rows[0], flush=True)
    for count in options.images:
        for replay in options.replay:
            name = f"{count} a class" + (", FER2013 replayed" if replay == "yes" else "")
            if name in done:
                rows.append(done[name])
                continue
            answered, models, facts = [], [], []
            for own, others in (halves, halves[::-1]):
                with tempfile.TemporaryDirectory() as folder:
                    data = carve_splits(few(own, count))
                    best = train(data, fer if replay == "yes" else None, Path(folder), options)
                    epochs = len(log.read_log(Path(folder) / "log.csv"))
                    models.append(TorchClassifier(best))
                    kept = checkpoint.load(best)[1]["epoch"]
                facts.append({"training": data.split("Training").counts(), "epochs": epochs, "kept": kept})
                answered.append((others, answer(models[-1], others)))
            rows.append({**measure(name, answered, valid, models), "runs": facts})
            print(rows[-1], flush=True)
            harness.save(options.out, {"start": FINETUNE.init, "people": people(faces), "rows": rows})


def people(faces: Faces) -> int:
    return len(np.unique(faces.clusters()))


def deal(faces: Faces) -> tuple[Faces, Faces]:
    """Deal the people into two halves, seeded."""
    owners = faces.clusters()
    first = np.isin(owners, np.random.default_rng(0).permutation(owners.max() + 1)[: (owners.max() + 1) // 2])
    return faces.take(first), faces.take(~first)


def few(faces: Faces, count: int) -> Faces:
    """Return at most so many images of each class, all as Training."""
    order = np.random.default_rng(1).permutation(len(faces))
    chosen = [order[faces.targets[order] == n][:count] for n in range(len(faces.labels))]
    part = faces.take(np.sort(np.concatenate(chosen)))
    return replace(part, splits=np.zeros(len(part), np.int8))


def train(own: Faces, replay: Faces | None, folder: Path, options: Any) -> Path:
    config = finetune.plan(FINETUNE, [own], [] if replay is None else [replay])
    changes = {"freeze": options.freeze, "epochs": options.epochs}
    changes = {name: value for name, value in changes.items() if value is not None}
    config = replace(config, stages=tuple(replace(stage, **changes) for stage in config.stages))
    sets = {"own": own, **({} if replay is None else {"replay": replay})}
    return trainer.fit(config, sets, folder, pause=60.0)


def answer(model: TorchClassifier, faces: Faces) -> np.ndarray:
    found = model(faces.images)[:, label_columns(model.labels, faces.labels)]
    return np.asarray(found / found.sum(1, keepdims=True))


def measure(name: str, parts: list[tuple[Faces, np.ndarray]], valid: Faces, models: list[TorchClassifier]) -> Any:
    """Return the figures on both halves, and the mean accuracy of the models on `valid`."""
    truth = np.concatenate([faces.targets for faces, _ in parts])
    owners = np.concatenate([parts[0][0].clusters(), parts[1][0].clusters() + 1_000_000])
    report = evaluate(np.concatenate([p for _, p in parts]), truth, EMOTIONS, groups=owners)
    accuracy = np.mean([(answer(model, valid).argmax(1) == valid.targets).mean() for model in models])
    return {
        "name": name,
        "images": report.n,
        "balanced_accuracy": round(report.balanced_accuracy, 4),
        "interval": [round(value, 4) for value in report.intervals["balanced_accuracy"]],
        "accuracy": round(report.accuracy, 4),
        "recalls": {label: round(values["recall"], 3) for label, values in report.per_class.items()},
        "fer2013_public": round(float(accuracy), 4),
    }


if __name__ == "__main__":
    main()
