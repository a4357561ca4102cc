"""The command line: one library call a command. An Error becomes one line on stderr and exit code 2."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

import mien
from mien import cli_live
from mien.serve.limits import Limits
from mien.types import ConfigError, Error, Failure, Result

app = App(name="mien", help="Finds faces and says how each looks, with probabilities.", version=mien.__version__)
data_app = App(name="data", help="Look at a data set.")
app.command(data_app)
for command in (cli_live.video, cli_live.live, cli_live.doctor):
    app.command(command)
out, err = Console(), Console(stderr=True)

_SHOWN = 200  # rows of the table on the terminal, when a file holds them all


@app.command
def predict(
    sources: Annotated[list[str], Parameter(negative=())],
    *,
    detector: str = "yunet",
    model: str | None = None,
    save: Path | None = None,
    json: Annotated[Path | None, Parameter(name=["--json", "--jsonl"])] = None,
    csv: Path | None = None,
    crops: Path | None = None,
    resume: Annotated[bool, Parameter(negative=())] = False,
    min_face: float | None = None,
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
        File for JSON lines, one a picture; one that cannot be read has its name and the reason as "error".
    csv
        File for a table, one row a face.
    crops
        Folder for the 48x48 crops that the network saw.
    resume
        Pass over the pictures that the JSON lines hold already, of a run that was stopped or a finished one, and add
        the others. Name the same pictures in the same way.
    min_face
        Side in pixels of the smallest face that is wanted: a large one is faster, a small one slower in large pictures.
    """
    from mien import run
    from mien.sources import expand

    if resume and (csv or not json):
        raise ConfigError("--resume goes on with JSON lines: give --jsonl FILE, and leave out --csv")
    paths = expand(sources)
    pipeline = mien.load(model=model, detector=detector, min_face=min_face)
    table = _faces_table(pipeline.classifier.labels)
    with ExitStack() as stack:
        made, done = _picture_sinks(stack, pipeline.classifier.labels, save, json, csv, crops, resume)
        failures = [Failure(name, reason) for name, reason in done.items() if reason]
        bar = stack.enter_context(_progress(len(paths) > 3))
        task = bar.add_task("pictures", total=len(paths), completed=sum(str(path) in done for path in paths))
        for item in run.pictures(paths, pipeline, skip=done):
            if isinstance(item, Failure):
                failures.append(item)
            elif not (json or csv) or table.row_count < _SHOWN:
                _faces_rows(table, item, pipeline.classifier.labels)
            run.give(item, made)
            bar.advance(task)
    if table.row_count >= _SHOWN and (json or csv):
        table.caption = f"probabilities in %; the rest is in {json or csv}"
    if table.row_count:
        out.print(table)
    if done:
        out.print(f"{len(done)} pictures were done before", highlight=False)
    for failure in failures:
        err.print(f"[red]not read:[/red] {failure.name}: {failure.reason}", highlight=False)
    if save:
        out.print(f"annotated pictures are in {save}", highlight=False)
    return 1 if failures else 0


