"""The commands of `mien data`: info, audit, montage, soft-labels."""

from __future__ import annotations

from pathlib import Path

from rich.table import Column, Table

from mien.cli import console
from mien.cli.console import echo, literal, screen_for, write_json
from mien.cli.options import Classes, Data, Kind
from mien.cli.tables import audit_tables
from mien.errors import ConfigError
from mien.media.output_paths import OutputPaths


def info(path: Data, *, classes: Classes = None, kind: Kind = None, votes: Path | None = None) -> int:
    """Show the counts by class and split, the pixels' mean and standard deviation, and the imbalance.

    Args:
        votes: csv of FER+ votes, for the kind ferplus.
    """
    from mien.data.registry import load_any
    from mien.data.summary import summarize

    classes = classes or _default_classes(path, kind)
    everything = load_any(path, None, kind, votes, drop_leaks=False)
    summary = summarize(everything, labels := load_any(path, classes, kind, votes, drop_leaks=False).labels)
    table = Table("class", *(Column(name, justify="right") for name in summary.counts), title=literal(str(path)))
    for label in labels:
        table.add_row(literal(label), *(str(counts[label]) for counts in summary.counts.values()))
    table.add_row("all", *(str(sum(counts.values())) for counts in summary.counts.values()))
    console.out.print(table)
    for name, text in summary.remarks().items():
        echo(f"{name}: {text}")
    return 0


def audit(
    path: Data,
    *,
    kind: Kind = None,
    votes: Path | None = None,
    near: float | None = None,
    json: Path | None = None,
    html: Path | None = None,
) -> int:
    """Find duplicates, leaks, label conflicts, broken, blank and blurred images, and labels that FER+ contradicts.

    Args:
        votes: csv of FER+ votes; without it the labels are not checked.
        near: Correlation of the pixels from which two images count as near-duplicates.
        json: File for all figures and the name of every image found.
        html: Page with thumbnails of the worst cases; needs mien[report].
    """
    from mien.data.audit import NEAR, audit_source
    from mien.evaluation.audit_page import write_html

    outputs = OutputPaths([path, votes])
    if json:
        outputs.file(json, what="the figures", suffixes=(".json", ""), stdout=True)
    if html:
        outputs.file(html, what="a page", suffixes=(".html", ".htm"))
    screen = screen_for(json)
    found = audit_source(path, votes, NEAR if near is None else near, kind)
    for table in audit_tables(found, str(path)):
        screen.print(table)
    if json:
        write_json(json, found.to_dict())
    if html:
        write_html(found, html, str(path))
    return 0


def soft_labels(path: Data, *, model: list[str], classes: int = 5, out: Path = Path("soft_labels.npz")) -> int:
    """Write the answers of models for the Training images, for recipes with `soft_labels`.

    A model trained with `folds` answers only for the images that it was not trained on.

    Args:
        model: A shipped model, an ONNX file or a checkpoint (best.safetensors), which runs on a GPU if there is one;
            may be repeated.
    """
    from mien.data.registry import load_any
    from mien.faces.models import load_classifier
    from mien.train.soft_labels import write_soft_labels
    from mien.train.torch_classifier import TorchClassifier

    OutputPaths([path, *model]).file(out, what="soft labels", suffixes=(".npz",))
    faces = load_any(path, classes).split("Training")
    models = [TorchClassifier(Path(name)) if name.endswith(".safetensors") else load_classifier(name) for name in model]
    for name, count in write_soft_labels(out, models, faces).items():
        echo(f"model {name} answered for {count:,} images")
    echo(f"wrote {out}")
    return 0


def montage(
    path: Data,
    *,
    out: Path = Path("montage.png"),
    classes: Classes = None,
    kind: Kind = None,
    split: str = "Training",
    seed: int = 0,
) -> int:
    """Draw twelve random images of each class.

    Args:
        out: PNG file to write, outside of the data set.
        split: Training, PublicTest or PrivateTest.
        seed: Chooses the images.
    """
    import numpy as np

    from mien.data.faces import SPLITS
    from mien.data.registry import load_any
    from mien.evaluation import plots

    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}")
    OutputPaths([path]).file(out, what="an image", suffixes=(".png",))
    faces = load_any(path, classes or _default_classes(path, kind), kind, drop_leaks=False).split(split)
    rng = np.random.default_rng(seed)
    groups = {}
    for k, label in enumerate(faces.labels):
        indices = np.flatnonzero(faces.targets == k)
        groups[label] = faces.images[rng.permutation(indices)[:12]]
    plots.montage(groups, out)
    echo(f"wrote {out}")
    return 0


def _default_classes(path: Path, kind: str | None) -> int | None:
    from mien.data.registry import recognise

    return 5 if recognise(path, kind) == "fer2013" else None
