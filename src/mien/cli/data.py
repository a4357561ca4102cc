"""The commands of `mien data`: info, audit, montage, soft-labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from mien.cli import options
from mien.cli.console import count, echo, screen_for, start, write_json
from mien.cli.grid import Grid, Label
from mien.cli.options import Classes, Data, Kind, Votes
from mien.cli.tables import audit_tables
from mien.errors import ConfigError
from mien.media.output_paths import OutputPaths


def info(
    path: Data, *, classes: Classes = None, kind: Kind = None, votes: Votes = None, quiet: options.Quiet = False
) -> int:
    """Show the counts by class and split, the pixels' mean and standard deviation, and the imbalance."""
    from mien.data.faces import SPLITS
    from mien.data.registry import load_any
    from mien.data.summary import summarize

    path, kind = _split_kind(path, kind)
    clock = start(quiet)
    classes = classes or _default_classes(path, kind)
    everything = load_any(path, None, kind, votes, drop_leaks=False)
    summary = summarize(everything, labels := load_any(path, classes, kind, votes, drop_leaks=False).labels)
    table = Grid(["class", *summary.counts], title=str(path))
    for label in labels:
        table.add(Label(label), *(str(counts[label]) for counts in summary.counts.values()))
    table.add("all", *(str(sum(counts.values())) for counts in summary.counts.values()))
    table.print()
    for name, text in summary.remarks().items():
        echo(f"{name}: {text}")
    images = sum(sum(summary.counts[split].values()) for split in SPLITS)
    clock.summary(count(images, "image"), count(len(labels), "class", "classes"))
    return 0


def audit(
    path: Data,
    *,
    kind: Kind = None,
    votes: Votes = None,
    near: float | None = None,
    json: options.Json = None,
    html: Path | None = None,
    quiet: options.Quiet = False,
) -> int:
    """Find duplicates, leaks, label conflicts, broken, blank and blurred images, and labels that FER+ contradicts.

    Labels are checked against `--votes` alone. The JSON file names every image found.

    Args:
        near: Correlation of the pixels from which two images count as near-duplicates.
        html: Page with thumbnails of the worst cases; needs mien[report].
    """
    from mien.data.audit import NEAR, audit_source
    from mien.evaluation.audit_page import write_html

    path, kind = _split_kind(path, kind)
    clock = start(quiet)
    outputs = OutputPaths([path, votes])
    if json:
        outputs.file(json, what="the figures", suffixes=(".json", ""), stdout=True)
    if html:
        outputs.file(html, what="a page", suffixes=(".html", ".htm"))
    screen = screen_for(json)
    found = audit_source(path, votes, NEAR if near is None else near, kind)
    for table in audit_tables(found, str(path)):
        table.print(screen)
    if json:
        write_json(json, found.to_dict())
    if html:
        write_html(found, html, str(path))
    kinds = sum(number > 0 for _, number, _ in found.findings())
    clock.summary(count(len(found.faces), "image"), f"{count(kinds, 'kind')} of findings", screen=screen)
    return 0


def soft_labels(
    path: Data,
    *,
    models: Annotated[list[str], options.MODELS_OR_CHECKPOINTS],
    classes: Classes = 5,
    out: Annotated[Path, options.out("an .npz file")] = Path("soft_labels.npz"),
    quiet: options.Quiet = False,
) -> int:
    """Write the answers of models for the Training images, for recipes with `soft_labels`.

    A model trained with `folds` answers only for the images that it was not trained on.
    """
    from mien.data.registry import load_any
    from mien.faces.models import load_classifier
    from mien.train.soft_labels import write_soft_labels
    from mien.train.torch_classifier import TorchClassifier

    clock = start(quiet)
    OutputPaths([path, *models]).file(out, what="soft labels", suffixes=(".npz",))
    faces = load_any(path, classes).split("Training")
    loaded = [
        TorchClassifier(Path(name)) if name.endswith(".safetensors") else load_classifier(name) for name in models
    ]
    for name, number in write_soft_labels(out, loaded, faces).items():
        echo(f"model {name} answered for {count(number, 'image')}")
    echo(f"wrote {out}")
    clock.summary(count(len(faces), "image"), count(len(loaded), "model"))
    return 0


def montage(
    path: Data,
    *,
    out: Annotated[Path, options.out("a PNG file, outside of the data set")] = Path("montage.png"),
    classes: Classes = None,
    kind: Kind = None,
    votes: Votes = None,
    split: options.Split = "Training",
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
) -> int:
    """Draw twelve random images of each class."""
    import numpy as np

    from mien.data.faces import SPLITS
    from mien.data.registry import load_any
    from mien.evaluation import plots

    path, kind = _split_kind(path, kind)
    clock = start(quiet)
    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}")
    OutputPaths([path, votes]).file(out, what="an image", suffixes=(".png",))
    faces = load_any(path, classes or _default_classes(path, kind), kind, votes, drop_leaks=False).split(split)
    rng = np.random.default_rng(seed)
    groups = {}
    for k, label in enumerate(faces.labels):
        indices = np.flatnonzero(faces.targets == k)
        groups[label] = faces.images[rng.permutation(indices)[:12]]
    plots.montage(groups, out)
    echo(f"wrote {out}")
    clock.summary(count(sum(map(len, groups.values())), "image"), count(len(groups), "class", "classes"))
    return 0


def _split_kind(path: Path, kind: str | None) -> tuple[Path, str | None]:
    """Return path and kind of `kind:path`, as `--data` of other commands takes it."""
    from mien.data.joint import split_kind

    found, path = split_kind(str(path))
    return path, kind or found


def _default_classes(path: Path, kind: str | None) -> int | None:
    from mien.data.registry import recognise

    return 5 if recognise(path, kind) == "fer2013" else None
