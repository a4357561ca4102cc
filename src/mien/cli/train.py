"""The command `train`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from rich.progress import Progress, TextColumn, TimeRemainingColumn

import mien
from mien.cli import options
from mien.cli.console import count, echo, progress, start
from mien.cli.tables import before_after
from mien.errors import ConfigError
from mien.media.output_paths import OutputPaths
from mien.types import EMOTIONS7


def train(
    *,
    data: options.DataSets,
    recipe: Path | None = None,
    kind: options.Kind = None,
    votes: options.Votes = None,
    out: Annotated[Path | None, options.out("a folder; runs/NAME by default")] = None,
    resume: options.Resume = False,
    seed: Annotated[int | None, options.SEED] = None,
    fold: int | None = None,
    devices: int = 1,
    quiet: options.Quiet = False,
) -> int:
    """Train a network from a recipe, or fine-tune the shipped one on your own images.

    Writes checkpoints, a log, curves and ONNX files. The labels of further data sets are mapped by name onto those of
    the first. `--votes` are those of the first data set, for recipes with a FER+ head and for the kind ferplus;
    `--seed` overrides the recipe's.

    Args:
        recipe: YAML file with the settings that differ from the defaults. Without it the shipped network is fine-tuned
            on `data`, with its classes, and measured before and after.
        fold: Overrides the recipe's: the fold of a cross-fitting recipe to leave out.
        devices: Number of GPUs of this machine, or of processes if it has none. Leave it out under torchrun.
    """
    from mien.data.joint import load_sets, split_kind
    from mien.evaluation.plots import curves_png
    from mien.train import distributed, export, log, trainer
    from mien.train.config import FINETUNE, read_recipe
    from mien.types import EMOTIONS8

    clock = start(quiet)
    changes: dict[str, Any] = {k: v for k, v in {"seed": seed, "fold": fold}.items() if v is not None}
    config = read_recipe(recipe, changes) if recipe else replace(FINETUNE, **changes)
    folder = out or Path("runs") / config.name
    first = distributed.is_first_process(devices)
    if kind and len(data) > 1:
        raise ConfigError("--kind is for one data set; of several, give --data kind:path")
    sources = [f"{kind}:{data[0]}"] if kind else data
    first_kind, path = split_kind(sources[0])
    inputs: list[str | Path | None] = [split_kind(source)[1] for source in sources]
    inputs += [recipe, votes, config.init, config.teacher, config.soft_labels]
    names = ["config.json", "log.csv", "curves.png", "best.safetensors", "last.safetensors"]
    names += [f"{config.name}.onnx", f"{config.name}-fp32.onnx"]
    asked = OutputPaths(inputs).folder(folder, what="a run", names=names, again=_AGAIN) if first else None
    wanted = votes if config.ferplus or first_kind == "ferplus" else None
    classes = 7 if config.extra_classes else config.classes
    sets = load_sets(sources, classes if recipe else None, wanted, config.drop_leaks)
    faces = next(iter(sets.values()))
    if not recipe:
        # For custom classes the labels in the model file say more than the number in the configuration.
        known = len(faces.labels) if faces.labels in (EMOTIONS7, EMOTIONS8) else config.classes
        batch = max(2, min(config.batch, len(faces.split("Training")) // 4))
        config = replace(config, batch=batch, classes=known)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # otherwise a line for each process
    with ExitStack() as stack:
        if asked:
            stack.enter_context(asked)  # the folder is locked for the whole run
        with progress(first, TimeRemainingColumn(), TextColumn(_TRAINING)) as bar:
            best = trainer.fit(config, sets, folder, resume, devices, progress=_progress_callback(bar), pause=10.0)
        if not first:
            return 0
        curves_png(log.read_log(folder / "log.csv"), folder / "curves.png")
        exported = export.export_all(best, folder, sets, mien.__version__)
    echo(f"best checkpoint, log, curves and ONNX files are in {folder}")
    if not recipe:
        before_after(config.init, exported[1], path, first_kind, wanted).print()
    clock.summary(count(config.epochs, "epoch"))
    return 0


_AGAIN = ("*.json", "*.csv", "*.png", "*.safetensors", "*.onnx")  # what a run writes again
_TRAINING = "loss {task.fields[loss]:.3f}  acc {task.fields[accuracy]:.3f}  {task.fields[rate]:.0f} img/s"


def _progress_callback(bar: Progress) -> Callable[[dict[str, float]], None]:
    task = bar.add_task("training", total=None, loss=0.0, accuracy=0.0, rate=0.0)

    def on_progress(facts: dict[str, float]) -> None:
        done = (facts["epoch"] - 1) * facts["steps"] + facts["step"]
        fields: dict[str, Any] = {key: facts[key] for key in ("loss", "accuracy", "rate")}
        name = f"epoch {facts['epoch']:.0f}/{facts['epochs']:.0f}"
        bar.update(task, completed=done, total=facts["epochs"] * facts["steps"], description=name, **fields)

    return on_progress
