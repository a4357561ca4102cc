"""The command `train`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from rich.progress import Progress, TextColumn, TimeRemainingColumn

import mien
from mien.cli import console, options
from mien.cli.console import above, count, echo, err, progress, start, warn
from mien.cli.tables import before_after
from mien.errors import ConfigError, DataError
from mien.media.output_paths import OutputPaths

if TYPE_CHECKING:
    from mien.data.faces import Faces
    from mien.evaluation.views import Answers
    from mien.train.log import Epoch


def train(
    *,
    data: options.DataSets,
    recipe: Path | None = None,
    replay: options.Replay = (),
    kind: options.Kind = None,
    votes: options.Votes = None,
    out: Annotated[Path | None, options.out("a folder; runs/NAME by default")] = None,
    resume: options.Resume = False,
    seed: Annotated[int | None, options.SEED] = None,
    fold: int | None = None,
    devices: int = 1,
    log: Literal["csv", "tensorboard"] = "csv",
    keep_last: Annotated[
        bool, options.flag("Keep the last epoch, although an earlier one, or no training, was better.")
    ] = False,
    quiet: options.Quiet = False,
) -> int:
    """Train a network from a recipe, or fine-tune the shipped one on your own images.

    Writes checkpoints, a log, curves, ONNX files and a page, index.html. The labels of further data sets are mapped by
    name onto those of the first. `--votes` are those of the first data set, for recipes with a FER+ head and for the
    kind ferplus; `--seed` overrides the recipe's. The epoch with the highest validation accuracy is kept; of
    fine-tuning that helps at no epoch, the weights from before.

    Args:
        recipe: YAML file with the settings that differ from the defaults. Without it the shipped network is fine-tuned
            on `data`, with its classes, and measured before and after.
        fold: Overrides the recipe's: the fold of a cross-fitting recipe to leave out.
        log: Where the figures of each epoch go: log.csv always, and with tensorboard a folder for TensorBoard as well.
        devices: Number of GPUs of this machine, or of processes if it has none. Leave it out under torchrun.
    """
    from mien.data.joint import load_sets, split_kind
    from mien.train import checkpoint, distributed, export, finetune, trainer
    from mien.train.config import FINETUNE, read_recipe
    from mien.train.log import read_log, tensorboard

    clock = start(quiet)
    # After torch, so that without both the extra `train` is named.
    from mien.evaluation.plots import curves_png
    from mien.evaluation.run_page import RunPage, write_run_page

    changes: dict[str, Any] = {k: v for k, v in {"seed": seed, "fold": fold}.items() if v is not None}
    config = read_recipe(recipe, changes) if recipe else replace(FINETUNE, **changes)
    folder = out or Path("runs") / config.name
    first = distributed.is_first_process(devices)
    if replay and recipe:
        raise ConfigError("--replay is for fine-tuning without a recipe; give a recipe's further sets with --data")
    if kind and len(data) > 1:
        raise ConfigError("--kind is for one data set; of several, give --data kind:path")
    sources = [*([f"{kind}:{data[0]}"] if kind else data), *replay]
    first_kind, path = split_kind(sources[0])
    inputs: list[str | Path | None] = [split_kind(source)[1] for source in sources]
    inputs += [recipe, votes, config.init, config.teacher, config.soft_labels]
    names = ["config.json", "log.csv", "curves.png", "index.html", "best.safetensors", "last.safetensors"]
    names += [f"{config.name}.onnx", f"{config.name}-fp32.onnx"]
    asked = OutputPaths(inputs).folder(folder, what="a run", names=names, again=_AGAIN) if first else None
    wanted = votes if config.ferplus or first_kind == "ferplus" else None
    classes = 7 if config.extra_classes else config.classes
    sets = load_sets(sources, classes if recipe else None, wanted, config.drop_leaks)
    if not recipe:
        read = list(sets.values())
        config = finetune.plan(config, read[: len(data)], read[len(data) :])
    loggers = [tensorboard(folder)] if log == "tensorboard" else []
    with ExitStack() as stack:
        if asked:
            stack.enter_context(asked)  # the folder is locked for the whole run
        columns = (TimeRemainingColumn(), TextColumn(_TRAINING)) if err.width >= 100 else (TimeRemainingColumn(),)
        with progress(first, *columns) as bar:
            screen = above(bar, console.out)

            def on_epoch(done: Epoch) -> None:
                if done.epoch == 1 and run.start != trainer.NOTHING:
                    echo(f"before  validation {100 * run.start[0]:.1f} %", screen)
                echo(epoch_line(done), screen)
                curves_png(read_log(folder / "log.csv"), folder / "curves.png")

            fabric = distributed.make_fabric(devices, config.precision, loggers)
            run = trainer.Trainer(
                config, sets, folder, fabric, progress=_progress_callback(bar), pause=10.0, on_epoch=on_epoch,
                keep_last=keep_last,
            )  # fmt: skip
            try:
                best = run.fit(resume)
            except KeyboardInterrupt:
                warn("stopped; the same command with --resume continues")
                return 130
        if not first:
            return 0
        exported = export.export_all(best, folder, sets, mien.__version__)
        echo(f"best checkpoint, log, curves, page and ONNX files are in {folder}")
        rows = read_log(folder / "log.csv")
        before = run.start[0] if run.start != trainer.NOTHING else None
        outcome = describe(rows, before, checkpoint.load(best)[1]["epoch"], run.info["valid"])
        if recipe:
            answers, images = (
                _answers([str(exported[1])], path, wanted, "PublicTest", first_kind),
                "validation images",
            )
        else:
            split, images = measured_split(read[0])
            answers = _answers([config.init, str(exported[1])], path, wanted, split, first_kind)
            before_after(answers, images).print()
            outcome += compare(list(answers.values()), images)
        for sentence in outcome:
            echo(sentence)
        write_run_page(
            RunPage(
                name=config.name, epochs=rows, outcome=outcome, images=f"{images} of {path.name}", start=before,
                answers={Path(name).name: part for name, part in answers.items() if not isinstance(part, str)},
                recipe={name: str(value) for name, value in config.to_dict().items()}, files=_files(config.name),
            ),
            folder / "index.html",
        )  # fmt: skip
    clock.summary(count(len(rows), "epoch"), f"best {100 * run.best[0]:.1f} %", f"page {folder / 'index.html'}")
    return 0


def _files(name: str) -> dict[str, str]:
    """Return the files of a run and what they hold."""
    return {
        f"{name}.onnx": "the model to use, int8", f"{name}-fp32.onnx": "the same before quantization",
        "best.safetensors": "the weights that were kept", "last.safetensors": "the state for --resume",
        "log.csv": "a row an epoch", "curves.png": "its plot", "config.json": "recipe and data",
    }  # fmt: skip


def epoch_line(done: Epoch) -> str:
    """Return what the terminal shows of an epoch."""
    parts = [f"epoch {done.epoch:{len(str(done.epochs))}}/{done.epochs}", f"lr {done.lr:.1e}"]
    parts += [f"loss {done.train_loss:.3f}", f"accuracy {100 * done.train_accuracy:.1f} %"]
    each = ", ".join(f"{name} {100 * accuracy:.1f}" for name, (_, accuracy) in done.sets.items())
    parts += [f"validation {100 * done.val_accuracy:.1f} %", *([f"({each})"] if len(done.sets) > 1 else [])]
    return "  ".join([*parts, f"{done.seconds:.1f} s", *(["best"] if done.is_best else [])])


def describe(rows: Sequence[Mapping[str, float]], start: float | None, kept: int, images: int) -> list[str]:
    """Say in sentences which epoch was kept, 0 for the weights from before, and whether fine-tuning made it worse."""
    last = [row for row in rows if row["stage"] == rows[-1]["stage"]]
    best = max(last, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    row = next((row for row in last if row["epoch"] == kept), best)
    right = f"{100 * row['val_accuracy']:.1f} % of {count(images, 'validation image')} right"
    before = "" if start is None else f", {100 * start:.1f} % before"
    if not kept:
        what = "made it worse" if start is not None and best["val_accuracy"] < start else "did not help"
        return [
            f"Fine-tuning {what}: at best {right}{before}.",
            "The weights from before are kept, calibrated on your images; --keep-last keeps the last epoch instead.",
        ]
    found = [f"Epoch {kept} is kept: {right}{before}."]
    if start is not None and row["val_accuracy"] < start:
        found.append("Fine-tuning made it worse; without --keep-last the weights from before would be kept.")
    elif best["val_accuracy"] > row["val_accuracy"]:
        found.append(f"Epoch {best['epoch']:.0f} was better, with {100 * best['val_accuracy']:.1f} %.")
    return found


def measured_split(faces: Faces) -> tuple[str, str]:
    """Return the split for the figures before and after, and what its images are."""
    if len(faces.split("PrivateTest")):
        return "PrivateTest", "held-out images"
    return "PublicTest", "validation images"  # photographs have no PrivateTest


def compare(answers: Sequence[Answers | str], images: str = "held-out images") -> list[str]:
    """Say if a model, the second one, is right less often than the first one."""
    if any(isinstance(part, str) for part in answers):
        return []
    before, after = (float(part.right.mean()) for part in answers if not isinstance(part, str))
    if after >= before:
        return []
    return [f"On the {images} it is right less often than before: {100 * after:.1f} % against {100 * before:.1f} %."]


def _answers(
    models: Sequence[str], path: Path, votes: Path | None, split: str | None, kind: str | None
) -> dict[str, Answers | str]:
    """Return each model's answers on the first view of a data set, or why it has none."""
    from mien.evaluation.views import answer_views
    from mien.faces.models import load_classifier

    found: dict[str, Answers | str] = {}
    for name in models:
        try:
            found[name] = next(iter(answer_views(load_classifier(name), path, votes, split, kind).values()))
        except (ConfigError, DataError) as error:
            found[name] = str(error)
    return found


_AGAIN = ("*.json", "*.csv", "*.png", "*.html", "*.safetensors", "*.onnx")  # what a run writes again
_TRAINING = "loss {task.fields[loss]:.3f}  acc {task.fields[accuracy]:.3f}  {task.fields[rate]:.0f} img/s"


def _progress_callback(bar: Progress) -> Callable[[dict[str, float]], None]:
    task = bar.add_task("training", total=None, loss=0.0, accuracy=0.0, rate=0.0)

    def on_progress(facts: dict[str, float]) -> None:
        done = (facts["epoch"] - 1) * facts["steps"] + facts["step"]
        fields: dict[str, Any] = {key: facts[key] for key in ("loss", "accuracy", "rate")}
        name = f"epoch {facts['epoch']:.0f}/{facts['epochs']:.0f}"
        bar.update(task, completed=done, total=facts["epochs"] * facts["steps"], description=name, **fields)

    return on_progress
