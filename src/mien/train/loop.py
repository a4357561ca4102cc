"""fit(config): the training loop, from pictures to a folder with the best checkpoint, the log and the curves."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from mien import files
from mien.train import data, lessons, models, parallel, store
from mien.train.augment import augment, mix
from mien.train.config import Stage, TrainConfig
from mien.train.lessons import EMOTION_VOTES, Lessons
from mien.types import EMOTIONS, ConfigError, DataError

Progress = Callable[[dict[str, float]], None]
"""Told after each step: epoch, epochs, step, steps, loss, accuracy, rate (img/s); of several processes by the first."""

LOG = ("epoch", "stage", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")


@dataclass(slots=True)
class State:
    """What changes during a run; together with the config it is the whole checkpoint.

    `network` is the model as it is called in training (see `parallel.network`), `best` the accuracy of the best epoch
    of the stage.
    """

    model: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    network: nn.Module
    epoch: int = 0
    steps: int = 0
    best: float = -1.0


def fit(
    config: TrainConfig, faces: data.Faces, out: Path, resume: bool = False, progress: Progress | None = None,
    source: str = "FER2013", devices: int = 1, pause: float = 0.0,
) -> Path:  # fmt: skip
    """Train, and keep the epoch that is best on PublicTest.

    `out` receives `last.safetensors` (everything that `resume` needs, replaced after each epoch or `pause`),
    `best.safetensors` (weights only), `log.csv` and `config.json`. A run that was cut off and resumed gives the same
    weights as one that ran through, because order, augmentation and dropout are seeded by the epoch. Stages that have
    not begun may differ from the recipe that the run was started with.

    Args:
        config: the recipe.
        faces: with the splits Training and PublicTest.
        out: folder of the run.
        resume: go on with the run in `out`.
        progress: told after each step.
        source: name of the data, for the model file.
        pause: seconds that pass at least between two checkpoints, where an epoch takes less than it is worth to lose.
        devices: of this machine; with more than one, the script or command that called this is run once for each
            (see `parallel.group`), and only the first process writes. torchrun's group goes before.

    Returns:
        Path of the best checkpoint.

    Raises:
        DataError: no training or validation image.
        ConfigError: `out` holds another run and `resume` is off, or the run there is of other data, differs in what it
            has done or has no epoch left; too few devices, or too small a batch for them.
        Error: another process of the group died.
    """
    fabric = parallel.fabric(devices, _precision(config))
    if config.batch < 2 * fabric.world_size:
        raise ConfigError(f"batches of {config.batch} are too small for {fabric.world_size} processes (batch norm)")
    train, valid = faces.split("Training"), faces.split("PublicTest")
    if config.folds:
        train = train.take(train.keys() % config.folds != config.fold)
    answers = EMOTIONS if config.extra_classes else faces.labels
    valid = valid.with_labels(answers)
    columns = [faces.labels.index(label) for label in answers]
    if len(train) < config.batch or not len(valid):
        raise DataError(
            f"{len(train)} training and {len(valid)} PublicTest images: too few for batches of {config.batch}"
        )
    start_from = store.load(store.named(config.init)) if config.init else None
    # Weights that go on learning keep the normalisation that they learned with.
    mean, std = (start_from[1]["mean"], start_from[1]["std"]) if start_from else data.statistics(train)
    facts: dict[str, Any] = {
        "mean": mean,
        "std": std,
        "labels": list(train.labels),
        "train": len(train),
        "valid": len(valid),
        "source": source,
        "answers": list(answers),
    }
    taught = lessons.gather(config, train, fabric.device)
    tests = lessons.tensors(valid, fabric.device)
    last, best = out / "last.safetensors", out / "best.safetensors"
    saved = store.earlier(config, facts, last, resume)
    schedule = [(number, stage, epoch) for number, stage in enumerate(config.stages) for epoch in range(stage.epochs)]
    torch.backends.cudnn.benchmark = True  # all batches have one size: the fastest kernels are found once
    with parallel.group(fabric):
        parallel.same(json.dumps([config.to_dict(), facts]), fabric)
        # The first process's checkpoint is the one that counts: other machines need not see its folder.
        saved = fabric.broadcast(saved)
        state: Any = _begin(config, facts, saved, fabric) if saved else None
        if fabric.is_global_zero:
            files.write_text(out / "config.json", json.dumps({"config": config.to_dict(), **facts}, indent=1))
        held: tuple[dict[str, Tensor], int] | None = None  # the best weights since the last checkpoint
        written = time.perf_counter()
        for epoch in range(state.epoch if state else 0, config.epochs):
            number, stage, within = schedule[epoch]
            if within == 0:
                state = _enter(config, stage, state, facts, epoch, fabric)
                if epoch == 0 and start_from:
                    for model in (state.model, state.average):
                        models.adopt(*_known(start_from, config), model, facts["labels"])
            began = time.perf_counter()
            lr, loss, accuracy = _epoch(config, stage, within, epoch, state, taught, mean, std, fabric, progress)
            val_loss, val_accuracy = validate(state.average, *tests, mean, std, stage.size, columns, fabric)
            state.epoch = epoch + 1
            better = stage is config.stages[-1] and val_accuracy > state.best
            state.best = val_accuracy if better else state.best
            if fabric.is_global_zero:
                row = (epoch + 1, number + 1, lr, loss, accuracy, val_loss, val_accuracy, time.perf_counter() - began)
                _log(out / "log.csv", dict(zip(LOG, row, strict=True)))
                if better:
                    held = {k: v.clone() for k, v in state.average.state_dict().items()}, epoch + 1
                if state.epoch == config.epochs or time.perf_counter() - written >= pause:
                    if held:
                        store.save(best, held[0], {"config": config.to_dict(), **facts, "epoch": held[1]})
                    _save_state(last, config, facts, state)
                    held, written = None, time.perf_counter()
    if fabric.is_global_zero:
        tensors, meta = store.load(best)
        if meta["config"] != config.to_dict():  # what only matters at export may have changed since that epoch
            store.save(best, tensors, {**meta, "config": config.to_dict()})
    return best


def _precision(config: TrainConfig) -> str:
    if config.precision != "auto":
        return config.precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    # bf16 without hardware for it is emulated: sixteen times slower than float32 on AVX2.
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "bf16-mixed" if "avx512_bf16" in flags or "amx_bf16" in flags else "32-true"


def _build(config: TrainConfig, stage: Stage, classes: int, fabric: Fabric) -> tuple[nn.Module, nn.Module]:
    votes = EMOTION_VOTES if config.ferplus else 0
    pair = [models.build(config.network, classes, stage.width, stage.dropout, votes) for _ in range(2)]
    pair[1].load_state_dict(pair[0].state_dict())
    model, average = (m.to(fabric.device, memory_format=torch.channels_last) for m in pair)  # type: ignore[call-overload]
    return model, average.eval()


def _known(
    start_from: tuple[dict[str, Tensor], dict[str, Any]], config: TrainConfig
) -> tuple[dict[str, Tensor], list[str]]:
    """The weights to start from, brought to our width where they are of a wider network, and their classes."""
    tensors, meta = start_from
    network, labels = meta["config"]["network"], list(meta["labels"])
    if network == config.network:
        return tensors, labels
    large, small = (models.build(name, len(labels)) for name in (network, config.network))
    if not isinstance(large, models.Rep) or not isinstance(small, models.Rep):
        raise ConfigError(f"weights of a {network} network cannot start a {config.network} network")
    large.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("auxiliary.")})
    models.narrow(large, small)
    return small.state_dict(), labels


def _optimizer(config: TrainConfig, stage: Stage, model: nn.Module) -> torch.optim.Optimizer:
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=stage.lr, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=stage.lr)


def _enter(
    config: TrainConfig, stage: Stage, before: State | None, facts: dict[str, Any], epoch: int, fabric: Fabric
) -> State:
    """A new stage starts from the averaged weights of the one before, grown where the width changes."""
    torch.manual_seed(config.seed * 100_003 + epoch)
    model, average = _build(config, stage, len(facts["labels"]), fabric)
    if before is not None:
        models.grow(before.average.state_dict(), model)
        average.load_state_dict(model.state_dict())
    optimizer, network = _optimizer(config, stage, model), parallel.network(model, fabric)
    return State(model, average, optimizer, network, epoch)


def _rate(config: TrainConfig, stage: Stage, step: int, total: int, warm: int) -> float:
    if step < warm:
        return stage.lr * (step + 1) / warm
    done = (step - warm) / max(1, total - warm)
    return stage.lr_end + (stage.lr - stage.lr_end) * (1 + cos(pi * done)) / 2


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "momentum" in group:
        group["momentum"] = momentum
    else:
        group["betas"] = (momentum, group["betas"][1])


def _batches(config: TrainConfig, stage: Stage, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Which pictures, and how they look this time: one batch after the other.

    A GPU makes the views of many batches at once: for one batch, starting its kernels takes longer than they do.
    """
    order = torch.randperm(len(images))[: len(images) // config.batch * config.batch].to(images.device)
    for index in torch.split(order, config.batch * (16 if images.is_cuda else 1)):
        views = augment(images[index].float() / 255, config, stage.augment)
        yield from zip(torch.split(index, config.batch), torch.split(views, config.batch), strict=True)


def _epoch(
    config: TrainConfig, stage: Stage, within: int, epoch: int, state: State, taught: Lessons,
    mean: float, std: float, fabric: Fabric, progress: Progress | None,
) -> tuple[float, float, float]:  # fmt: skip
    """One pass; returns the last learning rate, the mean loss and the accuracy on the augmented pictures."""
    torch.manual_seed(config.seed * 1_000_003 + epoch)
    state.model.train()
    count = len(taught.images)
    steps = count // config.batch
    warm, total = int(config.warmup * steps), stage.epochs * steps
    if config.schedule == "one-cycle":
        warm = max(warm, int(0.3 * total))
    sums = torch.zeros(3, dtype=torch.float64, device=taught.images.device if taught.images.is_cuda else "cpu")
    seen, lr, began = 0, stage.lr, time.perf_counter()
    # Each process makes the views of the whole batch, so that all draw the same and mixing crosses the shares.
    for step, (index, views) in enumerate(_batches(config, stage, taught.images)):
        lr = _rate(config, stage, within * steps + step, total, warm)
        for group in state.optimizer.param_groups:
            group["lr"] = lr
            if config.schedule == "one-cycle":
                _set_momentum(group, 0.95 - 0.1 * lr / stage.lr)
        mine = parallel.share(len(index), fabric)
        own = index[mine]
        own_wanted = taught.wanted(config, stage, views[mine], own, state.steps)
        wanted = parallel.joined(own_wanted, mine, len(index), fabric)
        votes = wanted[:, :0] if taught.votes is None else taught.votes[index]
        views, targets = mix(views, torch.cat([wanted, votes], 1), config)
        batch = prepare(views[mine], mean, std, stage.size)
        with parallel.own_random(fabric, config.seed, epoch, step), fabric.autocast():
            logits, loss = _forward(config, state.network, batch, targets[mine])
        state.optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss * parallel.weight(mine, len(index), fabric))
        state.optimizer.step()
        state.steps += 1
        parallel.agree(state.model, fabric)
        _average(state, config.ema)
        hits = (logits.detach().argmax(1) == taught.targets[own]).sum()
        sums += torch.stack([loss.detach() * len(own), hits, torch.full_like(hits, len(own))]).to(sums.device)
        seen += len(index)
        if progress and fabric.is_global_zero:
            told = {"epoch": epoch + 1, "epochs": config.epochs, "step": step + 1, "steps": steps}
            shown = {"loss": float(sums[0] / sums[2]), "accuracy": float(sums[1] / sums[2])}
            progress({**told, **shown, "rate": seen / (time.perf_counter() - began)})
    losses, right, count = parallel.summed(sums, fabric).tolist()
    return lr, losses / count, right / count


