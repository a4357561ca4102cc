"""Several models on several data sets: one cell for each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.data.faces import Faces
from mien.data.joint import split_kind
from mien.data.registry import load_any, recognise
from mien.errors import ConfigError
from mien.evaluation.metrics import Report
from mien.evaluation.views import answer_shared, take_split
from mien.types import Classifier


@dataclass(frozen=True, slots=True)
class Matrix:
    """Models by data sets. In a column all models answer the same images, on the classes that all of them know.

    Attributes:
        models: name -> sha256 of the file, "" where a classifier has none.
        splits: set -> split that was measured, "" for all images.
        reports: model -> set -> report; the report's name says what is left out of the set.
    """

    models: Mapping[str, str]
    splits: Mapping[str, str]
    reports: Mapping[str, Mapping[str, Report]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        reports = {model: {name: r.to_dict() for name, r in row.items()} for model, row in self.reports.items()}
        return {"models": dict(self.models), "splits": dict(self.splits), "reports": reports}

    @property
    def columns(self) -> dict[str, Report]:
        """The first model's report of each set: its images and classes are those of all models."""
        return dict(next(iter(self.reports.values())))


def load_columns(
    sources: Sequence[str], votes: Path | str | None = None, split: str | None = None
) -> dict[str, tuple[Faces, str]]:
    """Read data sets given as path or `kind:path`; return name -> images and split, as `take_split` chooses them.

    `votes` are those of the sets of the kinds fer2013 and ferplus.
    """
    columns: dict[str, tuple[Faces, str]] = {}
    for source in sources:
        kind, path = split_kind(source)
        found = recognise(path, kind)
        faces = load_any(path, kind=found, votes=votes if found in ("fer2013", "ferplus") else None, drop_leaks=False)
        name = f"{kind}:{path.stem}" if kind else path.stem
        while name in columns:
            name += "+"
        columns[name] = take_split(faces, split, str(path))
    return columns


def measure(models: Mapping[str, Classifier], columns: Mapping[str, tuple[Faces, str]]) -> Matrix:
    """Measure each model on each set."""
    known = set.intersection(*(set(model.labels) for model in models.values()))
    for name, (faces, _) in columns.items():
        if not known & set(faces.labels):
            shared = ", ".join(sorted(known)) or "nothing"
            raise ConfigError(f"{name} has no class that all models know: they share {shared}; measure it apart")
    hashes = {name: str(getattr(model, "sha256", "")) for name, model in models.items()}
    splits = {name: split for name, (_, split) in columns.items()}
    reports: dict[str, dict[str, Report]] = {}
    for name, model in models.items():
        row = {}
        for column, (faces, split) in columns.items():
            row[column] = answer_shared(model, faces, split, known, column).report()
        reports[name] = row
    return Matrix(hashes, splits, reports)
