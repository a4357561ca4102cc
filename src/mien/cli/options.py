"""Options that several commands share."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from mien.errors import ConfigError
from mien.types import Classifier

if TYPE_CHECKING:
    from mien.evaluation.views import Answers
    from mien.types import Sink


@Parameter(name="*")
@dataclass(frozen=True)
class Outputs:
    """The files to write."""

    save: Path | None = None
    """Annotated video; for several videos a folder."""
    jsonl: Annotated[Path | None, Parameter(name=["--jsonl", "--json"])] = None
    """File for JSON lines, one a frame."""
    csv: Path | None = None
    """File for a table, one row a face; frames without one have a row, too."""
    parquet: Path | None = None
    """The same as Parquet."""
    timeline: Path | None = None
    """PNG or SVG file for a plot of each person's emotions over time; for several videos one each."""

    @property
    def files(self) -> tuple[Path | None, ...]:
        """All but the annotated videos."""
        return self.jsonl, self.csv, self.parquet, self.timeline

    def tables(self, stack: ExitStack, labels: Any) -> list[Sink]:
        """The sinks for all results, and a look at what the plot needs before an hour's work is done."""
        from mien import runner

        if self.timeline:
            if self.timeline.suffix.lower() not in (".png", ".svg"):
                raise ConfigError(f"{self.timeline}: no kind of picture for a plot; let the name end in .png or .svg")
            from mien.evaluation import plots  # noqa: F401
        return runner.tables(stack, labels, self.jsonl, self.csv, self.parquet)


@Parameter(name="*")
@dataclass(frozen=True)
class Measured:
    """What is measured on what."""

    data: Path
    """FER2013 (the zip, the unpacked folder or the csv), RAF-DB, AffectNet or a folder of class folders."""
    model: str | None = None
    """Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file."""
    votes: Path | None = None
    """csv of FER+ votes; without it ferplus-majority and consensus are left out."""
    split: str = "PrivateTest"
    """PrivateTest, PublicTest while choosing, or Training."""
    kind: str | None = None
    """fer2013, rafdb, affectnet, ferplus or folder; recognised when not given."""

    def answers(self, model: Classifier) -> dict[str, Answers]:
        """What a model says of each view."""
        from mien.evaluation.views import answer_views

        return answer_views(model, self.data, self.votes, self.split, self.kind)
