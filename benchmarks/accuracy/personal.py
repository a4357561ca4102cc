"""What class priors fitted to a person's labelled photographs bring, by cross-validation within each person.

Uses the people of the archive with enough images: at least `--least` of two classes or more. Each is treated as
`mien personalize --data` treats a folder: the shifts are fitted without a part of the images and measured on it.

Usage: python -m benchmarks.accuracy.personal --photographs photos_dev.zip [--model mien-s] [--least 3] [--out FILE]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from mien.data.registry import load_any
from mien.faces.models import load_classifier
from mien.personal.images import Album, cross_validate
from mien.types import label_columns


def main() -> None:
    parser = harness.parser(__doc__, "personal")
    parser.add_argument("--photographs", type=Path, required=True)
    parser.add_argument("--model", default="mien-s")
    parser.add_argument("--least", type=int, default=3, help="images of a class")
    options = parser.parse_args()
    faces = load_any(options.photographs, kind="photographs", drop_leaks=False)
    classifier = load_classifier(options.model)
    assert faces.people is not None
    rows: list[dict[str, Any]] = []
    for person in sorted(set(faces.people.tolist())):
        own = faces.take(faces.people == person)
        labels = tuple(label for label, count in own.counts().items() if count >= options.least)
        if len(labels) < 2:
            continue
        own = own.mapped(labels)
        answers = classifier(own.images)[:, label_columns(classifier.labels, labels)]
        answers = answers / answers.sum(1, keepdims=True)
        trial = cross_validate(Album(labels, answers, own.targets.astype(np.intp), np.arange(len(own))))
        rows.append({
            "images": own.counts(), "before": round(trial.accuracy_before, 3), "after": round(trial.accuracy_after, 3),
            "loss_before": round(trial.loss_before, 3), "loss_after": round(trial.loss_after, 3), "kept": trial.helps,
        })  # fmt: skip
        print(rows[-1], flush=True)
    before, after, kept = (np.array([row[name] for row in rows]) for name in ("before", "after", "kept"))
    figures = {
        "people": len(rows), "images": sum(sum(row["images"].values()) for row in rows), "kept": int(kept.sum()),
        "mean_recall_before": round(float(before.mean()), 4), "mean_recall_if_all": round(float(after.mean()), 4),
        "mean_recall_with_kept": round(float(np.where(kept, after, before).mean()), 4),
        "worse": int((after < before).sum()), "better": int((after > before).sum()),
    }  # fmt: skip
    print(figures)
    facts = {"model": options.model, "sha256": classifier.sha256, "least": options.least}
    harness.save(options.out, {**facts, **figures, "rows": rows})


if __name__ == "__main__":
    main()