def _forward(config: TrainConfig, network: nn.Module, batch: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Logits and loss of one batch; the FER+ head shares the features, its targets follow those of the classes."""
    logits, votes = network(batch)
    classes = logits.shape[1]
    loss = cross_entropy(logits, targets[:, :classes])
    if votes is not None:  # rows without votes are all 0 and add nothing
        loss = loss + config.ferplus * cross_entropy(votes, targets[:, classes:])
    return logits, loss


def prepare(images: Tensor, mean: float, std: float, size: int = 48) -> Tensor:
    """float (N, 1, 48, 48) in 0..1 -> normalised, (N, 1, size, size)."""
    if size != images.shape[-1]:
        images = interpolate(images, (size, size), mode="area")
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def _average(state: State, decay: float) -> None:
    """Exponential moving average of weights and batch-norm statistics, faster at the start of a stage."""
    decay = min(decay, (1 + state.steps) / (10 + state.steps)) if decay else 0.0
    means, values = list(state.average.state_dict().values()), list(state.model.state_dict().values())
    floats = [place for place, mean in enumerate(means) if mean.is_floating_point()]
    torch._foreach_lerp_([means[place] for place in floats], [values[place] for place in floats], 1 - decay)
    for mean, value in zip(means, values, strict=True):
        if not mean.is_floating_point():
            mean.copy_(value)


@torch.no_grad()
def validate(
    model: nn.Module, images: Tensor, targets: Tensor, mean: float, std: float, size: int = 48,
    columns: Sequence[int] | None = None, fabric: Fabric | None = None, block: int = 256,
) -> tuple[float, float]:  # fmt: skip
    """Mean cross-entropy and accuracy on uint8 (N, 1, 48, 48) without augmentation, among these columns of the logits.

    Several processes take whole blocks in turn, each block once, so that the figures are those of one process.

    Args:
        model: gives logits (N, C).
        images: uint8 (N, 1, 48, 48).
        targets: int64 (N,); they count within the columns.
        mean: of the training pixels, 0..1.
        std: of the training pixels, 0..1.
        size: side of the network's input.
        columns: of the logits; None takes all of them.
        fabric: of the processes that share the work, all of which get the figures; None for this one alone.
        block: pictures a pass.
    """
    model.eval()
    rank, world = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    blocks = list(zip(torch.split(images, block), torch.split(targets, block), strict=True))
    figures = torch.zeros(2, len(blocks), dtype=torch.float64)
    for number in range(rank, len(blocks), world):
        part, truth = blocks[number]
        logits = model(prepare(part.float() / 255, mean, std, size))
        logits = logits if columns is None else logits[:, columns]
        figures[0, number] = float(cross_entropy(logits, truth, reduction="sum"))
        figures[1, number] = int((logits.argmax(1) == truth).sum())
    losses, hits = (parallel.summed(figures, fabric) if fabric else figures).tolist()
    return sum(losses) / len(images), sum(hits) / len(images)


def _begin(
    config: TrainConfig, facts: dict[str, Any], saved: tuple[dict[str, Tensor], dict[str, Any]], fabric: Fabric
) -> State:
    """The state that `_save_state` wrote."""
    tensors, meta = saved
    number = 0
    for number, stage in enumerate(config.stages):  # noqa: B007 - the stage that the last finished epoch was in
        if meta["epoch"] <= sum(s.epochs for s in config.stages[: number + 1]):
            break
    model, average = _build(config, stage, len(facts["labels"]), fabric)
    model.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("model.")})
    average.load_state_dict({k[8:]: v for k, v in tensors.items() if k.startswith("average.")})
    optimizer = _optimizer(config, stage, model)
    values: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            values.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
    network = parallel.network(model, fabric)
    return State(model, average, optimizer, network, meta["epoch"], meta["steps"], meta["best"])


def _save_state(path: Path, config: TrainConfig, facts: dict[str, Any], state: State) -> None:
    tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
    store.save(
        path,
        tensors,
        {"config": config.to_dict(), **facts, "epoch": state.epoch, "steps": state.steps, "best": state.best},
    )


def read_log(path: Path) -> list[dict[str, float]]:
    """Rows of log.csv as numbers."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(stream)]


def _log(path: Path, row: dict[str, Any]) -> None:
    # Rows after the resumed epoch belong to a run that was cut off: keep only those before.
    rows: list[dict[str, Any]] = []
    if path.exists():
        rows = [old for old in read_log(path) if old["epoch"] < row["epoch"]]
    lines = [",".join(LOG)]
    for entry in [*rows, row]:
        lines.append(",".join(f"{entry[key]:.6g}" for key in LOG))
    files.write_text(path, "\n".join(lines) + "\n")
