"""The commands around models: train, evaluate, report, explain; mien.cli registers them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

import mien
from mien.terminal import err, out, progress, say, write_json
from mien.types import EMOTIONS7, Classifier, ConfigError

if TYPE_CHECKING:
    from mien.train.evaluate import Answers
    from mien.train.robustness import Robustness


@Parameter(name="*")
@dataclass(frozen=True)
class Measured:
    """What is measured on what."""

    data: Path
    """FER2013 (the zip, the unpacked folder or the csv), RAF-DB, AffectNet or a folder of class folders."""
    model: str | None = None
    """Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file."""
    votes: Path | None = None
    """csv of FER+ votes; without it T3 and T4 are left out."""
    split: str = "PrivateTest"
    """PrivateTest, PublicTest while choosing, or Training."""
    kind: str | None = None
    """fer2013, rafdb, affectnet, ferplus or folder; recognised when not given."""

    def answers(self, model: Classifier) -> dict[str, Answers]:
        """What a model says of each view."""
        from mien.train.evaluate import answer_views

        return answer_views(model, self.data, self.votes, self.split, self.kind)


def train(
    *,
    data: Path,
    recipe: Path | None = None,
    kind: str | None = None,
    votes: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    fold: int | None = None,
    devices: int = 1,
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
    fold
        In place of the recipe's: the part of a cross-fitting recipe that this run leaves out.
    devices
        GPUs of this machine to train on together, or processes where there is no GPU. Under torchrun, leave it out.
    """
    from mien import report
    from mien.train import export, loop, parallel
    from mien.train.config import FINETUNE, read_recipe
    from mien.train.datasets import EMOTIONS8, load_any

    changes: dict[str, Any] = {k: v for k, v in {"seed": seed, "fold": fold}.items() if v is not None}
    config = read_recipe(recipe, changes) if recipe else replace(FINETUNE, **changes)
    folder = out or Path("runs") / config.name
    wanted = votes if config.ferplus or kind == "ferplus" else None
    classes = 7 if config.extra_classes else config.classes
    faces = load_any(data, classes if recipe else None, kind, wanted, config.drop_leaks)
    if not recipe:
        # Of classes of one's own the model file's labels tell more than the recipe.
        known = len(faces.labels) if faces.labels in (EMOTIONS7, EMOTIONS8) else config.classes
        batch = max(2, min(config.batch, len(faces.split("Training")) // 4))
        config = replace(config, batch=batch, classes=known)
    first = parallel.first(devices)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it tells how each process joins the group
    with progress(first, _TRAINING) as bar:
        best = loop.fit(config, faces, folder, resume, _teller(bar), data.stem, devices, pause=10.0)
    if not first:
        return 0
    report.curves_png(loop.read_log(folder / "log.csv"), folder / "curves.png")
    made = export.ship(best, folder, faces, mien.__version__)
    say(f"best checkpoint, log, curves and ONNX files are in {folder}")
    if not recipe:
        Console().print(_before_after(config.init, made[1], data, kind, wanted))
    return 0


def evaluate(
    *,
    measured: Measured,
    compare: Annotated[list[str] | None, Parameter(consume_multiple=True, negative=())] = None,
    robustness: bool = False,
    json: Path | None = None,
    plots: Path | None = None,
) -> int:
    """Measure a model on the four views of the protocol (T1 to T4), or on the test split of another data set.

    Parameters
    ----------
    compare
        A second model for the same pictures, or two models in place of --model: how much more often the first is right,
        with interval and McNemar's p.
    robustness
        Measure on corrupted pictures too: 16 corruptions in five severities, which takes 81 times as long.
    json
        File for all figures.
    plots
        Folder for a confusion matrix a view, and for the curves of robustness.
    """
    from mien import report
    from mien.classify import model as load_model
    from mien.train.evaluate import compare_answers
    from mien.train.robustness import evaluate_robustness

    *first, second = compare or [""]
    if len(first) > 1 or (first and measured.model):
        raise ConfigError("--compare takes a second model, or two models and no --model")
    name = first[0] if first else measured.model
    classifier = load_model(name)
    answers = measured.answers(classifier)
    reports = {view: found.report() for view, found in answers.items()}
    out.print(_views_table(reports, f"{classifier.name} on {measured.split}"))
    for view, found in reports.items():
        named = escape(f"{view}: {found.name}" if found.name != view else view)
        out.print(named, "sha256", found.index, soft_wrap=True)
        if plots:
            report.confusion_png(found, plots / f"confusion-{view}.png")
    figures: dict[str, Any] = {"model": classifier.name, "sha256": classifier.sha256, "split": measured.split}
    figures["views"] = {view: found.to_dict() for view, found in reports.items()}
    if second:
        other = load_model(second)
        others = measured.answers(other)
        compared = {view: compare_answers(answers[view], others[view]) for view in answers}
        out.print(_comparison_table(compared, Path(name or classifier.name).stem, Path(second).stem))
        figures["comparison"] = {"model": other.name, "sha256": other.sha256}
        figures["comparison"]["views"] = {view: each.to_dict() for view, each in compared.items()}
    if robustness:
        shaken = evaluate_robustness(classifier, next(iter(answers.values())).faces)
        figures["robustness"] = shaken.to_dict()
        out.print(_robustness_table(shaken))
        if plots:
            report.robustness_png({classifier.name: figures["robustness"]}, plots / "robustness.png")
    if json:
        write_json(json, figures)
    return 0


def report(
    *,
    measured: Measured,
    robustness: bool = True,
    out: Path = Path("report.html"),
) -> int:
    """Write what `evaluate` measures as a page to read: plots, the worst mistakes, data, recipe and machine.

    The page holds thumbnails of the data set's pictures: mind their terms before you pass it on.

    Parameters
    ----------
    robustness
        Measure on corrupted pictures too: 16 corruptions in five severities, which takes a minute or some.
    out
        HTML file to write; it needs mien[report].
    """
    from mien import report_page
    from mien.classify import model as load_model
    from mien.train.datasets import load_any
    from mien.train.facts import facts
    from mien.train.robustness import evaluate_robustness

    classifier = load_model(measured.model)
    answers = measured.answers(classifier)
    main = next(iter(answers.values()))
    faces = main.faces
    found = facts(load_any(measured.data, kind=measured.kind, votes=measured.votes, drop_leaks=False), faces.labels)
    page = report_page.Page(
        model=classifier.name,
        data=measured.data.name,
        split=measured.split,
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
    say(f"wrote {out}")
    return 0


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
        Name of a shipped model, names joined by + (their mean, over the mirror image too), or an ONNX file.
    detector
        yunet, haar or mtcnn.
    """
    from mien import report
    from mien.train.explain import explain as explain_crop

    pipeline = mien.load(model=model, detector=detector)
    result = pipeline(picture)
    if not result.faces:
        err.print(f"{picture}: no face found, nothing to explain", highlight=False, markup=False)
        return 1
    report.explanation_png(result, [explain_crop(pipeline.classifier, crop) for crop in result.crops], out)
    say(f"wrote {out}")
    return 0


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
    """Accuracy of the shipped and of the fine-tuned model on pictures that the fine-tuning did not learn from."""
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
            table.add_row(escape(name), escape(", ".join(report.labels)), str(report.n), accuracy)
        except ConfigError as error:
            table.add_row(escape(name), escape(str(error)), "-", "-")
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
    table.add_row("right among answered %", *shares)
    table.add_row("AURC (risk-coverage)", *(f"{each.aurc:.3f}" for each in found), end_section=True)
    table.add_row("[i]precision, recall, F1 %[/i]")
    for label in found[0].labels:
        rows = (each.per_class[label] for each in found)
        shares = ("  ".join(f"{100 * row[key]:.0f}" for key in ("precision", "recall", "f1")) for row in rows)
        table.add_row(escape(label), *shares)
    return table


def _robustness_table(shaken: Robustness) -> Table:
    low, high = (100 * value for value in shaken.interval)
    title = (
        f"accuracy % under corruption: {100 * shaken.mean:.2f} ({low:.1f}-{high:.1f}), clean {100 * shaken.clean:.2f}"
    )
    table = Table("severity", *(Column(str(k), justify="right") for k in range(1, 6)), title=title)
    for name, values in shaken.accuracy.items():
        table.add_row(name, *(f"{100 * value:.1f}" for value in values))
    table.caption = f"{shaken.n:,} pictures; the worst: {' and '.join(shaken.worst)}"
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
