"""The command line: one library call a command. An Error becomes one line on stderr and exit code 2."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import mien
from mien.types import ConfigError, Error, Failure, Result

app = App(name="mien", help="Finds faces and says how each looks, with probabilities.", version=mien.__version__)
data_app = App(name="data", help="Look at a data set.")
app.command(data_app)
out, err = Console(), Console(stderr=True)


@app.command
def predict(
    sources: Annotated[list[str], Parameter(negative=())],
    *,
    detector: str = "yunet",
    model: str | None = None,
    save: Path | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    crops: Path | None = None,
) -> int:
    """Find the faces of pictures and their emotions.

    Parameters
    ----------
    sources
        Pictures, folders or globs.
    detector
        yunet, haar or mtcnn.
    model
        Name of a shipped model, or an ONNX file.
    save
        Folder for the annotated pictures.
    json
        File for JSON lines, one a picture.
    csv
        File for a table, one row a face.
    crops
        Folder for the 48x48 crops that the network saw.
    """
    from mien import sinks
    from mien.draw import draw
    from mien.sources import expand, frames

    paths = expand(sources)
    pipeline = mien.load(model=model, detector=detector)
    failures: list[Failure] = []
    table = _faces_table(pipeline.classifier.labels)
    with ExitStack() as stack:
        made: list[Any] = []
        if save:
            made.append(stack.enter_context(sinks.Images(save, draw)))
        if json:
            made.append(stack.enter_context(sinks.Jsonl(json)))
        if csv:
            made.append(stack.enter_context(sinks.Csv(csv, tuple(pipeline.classifier.labels))))
        if crops:
            made.append(stack.enter_context(sinks.Crops(crops)))
        bar = stack.enter_context(_progress(len(paths) > 3))
        task = bar.add_task("pictures", total=len(paths))
        for item in frames(paths):
            if isinstance(item, Failure):
                failures.append(item)
                for sink in made:
                    sink.fail(item)
            else:
                result = pipeline.process(item)
                _faces_rows(table, result, pipeline.classifier.labels)
                for sink in made:
                    sink.write(result)
            bar.advance(task)
    out.print(table)
    for failure in failures:
        err.print(f"[red]not read:[/red] {failure.name}: {failure.reason}", highlight=False)
    if save:
        out.print(f"annotated pictures are in {save}", highlight=False)
    return 1 if failures else 0


@app.command
def train(
    *,
    data: Path,
    recipe: Path,
    out: Path | None = None,
    resume: bool = False,
    seed: int | None = None,
) -> int:
    """Train a network from a recipe; writes checkpoints, log, curves and ONNX files.

    Parameters
    ----------
    data
        FER2013: the zip, the unpacked folder or the csv.
    recipe
        YAML file with what differs from the defaults.
    out
        Folder of the run; runs/<name> when not given.
    resume
        Go on with the run in that folder.
    seed
        In place of the recipe's.
    """
    from mien import report
    from mien.train import data as datasets
    from mien.train import export, loop
    from mien.train.config import read_recipe

    config = read_recipe(recipe, {} if seed is None else {"seed": seed})
    folder = out or Path("runs") / config.name
    faces = datasets.load(data, classes=config.classes, drop_leaks=config.drop_leaks)
    with _progress(
        True, "loss {task.fields[loss]:.3f}  acc {task.fields[accuracy]:.3f}  {task.fields[rate]:.0f} img/s"
    ) as bar:
        task = bar.add_task("training", total=None, loss=0.0, accuracy=0.0, rate=0.0)

        def tell(facts: dict[str, float]) -> None:
            done = (facts["epoch"] - 1) * facts["steps"] + facts["step"]
            told: dict[str, Any] = {key: facts[key] for key in ("loss", "accuracy", "rate")}
            name = f"epoch {facts['epoch']:.0f}/{facts['epochs']:.0f}"
            bar.update(task, completed=done, total=facts["epochs"] * facts["steps"], description=name, **told)

        best = loop.fit(config, faces, folder, resume, tell)
    report.curves_png(loop.read_log(folder / "log.csv"), folder / "curves.png")
    full = export.export(best, folder / f"{config.name}-fp32.onnx", mien.__version__)
    sample = faces.split("Training").images[:: max(1, len(faces) // 512)][:512]
    export.quantise(full, folder / f"{config.name}.onnx", sample)
    Console().print(f"best checkpoint, log, curves and ONNX files are in {folder}", highlight=False)
    return 0


@app.command
def evaluate(
    *,
    data: Path,
    model: str | None = None,
    votes: Path | None = None,
    split: str = "PrivateTest",
    json: Path | None = None,
    plots: Path | None = None,
) -> int:
    """Measure a model on the four views of the protocol (T1 to T4).

    Parameters
    ----------
    data
        FER2013: the zip, the unpacked folder or the csv.
    model
        Name of a shipped model, or an ONNX file.
    votes
        csv of FER+ votes; without it T3 and T4 are left out.
    split
        PrivateTest, or PublicTest while choosing.
    json
        File for all figures.
    plots
        Folder for a confusion matrix a view.
    """
    from mien import report
    from mien.classify import model as load_model
    from mien.train.evaluate import evaluate_views

    classifier = load_model(model)
    reports = evaluate_views(classifier, data, votes, split)
    table = Table(title=f"{classifier.name} on {split}")
    for name in ("view", "n", "accuracy", "95 %", "balanced", "macro-F1", "NLL", "ECE", *classifier.labels):
        table.add_column(name, justify="left" if name == "view" else "right")
    for view, found in reports.items():
        low, high = found.interval
        recalls = [f"{100 * found.per_class[label]['recall']:.0f}" for label in found.labels]
        scores = [f"{100 * v:.2f}" for v in (found.accuracy,)]
        scores += [
            f"{100 * low:.1f}-{100 * high:.1f}",
            f"{100 * found.balanced_accuracy:.1f}",
            f"{100 * found.macro_f1:.1f}",
        ]
        table.add_row(view, str(found.n), *scores, f"{found.nll:.3f}", f"{found.ece:.3f}", *recalls)
        if plots:
            report.confusion_png(found, plots / f"confusion-{view}.png")
    Console().print(table)
    if json:
        _write_json(
            json, {"model": classifier.name, "split": split, "views": {k: v.to_dict() for k, v in reports.items()}}
        )
    return 0


@data_app.command
def info(path: Path, *, classes: int = 5) -> int:
    """Counts a class and split, mean and standard deviation, imbalance."""
    from mien.train import data as datasets

    whole = datasets.load(path, classes=classes, drop_leaks=False)
    kept = datasets.without_leaks(datasets.load(path, classes=7, drop_leaks=False)).with_labels(whole.labels)
    table = Table(title=str(path))
    columns = ["class", *datasets.SPLITS, "Training without leaks"]
    for name in columns:
        table.add_column(name, justify="left" if name == "class" else "right")
    parts = [*(whole.split(name) for name in datasets.SPLITS), kept.split("Training")]
    counts = [[int((part.targets == k).sum()) for k in range(len(whole.labels))] for part in parts]
    for k, label in enumerate(whole.labels):
        table.add_row(label, *(str(count[k]) for count in counts))
    table.add_row("all", *(str(len(part)) for part in parts))
    out.print(table)
    mean, std = datasets.statistics(parts[-1])
    out.print(
        f"mean {mean:.4f}, standard deviation {std:.4f} (Training without leaks, pixels in 0..1)", highlight=False
    )
    out.print(
        f"imbalance {max(counts[-1]) / max(1, min(counts[-1])):.2f} (largest class over smallest)", highlight=False
    )
    return 0


@data_app.command
def montage(
    path: Path, *, out: Path = Path("montage.png"), classes: int = 5, split: str = "Training", seed: int = 0
) -> int:
    """Draw twelve pictures a class, so that a person can look."""
    import numpy as np

    from mien import report
    from mien.train import data as datasets

    if split not in datasets.SPLITS:
        raise ConfigError(f"split must be one of {', '.join(datasets.SPLITS)}")
    faces = datasets.load(path, classes=classes, drop_leaks=False).split(split)
    rng = np.random.default_rng(seed)
    groups = {}
    for k, label in enumerate(faces.labels):
        places = np.flatnonzero(faces.targets == k)
        groups[label] = faces.images[rng.permutation(places)[:12]]
    report.montage(groups, out)
    Console().print(f"wrote {out}", highlight=False)
    return 0


def _progress(show: bool, extra: str = "") -> Progress:
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    if extra:
        columns.append(TextColumn(extra))
    return Progress(*columns, console=err, disable=not show)


def _faces_table(labels: Any) -> Table:
    table = Table()
    for name in ("picture", "face", "box", "emotion"):
        table.add_column(name)
    for name in labels:
        table.add_column(name, justify="right")
    return table


def _faces_rows(table: Table, result: Result, labels: Any) -> None:
    name = Path(result.frame.name).name
    if not result.faces:
        table.add_row(name, "-", "", "no face found", *("" for _ in labels))
    for number, face in enumerate(result.faces, start=1):
        box = " ".join(f"{v:.0f}" for v in face.box)
        emotion = f"{face.emotion}?" if face.uncertain else face.emotion
        table.add_row(name, str(number), box, emotion, *(f"{100 * face.probabilities[k]:.0f} %" for k in labels))


def _write_json(path: Path, values: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(json.dumps(values, indent=1) + "\n", "utf-8")
    temporary.replace(path)


def main() -> None:
    """Entry point."""
    try:
        code = app(sys.argv[1:], result_action="return_value")
    except Error as error:
        err.print(f"[red]error:[/red] {error}", highlight=False)
        code = 2
    except ModuleNotFoundError as error:
        extra = (
            "train"
            if error.name in ("torch", "kornia", "lightning_fabric", "yaml", "onnx", "safetensors")
            else "report"
        )
        err.print(f"[red]error:[/red] this command needs {error.name}: pip install 'mien[{extra}]'", markup=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
