"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from mien.errors import ConfigError
from mien.types import Classifier

if TYPE_CHECKING:
    from mien.evaluation.matrix import Matrix
    from mien.evaluation.views import Answers
    from mien.media.output_paths import Output, OutputPaths

Flag = Annotated[bool, Parameter(negative=())]
Detector = Annotated[str, Parameter(help="yunet, haar or mtcnn.")]
Model = Annotated[
    str | None,
    Parameter(help="A shipped model, several joined by + (the mean of their answers, mirrored too), or an ONNX file."),
]
MinFace = Annotated[
    float | None,
    Parameter(help="Smallest face to detect, in pixels: larger is faster, smaller is slower in large images."),
]
MinScore = Annotated[
    float | None,
    Parameter(help="Lowest score of a face, 0..1: 0.7 for yunet and 0.8 for mtcnn when not given; haar has no scores."),
]
Smoothing = Annotated[
    float, Parameter(help="Half-life in seconds of a frame's weight in the smoothed probabilities; 0 turns it off.")
]
OverlayStyle = Annotated[
    Literal["panels", "labels", "minimal"],
    Parameter(help="What is drawn beside a face: label and bars, the label alone, or the emotion's name alone."),
]
Profile = Annotated[Path | None, Parameter(help="Profile that the person in view made with `mien personalize`.")]

_SETS = (
    "FER2013 (zip, unpacked folder or csv), RAF-DB, AffectNet, FER+, photographs or a folder with a folder a class; "
    "kind:path names the kind. Given again, with --model given again, it makes a table of models by sets."
)
_MODELS = "A shipped model, several joined by +, or an ONNX file; give it again to compare models on every set."
Data = Annotated[
    Path, Parameter(help="FER2013 (zip, unpacked folder or csv), RAF-DB, AffectNet or a folder with a folder a class.")
]
Kind = Annotated[str | None, Parameter(help="fer2013, rafdb, affectnet, ferplus, folder or photographs.")]
Classes = Annotated[
    int | None, Parameter(help="Use only 5, 7 or 8 emotions; by default 5 of FER2013 and all of other data sets.")
]


@Parameter(name="*")
@dataclass(frozen=True)
class Outputs:
    """The files that `video` and `live` write."""

    save: Path | None = None
    """Annotated video; for several videos a folder."""
    jsonl: Annotated[Path | None, Parameter(name=["--jsonl", "--json"])] = None
    """JSON lines, one a frame."""
    csv: Path | None = None
    """Table with one row a face, and one for each frame without a face."""
    parquet: Path | None = None
    """The same table as Parquet."""
    timeline: Path | None = None
    """PNG or SVG plot of each person's emotions over time; for several videos one file each."""

    def ask_tables(self, outputs: OutputPaths) -> list[Output | None]:
        """Check the files of all results, for `runner.tables`."""
        from mien.sinks import Csv, Jsonl, Parquet

        kinds = ((Jsonl, self.jsonl), (Csv, self.csv), (Parquet, self.parquet))
        return [kind.ask(outputs, path) if path else None for kind, path in kinds]

    def ask_plots(self, outputs: OutputPaths, names: Sequence[str] = ("",)) -> list[Path]:
        """Check the plots of several videos, or of one without a name."""
        if not self.timeline:
            return []
        from mien.evaluation import plots  # noqa: F401 (is there a matplotlib?)

        stem = self.timeline.stem
        found = [self.timeline.with_stem(f"{stem}-{name}" if name else stem) for name in names]
        for path in found:
            outputs.file(path, what="a plot", suffixes=(".png", ".svg"))
        return found


@Parameter(name="*")
@dataclass(frozen=True)
class Measured:
    """Models and the data to measure them on."""

    data: Annotated[list[str], Parameter(negative=(), help=_SETS)]
    model: Annotated[list[str] | None, Parameter(negative=(), help=_MODELS)] = None
    votes: Path | None = None
    """csv of FER+ votes; without it the views ferplus-majority and consensus are left out."""
    split: str | None = None
    """PrivateTest, Training, or PublicTest for model selection; by default PrivateTest, or all images of a set that has
    none."""
    kind: Kind = None

    @property
    def sources(self) -> list[str]:
        """The data sets as path or `kind:path`."""
        if self.kind and len(self.data) > 1:
            raise ConfigError("--kind is for one data set; of several, give --data kind:path")
        return [f"{self.kind}:{self.data[0]}"] if self.kind else self.data

    @property
    def models(self) -> list[str | None]:
        """The models; None is the default one."""
        return [*self.model] if self.model else [None]

    @property
    def several(self) -> bool:
        """Whether there is more than one set or model: a matrix."""
        return len(self.data) > 1 or len(self.models) > 1

    @property
    def inputs(self) -> list[str | Path]:
        """The files that outputs must not replace."""
        from mien.data.joint import split_kind

        return [path for path in (*(split_kind(s)[1] for s in self.data), *(self.model or []), self.votes) if path]

    @property
    def first_votes(self) -> Path | None:
        """The votes, if the first of several sets is one of FER2013's."""
        from mien.data.joint import split_kind
        from mien.data.registry import recognise

        kind, path = split_kind(self.sources[0])
        return self.votes if not self.several or recognise(path, kind) in ("fer2013", "ferplus") else None

    def answers(self, model: Classifier) -> dict[str, Answers]:
        """Return the model's answers for each view of the first set."""
        from mien.data.joint import split_kind
        from mien.evaluation.views import answer_views

        kind, path = split_kind(self.sources[0])
        return answer_views(model, path, self.first_votes, self.split, kind)

    def matrix(self) -> Matrix:
        """Measure every model on every set."""
        from mien.evaluation.matrix import load_columns, measure
        from mien.faces.models import load_classifier

        models: dict[str, Classifier] = {}
        for given in self.models:
            classifier = load_classifier(given)
            models[given if given and classifier.name in models else classifier.name] = classifier
        return measure(models, load_columns(self.sources, self.votes, self.split))
