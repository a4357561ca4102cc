"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from mien.errors import ConfigError
from mien.types import Classifier, Sink

if TYPE_CHECKING:
    from mien.evaluation.matrix import Matrix
    from mien.evaluation.views import Answers
    from mien.media.output_paths import OutputPaths

MODELS = ("mien-s", "mien-s-7", "mien-xs", "mien-m", "mien-s-fp32", "baseline")
"""The shipped models, the default first; a test compares them with the files."""
_MODEL = f"{', '.join(MODELS)}; names joined by + (the mean of their answers, mirrored too); or an ONNX file."
MODELS_OR_CHECKPOINTS = Parameter(
    name="--model", negative=(), help=f"{_MODEL[:-1]}, or a checkpoint (best.safetensors); may be repeated."
)


def flag(help: str, *names: str) -> Parameter:
    """Return a flag that is off without it."""
    return Parameter(name=names or None, negative=(), help=help, show_default=False)


Quiet = Annotated[bool, flag("Print nothing but warnings and errors.", "--quiet", "-q")]
Headless = Annotated[bool, flag("No window: print lines on the terminal instead.")]
Resume = Annotated[bool, flag("Continue an earlier run with the same sources and settings.")]
Detector = Annotated[str, Parameter(help="yunet, haar or mtcnn.")]
Model = Annotated[str | None, Parameter(help=_MODEL)]
MinFace = Annotated[
    float | None,
    Parameter(help="Smallest face to detect, in pixels: larger is faster, smaller is slower in large images."),
]
MinScore = Annotated[
    float | None,
    Parameter(help="Lowest score of a face, 0..1: 0.7 for yunet and 0.8 for mtcnn when not given; haar has no scores."),
]
WholeSearch = Annotated[
    bool,
    flag(
        "Search every image at full size for faces. Without it an image that one large face fills is searched at half "
        "size, which may miss small faces beside it."
    ),
]
Smoothing = Annotated[
    float, Parameter(help="Half-life in seconds of a frame's weight in the smoothed probabilities; 0 turns it off.")
]
OverlayStyle = Annotated[
    Literal["panels", "labels", "minimal"],
    Parameter(help="What is drawn beside a face: label and bars, the label alone, or the emotion's name alone."),
]
Profile = Annotated[Path | None, Parameter(help="Profile that the person in view made with `mien personalize`.")]
SEED = Parameter(help="Seed of everything random.")
Seed = Annotated[int, SEED]

_DATA = "FER2013 (zip, unpacked folder or csv), RAF-DB, AffectNet, FER+, photographs or a folder with a folder a class"
Data = Annotated[Path, Parameter(help=f"{_DATA}.")]
DataSets = Annotated[list[str], Parameter(negative=(), help=f"{_DATA}; kind:path names the kind; may be repeated.")]
OwnImages = Annotated[
    Sequence[str],
    Parameter(
        negative=(),
        help=f"{_DATA}; kind:path names the kind; may be repeated. Here a folder a class with images of one person, in "
        "place of a recording.",
    ),
]
Replay = Annotated[
    Sequence[str],
    Parameter(
        negative=(),
        help="Data set, as for --data, that fine-tuning without a recipe must not forget, such as fer2013.zip: as many "
        "of its images are drawn as of yours, with the answers of the start as targets.",
    ),
]
Kind = Annotated[
    str | None, Parameter(help="fer2013, rafdb, affectnet, ferplus, folder or photographs; recognised when not given.")
]
Votes = Annotated[Path | None, Parameter(help="csv of FER+ votes: a second opinion on FER2013, labels for ferplus.")]
SPLIT = Parameter(help="Training, PublicTest (for model selection) or PrivateTest.")
Split = Annotated[str, SPLIT]
Classes = Annotated[
    int | None, Parameter(help="Use only 5, 7 or 8 emotions; by default 5 of FER2013 and all of other data sets.")
]
Robustness = Parameter(help="Measure on corrupted images too: 16 corruptions in five severities, which takes long.")