@app.command
def train(
    *,
    data: Path,
    recipe: Path | None = None,
    kind: str | None = None,
    votes: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    seed: int | None = None,
) -> int:
    """Train a network from a recipe, or let the shipped one learn from your own pictures.

    Writes checkpoints, log, curves and ONNX files.

    Parameters
    ----------
    data
        FER2013 (zip, unpacked folder or csv), RAF-DB, AffectNet, or a folder with one folder of face crops a class.
    recipe
        YAML file with what differs from the defaults. Without it the shipped network is fine-tuned on `data`, with its
        classes, and measured before and after.
    kind
        fer2013, rafdb, affectnet, ferplus or folder, where the layout is not recognised.
    votes
        csv of FER+ votes, for recipes with an auxiliary FER+ head and for the kind ferplus.
    out
        Folder of the run; runs/<name> when not given.
    resume
        Go on with the run in that folder.
    seed
        In place of the recipe's.
    """
    from mien import report
    from mien.train import export, loop
    from mien.train.config import FINETUNE, read_recipe
    from mien.train.datasets import load_any

    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    config = read_recipe(recipe, changes) if recipe else replace(FINETUNE, **changes)
    folder = out or Path("runs") / config.name
    wanted = votes if config.ferplus or kind == "ferplus" else None
    faces = load_any(data, config.classes if recipe else None, kind, wanted, config.drop_leaks)
    if not recipe:
        config = replace(config, batch=max(2, min(config.batch, len(faces.split("Training")) // 4)))
    with _progress(True, _TRAINING) as bar:
        best = loop.fit(config, faces, folder, resume, _teller(bar), data.stem)
    report.curves_png(loop.read_log(folder / "log.csv"), folder / "curves.png")
    made = export.ship(best, folder, faces, mien.__version__)
    Console().print(f"best checkpoint, log, curves and ONNX files are in {folder}", highlight=False)
    if not recipe:
        Console().print(_before_after(config.init, made[1], data, kind, wanted))
    return 0


@app.command
def evaluate(
    *,
    data: Path,
    model: str | None = None,
    votes: Path | None = None,
    split: str = "PrivateTest",
    kind: str | None = None,
    compare: str | None = None,
    robustness: bool = False,
    json: Path | None = None,
    plots: Path | None = None,
) -> int:
    """Measure a model on the four views of the protocol (T1 to T4), or on the test split of another data set.

    Parameters
    ----------
    data
        FER2013 (the zip, the unpacked folder or the csv), RAF-DB, AffectNet or a folder of class folders.
    model
        Name of a shipped model, or an ONNX file.
    votes
        csv of FER+ votes; without it T3 and T4 are left out.
    split
        PrivateTest, or PublicTest while choosing.
    kind
        fer2013, rafdb, affectnet, ferplus or folder; recognised when not given.
    compare
        A second model for the same pictures: how much more often the first is right, with interval and McNemar's p.
    robustness
        Measure on corrupted pictures too; takes 76 times as long.
    json
        File for all figures.
    plots
        Folder for a confusion matrix a view, and for the curves of robustness.
    """
    from mien import report
    from mien.classify import model as load_model
    from mien.train.evaluate import answer_views, compare_answers
    from mien.train.robustness import evaluate_robustness

    classifier = load_model(model)
    answers = answer_views(classifier, data, votes, split, kind)
    reports = {view: found.report() for view, found in answers.items()}
    out.print(_views_table(reports, f"{classifier.name} on {split}"))
    for view, found in reports.items():
        out.print(f"{view}: {found.name}" if found.name != view else view, "sha256", found.index, soft_wrap=True)
        if plots:
            report.confusion_png(found, plots / f"confusion-{view}.png")
    figures: dict[str, Any] = {"model": classifier.name, "sha256": classifier.sha256, "split": split}
    figures["views"] = {view: found.to_dict() for view, found in reports.items()}
    if compare:
        other = load_model(compare)
        others = answer_views(other, data, votes, split, kind)
        compared = {view: compare_answers(answers[view], others[view]) for view in answers}
        out.print(_comparison_table(compared, Path(model or classifier.name).stem, Path(compare).stem))
        figures["comparison"] = {"model": other.name, "sha256": other.sha256}
        figures["comparison"]["views"] = {view: each.to_dict() for view, each in compared.items()}
    if robustness:
        shaken = evaluate_robustness(classifier, next(iter(answers.values())).faces)
        figures["robustness"] = shaken.to_dict()
        text = f"under corruption {100 * shaken.mean:.2f} % (clean {100 * shaken.clean:.2f} %, n = {shaken.n})"
        out.print(f"{text}; the worst: {' and '.join(shaken.worst)}", highlight=False)
        if plots:
            report.robustness_png({classifier.name: figures["robustness"]}, plots / "robustness.png")
    if json:
        _write_json(json, figures)
    return 0


@app.command
def report(
    *,
    data: Path,
    model: str | None = None,
    votes: Path | None = None,
    split: str = "PrivateTest",
    kind: str | None = None,
    robustness: bool = False,
    out: Path = Path("report.html"),
) -> int:
    """Write what `evaluate` measures as a page to read: plots, the worst mistakes, data, recipe and machine.

    The page holds thumbnails of the data set's pictures: mind their terms before you pass it on.

    Parameters
    ----------
    data
        FER2013 (the zip, the unpacked folder or the csv), RAF-DB, AffectNet or a folder of class folders.
    model
        Name of a shipped model, or an ONNX file.
    votes
        csv of FER+ votes; without it T3 and T4 are left out.
    split
        PrivateTest, or PublicTest while choosing.
    kind
        fer2013, rafdb, affectnet, ferplus or folder; recognised when not given.
    robustness
        Measure on corrupted pictures too; takes 76 times as long.
    out
        HTML file to write; it needs mien[report].
    """
    from mien import report_page
    from mien.classify import model as load_model
    from mien.train.datasets import load_any
    from mien.train.evaluate import answer_views
    from mien.train.facts import facts
    from mien.train.robustness import evaluate_robustness

    classifier = load_model(model)
    answers = answer_views(classifier, data, votes, split, kind)
    main = next(iter(answers.values()))
    faces = main.faces
    found = facts(load_any(data, kind=kind, votes=votes, drop_leaks=False), faces.labels)
    page = report_page.Page(
        model=classifier.name,
        data=data.name,
        split=split,
        reports={view: each.report() for view, each in answers.items()},
        mistakes=report_page.mistakes(
            faces.images, faces.names.tolist(), faces.targets, main.probabilities, faces.labels
        ),
        counts=found.counts,
        remarks=found.remarks(),
        metadata={"sha256": classifier.sha256, **classifier.metadata},
        robustness=evaluate_robustness(classifier, faces).to_dict() if robustness else None,
    )
    report_page.write_html(page, out)
    Console().print(f"wrote {out}", highlight=False)
    return 0


@app.command
def explain(
    picture: Path, *, out: Path = Path("explanation.png"), model: str | None = None, detector: str = "yunet"
) -> int:
    """Draw which parts of each face the answer rests on: what its probability loses where they are hidden.

    Parameters
    ----------
    picture
        A picture file.
    out
        PNG file to write.
    model
        Name of a shipped model, or an ONNX file.
    detector
        yunet, haar or mtcnn.
    """
    from mien import report
    from mien.train.explain import explain as explain_crop

    pipeline = mien.load(model=model, detector=detector)
    result = pipeline(picture)
    if not result.faces:
        err.print(f"{picture}: no face found, nothing to explain", highlight=False)
        return 1
    report.explanation_png(result, [explain_crop(pipeline.classifier, crop) for crop in result.crops], out)
    Console().print(f"wrote {out}", highlight=False)
    return 0


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    model: str | None = None,
    detector: str = "yunet",
    token: Annotated[str | None, Parameter(env_var="MIEN_TOKEN", show_default=False)] = None,
    allow_host: Annotated[list[str] | None, Parameter(negative=())] = None,
    allow_origin: Annotated[list[str] | None, Parameter(negative=())] = None,
    limits: Annotated[Limits, Parameter(name="*", group="Limits")] = Limits(),  # noqa: B008 (frozen)
) -> int:
    """Serve predictions over HTTP and WebSocket, and the web page.

    Parameters
    ----------
    host
        Address to listen on; other machines can reach it only with a token.
    port
        0 for any free one.
    model
        Name of a shipped model, or an ONNX file.
    detector
        yunet, haar or mtcnn.
    token
        What clients must send; better in MIEN_TOKEN, since others on this machine can see what was typed here.
    allow_host
        Another name under which the server is reached; may be repeated.
    allow_origin
        Another web page that may use it, such as https://example.org; may be repeated.
    """
    from mien.serve import app as serving
    from mien.serve import server

    hosts = [host, *(allow_host or [])]
    with server.bind(host, port, token) as listening:
        pipeline = mien.load(model=model, detector=detector)
        made = serving.create_app(pipeline, token=token, hosts=hosts, origins=allow_origin or [], limits=limits)
        out.print(f"mien serves at {server.url(listening)} (Ctrl-C ends it)", highlight=False)
        server.run(made, listening, limits)
    return 0


@app.command
def web(*, port: int = 8000) -> int:
    """Open the web page: webcam, pictures and videos, all of which stay in the browser.

    Parameters
    ----------
    port
        0 for any free one.
    """
    import webbrowser

    from mien.serve import app as serving
    from mien.serve import server

    if not (serving.STATIC / "models" / "models.json").is_file():
        raise ConfigError("this copy of mien is without the web page's runtime; run `make web` in a checkout first")
    with server.bind("127.0.0.1", port, None) as listening:
        made = serving.create_app()
        out.print(f"the page is at {server.url(listening)} (Ctrl-C ends it)", highlight=False)
        webbrowser.open(server.url(listening))
        server.run(made, listening, Limits())
    return 0


@data_app.command
def info(path: Path, *, classes: int = 5) -> int:
    """Counts a class and split, mean and standard deviation, imbalance."""
    from mien.train.datasets import load_any
    from mien.train.facts import facts

    labels = load_any(path, classes, drop_leaks=False).labels
    found = facts(load_any(path, drop_leaks=False), labels)
    table = Table("class", *(Column(name, justify="right") for name in found.counts), title=escape(str(path)))
    for label in labels:
        table.add_row(escape(label), *(str(counts[label]) for counts in found.counts.values()))
    table.add_row("all", *(str(sum(counts.values())) for counts in found.counts.values()))
    out.print(table)
    for name, text in found.remarks().items():
        out.print(f"{name}: {text}", highlight=False)
    return 0


@data_app.command
def audit(
    path: Path,
    *,
    votes: Path | None = None,
    near: float | None = None,
    json: Path | None = None,
    html: Path | None = None,
) -> int:
    """Find copies, leaks, conflicting labels, blank and blurred pictures, and labels that FER+ doubts.

    Parameters
    ----------
    path
        FER2013: the zip, the unpacked folder or the csv.
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

    found = audits.audit_source(path, votes, audits.NEAR if near is None else near)
    for table in _audit_tables(found, str(path)):
        out.print(table)
    if json:
        _write_json(json, found.to_dict())
    if html:
        from mien.train.audit_page import write_html

        write_html(found, html, str(path))
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


_TRAINING = "loss {task.fields[loss]:.3f}  acc {task.fields[accuracy]:.3f}  {task.fields[rate]:.0f} img/s"


def _teller(bar: Progress) -> Callable[[dict[str, float]], None]:
    task = bar.add_task("training", total=None, loss=0.0, accuracy=0.0, rate=0.0)

    def tell(facts: dict[str, float]) -> None:
        done = (facts["epoch"] - 1) * facts["steps"] + facts["step"]
        told: dict[str, Any] = {key: facts[key] for key in ("loss", "accuracy", "rate")}
        name = f"epoch {facts['epoch']:.0f}/{facts['epochs']:.0f}"
        bar.update(task, completed=done, total=facts["epochs"] * facts["steps"], description=name, **told)

    return tell


def _before_after(before: str, after: Path, path: Path, kind: str | None, votes: Path | None) -> Table:
    """Accuracy of the shipped and of the fine-tuned model on the pictures that neither learned from."""
    from mien.classify import model as load_model
    from mien.train.evaluate import evaluate_views

    table = Table(title="before and after, on pictures kept aside")
    for name in ("model", "classes", "pictures", "accuracy %"):
        table.add_column(name)
    for name in (before, str(after)):
        try:
            report = next(iter(evaluate_views(load_model(name), path, votes, kind=kind).values()))
            low, high = (100 * v for v in report.interval)
            accuracy = f"{100 * report.accuracy:.1f} ({low:.0f}-{high:.0f})"
            table.add_row(name, ", ".join(report.labels), str(report.n), accuracy)
        except ConfigError as error:
            table.add_row(name, str(error), "-", "-")
    return table


def _views_table(reports: Mapping[str, Any], title: str) -> Table:
    """A column a view, so that it fits a narrow terminal."""
    table = Table("", *(Column(escape(view), justify="right") for view in reports), title=escape(title))
    found = list(reports.values())
    table.add_row("pictures", *(f"{each.n:,}" for each in found))
    table.add_row("accuracy %", *(f"{100 * each.accuracy:.2f}" for each in found))
    table.add_row("95 % interval", *("{:.1f}-{:.1f}".format(*(100 * v for v in each.interval)) for each in found))
    table.add_row("balanced accuracy %", *(f"{100 * each.balanced_accuracy:.1f}" for each in found))
    table.add_row("macro-F1 %", *(f"{100 * each.macro_f1:.1f}" for each in found))
    for name, key in (("NLL", "nll"), ("Brier", "brier"), ("ECE", "ece"), ("ECE before temperature", "ece_before")):
        table.add_row(name, *(f"{getattr(each, key):.3f}" for each in found))
    table.add_row("answered (not uncertain) %", *(f"{100 * each.answered:.1f}" for each in found))
    shares = ("-" if each.answered_accuracy is None else f"{100 * each.answered_accuracy:.1f}" for each in found)
    table.add_row("right among answered %", *shares, end_section=True)
    for label in found[0].labels:
        table.add_row(f"recall {escape(label)} %", *(f"{100 * each.per_class[label]['recall']:.0f}" for each in found))
    return table


def _comparison_table(compared: Mapping[str, Any], first: str, second: str) -> Table:
    first, second = escape(first), escape(second)
    columns = (Column(escape(view), justify="right") for view in compared)
    table = Table("", *columns, title=f"{first} minus {second}")
    found = list(compared.values())
    table.add_row("pictures", *(f"{each.n:,}" for each in found))
    table.add_row(f"{first} %", *(f"{100 * each.accuracy:.2f}" for each in found))
    table.add_row(f"{second} %", *(f"{100 * each.other:.2f}" for each in found))
    table.add_row("difference, points", *(f"{100 * each.difference:+.2f}" for each in found))
    table.add_row("95 % interval", *("{:+.1f} to {:+.1f}".format(*(100 * v for v in each.interval)) for each in found))
    table.add_row("only the first right", *(f"{each.only_first:,}" for each in found))
    table.add_row("only the second right", *(f"{each.only_second:,}" for each in found))
    table.add_row("McNemar p", *(f"{each.p:.2g}" for each in found))
    return table


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


def _picture_sinks(
    stack: ExitStack,
    labels: Any,
    save: Path | None,
    json: Path | None,
    csv: Path | None,
    crops: Path | None,
    resume: bool,
) -> tuple[list[Any], dict[str, str]]:
    """The sinks of `predict`, and what an earlier run has done already: name -> reason of a failure, or ""."""
    from mien import sinks
    from mien.draw import draw

    lines = stack.enter_context(sinks.Jsonl(json, resume)) if json else None
    done = lines.done if lines else {}
    made: list[Any] = []
    if save:
        made.append(stack.enter_context(sinks.Images(save, draw)))
    if crops:
        made.append(stack.enter_context(sinks.Crops(crops)))
    for folder in made:
        for name, reason in done.items():
            if not reason:
                folder.reserve(name)
    if csv:
        made.append(stack.enter_context(sinks.Csv(csv, tuple(labels))))
    return [*made, *([lines] if lines else [])], done  # the line comes last: a picture that has one is finished


def _faces_table(labels: Any) -> Table:
    # A long file name folds, and boxes need a wide terminal: the figures stay whole on 80 columns.
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption="probabilities in %")
    table.add_column("picture", overflow="fold")
    table.add_column("face")
    if out.width >= 100:
        table.add_column("box")
    table.add_column("emotion")
    for name in labels:
        table.add_column(name, justify="right")
    for column in table.columns[1:]:
        column.no_wrap, column.min_width = True, len(str(column.header))
    return table


def _faces_rows(table: Table, result: Result, labels: Any) -> None:
    name = Path(result.frame.name).name
    wide = len(table.columns) > 3 + len(labels)
    if not result.faces:
        table.add_row(name, "-", *[""] * wide, "no face found", *[""] * len(labels))
    for number, face in enumerate(result.faces, start=1):
        box = [" ".join(f"{v:.0f}" for v in face.box)] if wide else []
        emotion = f"{face.emotion}?" if face.uncertain else face.emotion
        table.add_row(name, str(number), *box, emotion, *(f"{100 * face.probabilities[k]:.0f}" for k in labels))


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
        train = ("torch", "kornia", "captum", "lightning_fabric", "yaml", "onnx", "safetensors")
        serve = ("fastapi", "starlette", "pydantic", "uvicorn", "python_multipart", "websockets", "prometheus_client")
        extra = "train" if error.name in train else "serve" if error.name in serve else "report"
        err.print(f"[red]error:[/red] this command needs {error.name}: pip install 'mien[{extra}]'", markup=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