Save = Annotated[Path | None, Parameter(help="Annotated copies: a folder, or the file for one image or video.")]
JsonLines = Annotated[
    Path | None, Parameter(name="--jsonl", help='JSON lines, one an image or frame; an "error" where it is unreadable.')
]
CsvTable = Annotated[Path | None, Parameter(name="--csv", help="Table with one row a face, or an image without one.")]
ParquetTable = Annotated[Path | None, Parameter(name="--parquet", help="The same table as Parquet.")]
CropsFolder = Annotated[Path | None, Parameter(name="--crops", help="Folder for the 48x48 crops the network saw.")]
FailuresFile = Annotated[
    Path | None,
    Parameter(name="--failures", help="List of what could not be read: JSON lines, or a table if it ends in .csv."),
]
Json = Annotated[Path | None, Parameter(help="JSON file for all figures.")]


def out(what: str) -> Parameter:
    """Return the flag --out of a command that writes `what`."""
    return Parameter(name="--out", help=f"Where the result goes: {what}.")


@Parameter(name="*")
@dataclass(frozen=True)
class Outputs:
    """The files that `video` and `live` write."""

    save: Save = None
    jsonl: JsonLines = None
    csv: CsvTable = None
    parquet: ParquetTable = None
    crops: CropsFolder = None
    failures: FailuresFile = None
    timeline: Annotated[
        Path | None,
        Parameter(
            help="Each person's emotions over time: a plot (.png, .svg) or an interactive page (.html); for several "
            "videos one file each."
        ),
    ] = None
    min_seen: Annotated[
        float, Parameter(help="Seconds: people seen for a shorter time are left out of the table and the page.")
    ] = 0.5

    @property
    def on_stdout(self) -> tuple[Path | None, ...]:
        """The outputs that may go to standard output."""
        return self.jsonl, self.csv, self.failures

    def ask_sinks(self, outputs: OutputPaths) -> Callable[[ExitStack, Sequence[str]], list[Sink]]:
        """Check the files of all results, and return a function that opens them for the given labels."""
        from mien import sinks

        lines, table, parquet = (
            kind.ask(outputs, path) if path else None
            for kind, path in ((sinks.Jsonl, self.jsonl), (sinks.Csv, self.csv), (sinks.Parquet, self.parquet))
        )
        failures = sinks.Failures.ask(outputs, self.failures) if self.failures else None
        crops = sinks.Crops.ask(outputs, self.crops) if self.crops else None

        def start(stack: ExitStack, labels: Sequence[str]) -> list[Sink]:
            from mien import runner

            found = runner.tables(stack, labels, lines, table, parquet)
            if failures:
                found.append(stack.enter_context(sinks.Failures(failures)))
            if crops:
                found.append(stack.enter_context(sinks.Crops(crops)))
            return found

        return start

    def ask_plots(self, outputs: OutputPaths, names: Sequence[str] = ("",)) -> list[Path]:
        """Check the timelines of several videos, or of one without a name."""
        if not self.timeline:
            return []
        if self.timeline.suffix.lower() == ".html":
            from mien.evaluation import timeline_page  # noqa: F401 (is there a jinja2?)
        else:
            from mien.evaluation import plots  # noqa: F401 (is there a matplotlib?)

        stem = self.timeline.stem
        found = [self.timeline.with_stem(f"{stem}-{name}" if name else stem) for name in names]
        for path in found:
            outputs.file(path, what="a timeline", suffixes=(".png", ".svg", ".html"))
        return found


@Parameter(name="*")
@dataclass(frozen=True)
class Measured:
    """Models and the data to measure them on."""

    data: DataSets
    model: Annotated[list[str] | None, Parameter(negative=(), help=f"{_MODEL[:-1]}; may be repeated.")] = None
    votes: Votes = None
    split: Annotated[str | None, SPLIT] = None
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
