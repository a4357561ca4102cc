"""Trainer: the training loop, from labelled faces to a folder with the best checkpoint and the log."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel

from mien.data.faces import Faces, statistics
from mien.data.ferplus import EMOTION_VOTES
from mien.errors import ConfigError, DataError
from mien.media import atomic
from mien.train import checkpoint, distributed, log, models
from mien.train.augment import augment, mix, normalize
from mien.train.config import Stage, TrainConfig
from mien.train.schedule import make_average, make_optimizer, make_scheduler
from mien.train.targets import build_targets, to_tensors
from mien.train.torch_classifier import TorchClassifier
from mien.types import EMOTIONS, label_columns

Progress = Callable[[dict[str, float]], None]
"""Called by the first process after each step with epoch, epochs, step, steps, loss, accuracy and rate (images/s)."""


def fit(
    config: TrainConfig, faces: Faces | Mapping[str, Faces], out: Path, resume: bool = False, devices: int = 1,
    loggers: Sequence[Logger] = (), **options: Any,
) -> Path:  # fmt: skip
    """Train on this many devices of this machine; `options` are those of `Trainer`.

    `loggers` are Lightning Fabric's: the figures of each epoch go to them as well as to log.csv.
    """
    fabric = distributed.make_fabric(devices, config.precision, loggers)
    return Trainer(config, faces, out, fabric, **options).fit(resume)


NOTHING = (-1.0, -1e9)
"""Score before any epoch: mean accuracy over the data sets, and the loss, negative, which decides among equals."""


class Trainer:
    """Train a network by a recipe and keep the epoch with the highest PublicTest accuracy, the mean over the data sets.

    `out` receives `last.safetensors` (the state for `resume`, replaced after an epoch), `best.safetensors` (weights
    only), `log.csv` and `config.json`. A run that was killed and resumed gives the same weights as an uninterrupted
    one: each epoch seeds its own order, augmentation and dropout. Stages that have not begun may be changed on resume.
    With the recipe's `keep_start` the weights of `init` count as epoch 0: they are kept if no epoch is better.

    Args:
        config: the recipe.
        faces: with the splits Training and PublicTest; or several data sets by name, with the labels of the first one.
        out: folder of the run.
        fabric: of `distributed.make_fabric`; with several processes only the first one writes.
        source: name of the data, for the metadata of the model file.
        progress: called after each step.
        pause: shortest time between two checkpoints in seconds.
        on_epoch: called by the first process after each epoch.
        keep_last: keep the last epoch, although an earlier one was better.
    """

    stage: Stage
    model: nn.Module
    average: AveragedModel
    frozen: list[nn.Module]
    network: nn.Module  # the model as training calls it, with its gradients shared between the processes
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler

    def __init__(
        self, config: TrainConfig, faces: Faces | Mapping[str, Faces], out: Path, fabric: Fabric,
        source: str = "FER2013", progress: Progress | None = None, pause: float = 0.0,
        on_epoch: Callable[[log.Epoch], None] | None = None, keep_last: bool = False,
    ) -> None:  # fmt: skip
        self.config, self.out, self.fabric, self.progress, self.pause = config, out, fabric, progress, pause
        self.on_epoch, self.keep_last = on_epoch, keep_last
        if config.batch < 2 * fabric.world_size:
            raise ConfigError(f"batch {config.batch} is too small for {fabric.world_size} processes (batch norm)")
        sets = dict(faces) if isinstance(faces, Mapping) else {source: faces}
        if len(config.sets) > len(sets):
            raise ConfigError(f"the recipe is for {len(config.sets)} data sets, but {len(sets)} were given")
        weights = [item.weight for item in config.settings(len(sets))]
        labels = next(iter(sets.values())).labels
        answers = EMOTIONS if config.extra_classes else labels
        train = [
            item.split("Training") if weight else item.take(np.arange(0))
            for item, weight in zip(sets.values(), weights, strict=True)
        ]
        if config.folds:
            train = [item.take(item.keys() % config.folds != config.fold) for item in train]
        valid = {
            name: (item.split("PublicTest") if weight else item).mapped(answers)
            for (name, item), weight in zip(sets.items(), weights, strict=True)
        }
        for name, item in valid.items():
            if not len(item):
                raise DataError(f"{name} has no PublicTest image of the classes {', '.join(answers)}")
        self.init = checkpoint.load_mean(config.init) if config.init else None
        # Pretrained weights keep the normalisation that they were trained with.
        self.mean: float
        self.std: float
        self.mean, self.std = (self.init[1]["mean"], self.init[1]["std"]) if self.init else statistics(train[0])
        self.info: dict[str, Any] = {
            "mean": self.mean, "std": self.std, "labels": list(labels), "train": sum(map(len, train)),
            "valid": sum(map(len, valid.values())), "source": "+".join(sets), "answers": list(answers),
        }  # fmt: skip
        # Where the labels are not known to the start, its answers say nothing about an epoch's worth.
        self.keeps_start = config.keep_start and self.init is not None and set(labels) <= set(self.init[1]["labels"])
        start = None
        if any(item.soft_labels == "init" for item in config.settings(len(sets))):
            start = TorchClassifier(checkpoint.resolve(config.init))
        self.targets = build_targets(config, train, fabric.device, start)
        self.valid = {name: to_tensors(item, fabric.device) for name, item in valid.items()}
        self.columns = label_columns(labels, answers)
        self.steps = sum(draw.count for draw in self.targets.draws) // config.batch  # an epoch
        if not self.steps:
            raise DataError(f"{self.info['train']} Training images are too few for batches of {config.batch}")
        self.epoch, self.waited = 0, 0  # epochs done; those since the best one of this stage
        self.best = self.start = NOTHING  # score of the best one of this stage, and of the start
        self.best_weights: tuple[dict[str, Tensor], int] | None = None  # and its epoch, not yet saved
        torch.backends.cudnn.benchmark = True  # all batches have one size: find the fastest kernels once

    def fit(self, resume: bool = False) -> Path:
        """Train to the last epoch and return the path of the best checkpoint."""
        saved = checkpoint.find_resumable(self.config, self.info, self.out / "last.safetensors", resume)
        with distributed.process_group(self.fabric):
            distributed.require_same(json.dumps([self.config.to_dict(), self.info]), self.fabric)
            # Other machines need not see the first process's folder.
            if saved := self.fabric.broadcast(saved):
                self.load_state(*saved)
            writes, saved_at = self.fabric.is_global_zero, time.perf_counter()
            if writes:
                atomic.write_text(self.out / "config.json", json.dumps(self.meta(), indent=1))
            while self.epoch < self.config.epochs and not self.impatient:
                index, within = self.config.stage_at(self.epoch)
                if within == 0:
                    self.start_stage(self.config.stages[index])
                if not self.epoch and self.keeps_start:
                    self.measure_start()
                started = time.perf_counter()
                lr, loss, accuracy = self.train_epoch()
                validation = self.validate()
                val_loss, val_accuracy = np.mean(list(validation.values()), axis=0).tolist()
                self.epoch += 1
                self.waited += 1
                is_last = self.stage is self.config.stages[-1]
                is_best = is_last and (val_accuracy, -val_loss) > self.best
                if is_best:
                    self.best, self.waited = (val_accuracy, -val_loss), 0
                if is_best or (is_last and self.keep_last):
                    weights = self.average.module.state_dict() if writes else {}
                    self.best_weights = {name: value.clone() for name, value in weights.items()}, self.epoch
                epoch = log.Epoch(
                    self.epoch, self.config.epochs, index + 1, lr, loss, accuracy, val_loss, val_accuracy,
                    time.perf_counter() - started, validation, is_best,
                )  # fmt: skip
                if writes:
                    log.append_row(self.out / "log.csv", epoch.metrics())
                    self.fabric.log_dict(epoch.metrics(), self.epoch)
                done = self.epoch == self.config.epochs or self.impatient
                if writes and (done or time.perf_counter() - saved_at >= self.pause):
                    self.save()
                    saved_at = time.perf_counter()
                if writes and self.on_epoch:
                    self.on_epoch(epoch)
        for logger in self.fabric.loggers:
            logger.finalize("success")
        best = self.out / "best.safetensors"
        if writes:
            tensors, meta = checkpoint.load(best)
            if meta["config"] != self.config.to_dict():  # settings of the export may have changed since that epoch
                checkpoint.save(best, tensors, {**meta, "config": self.config.to_dict()})
        return best

    def start_stage(self, stage: Stage) -> None:
        """Build the network, optimizer and schedule of a stage; weights come from the average of the stage before."""
        torch.manual_seed(self.config.seed * 100_003 + self.epoch)
        votes = EMOTION_VOTES if self.config.ferplus else 0
        model = models.build(self.config.network, len(self.info["labels"]), self.config.width, stage.dropout, votes)
        if self.epoch:
            model.load_state_dict(self.average.module.state_dict())
        elif self.init:
            models.load_initial(*self.init, self.config, model, self.info["labels"])
        last = stage is self.config.stages[-1]
        self.stage, self.best, self.waited = stage, self.start if last else NOTHING, 0
        self.frozen = models.freeze(model, stage.freeze)
        self.model = model.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = make_average(self.model, self.config.ema)
        self.optimizer = make_optimizer(self.config, stage, self.model)
        self.scheduler = make_scheduler(self.config, stage, self.optimizer, self.steps)
        self.network = distributed.setup(self.model, self.fabric)

    @property
    def impatient(self) -> bool:
        """Whether the last stage has brought nothing for `patience` epochs."""
        return bool(self.config.patience) and self.waited >= self.config.patience and self.in_last_stage

    @property
    def in_last_stage(self) -> bool:
        return self.epoch > self.config.epochs - self.config.stages[-1].epochs

    def measure_start(self) -> None:
        """Count the start as epoch 0: an epoch must be better to take its place."""
        loss, accuracy = np.mean(list(self.validate().values()), axis=0).tolist()
        self.start = accuracy, -loss
        if self.stage is self.config.stages[-1]:
            self.best = self.start
        if self.fabric.is_global_zero:
            meta = {**self.meta(), "epoch": 0}
            checkpoint.save(self.out / "best.safetensors", self.average.module.state_dict(), meta)

    def train_epoch(self) -> tuple[float, float, float]:
        """Train for one epoch; return its last learning rate, its mean loss and its accuracy on augmented images."""
        config, stage, fabric, targets = self.config, self.stage, self.fabric, self.targets
        torch.manual_seed(config.seed * 1_000_003 + self.epoch)
        self.model.train()
        for block in self.frozen:
            block.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=fabric.device if fabric.device.type == "cuda" else "cpu")
        lr, started = stage.lr, time.perf_counter()
        for step, (index, views) in enumerate(self.batches()):
            # Each process makes the views of the whole batch: all draw alike, and mixing crosses the shares.
            share = distributed.share(len(index), fabric)
            labels = targets.soft_targets(config, stage, views[share], index[share], self.scheduler.last_epoch)
            labels = distributed.gather(labels, share, len(index), fabric)
            votes = labels[:, :0] if targets.votes is None else targets.votes[index]
            views, labels = mix(views, torch.cat([labels, votes], 1), config)
            with distributed.own_random(fabric, config.seed, self.epoch, step):
                logits, votes = self.network(normalize(views[share], self.mean, self.std, stage.size))
            loss = self.loss(logits, votes, labels[share])
            lr = self.optimizer.param_groups[0]["lr"]
            self.optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss * distributed.weight(share, len(index), fabric))
            self.optimizer.step()
            self.scheduler.step()
            distributed.average_batch_norms(self.model, fabric)
            self.average.update_parameters(self.model)
            hits = (logits.detach().argmax(1) == targets.targets[index[share]]).sum()
            sums += torch.stack([loss.detach() * len(logits), hits, torch.full_like(hits, len(logits))]).to(sums.device)
            if self.progress and fabric.is_global_zero:
                self.progress({
                    "epoch": self.epoch + 1, "epochs": config.epochs, "step": step + 1, "steps": self.steps,
                    "loss": float(sums[0] / sums[2]), "accuracy": float(sums[1] / sums[2]),
                    "rate": (step + 1) * config.batch / (time.perf_counter() - started),
                })  # fmt: skip
        loss_sum, hit_sum, count = distributed.total(sums, fabric).tolist()
        return lr, loss_sum / count, hit_sum / count

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield indices and augmented images, float (B, 1, 48, 48) in 0..1, batch by batch in random order."""
        images, batch = self.targets.images, self.config.batch
        order = self.targets.order()[: self.steps * batch].to(images.device)
        # A GPU augments many batches at once: for one, starting its kernels takes longer than they do.
        for block in torch.split(order, batch * (16 if images.is_cuda else 1)):
            views = augment(images[block].float() / 255, self.config, self.stage.augment)
            yield from zip(torch.split(block, batch), torch.split(views, batch), strict=True)

    def loss(self, logits: Tensor, votes: Tensor | None, labels: Tensor) -> Tensor:
        """Return the cross-entropy of the classes plus that of the FER+ head, whose columns follow the classes."""
        classes = logits.shape[1]
        loss = cross_entropy(logits, labels[:, :classes])
        if votes is not None:  # rows without votes are all 0 and add nothing
            loss = loss + self.config.ferplus * cross_entropy(votes, labels[:, classes:])
        return loss

    @torch.no_grad()
    def validate(self, block: int = 256) -> dict[str, tuple[float, float]]:
        """Return mean cross-entropy and accuracy of the averaged weights on each set, among the classes to choose.

        Several processes take whole blocks of images in turn, so that the figures are those of one process.
        """
        self.average.eval()
        results = {}
        for name, (all_images, all_targets) in self.valid.items():
            parts = list(zip(torch.split(all_images, block), torch.split(all_targets, block), strict=True))
            figures = torch.zeros(2, len(parts), dtype=torch.float64)
            for number in range(self.fabric.global_rank, len(parts), self.fabric.world_size):
                images, targets = parts[number]
                logits = self.average(normalize(images.float() / 255, self.mean, self.std, self.stage.size))
                logits = logits[:, self.columns]
                figures[0, number] = float(cross_entropy(logits, targets, reduction="sum"))
                figures[1, number] = int((logits.argmax(1) == targets).sum())
            losses, hits = distributed.total(figures, self.fabric).tolist()
            results[name] = sum(losses) / len(all_images), sum(hits) / len(all_images)
        return results

    def meta(self) -> dict[str, Any]:
        """Return what every checkpoint of the run says about recipe, data and start."""
        start = {"start_accuracy": self.start[0]} if self.start != NOTHING else {}
        return {"config": self.config.to_dict(), **self.info, **start}

    def save(self) -> None:
        """Write the best weights, if new, and the whole state."""
        if self.best_weights:
            weights, epoch = self.best_weights
            checkpoint.save(self.out / "best.safetensors", weights, {**self.meta(), "epoch": epoch})
            self.best_weights = None
        optimizer = self.optimizer.state_dict()
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for index, values in optimizer["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        progress = {"epoch": self.epoch, "best": self.best, "start": self.start, "waited": self.waited}
        schedule = {"param_groups": optimizer["param_groups"], "scheduler": self.scheduler.state_dict()}
        checkpoint.save(self.out / "last.safetensors", tensors, {**self.meta(), **progress, **schedule})

    def load_state(self, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
        """Continue from what `save` wrote."""
        index, _ = self.config.stage_at(meta["epoch"] - 1)
        self.start_stage(self.config.stages[index])
        self.epoch, self.waited = meta["epoch"], meta.get("waited", 0)
        best = meta["best"]
        self.best = (best[0], best[1]) if isinstance(best, list) else (best, NOTHING[1])  # one number in older files
        start = meta.get("start", NOTHING)
        self.start = start[0], start[1]
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        for key, value in tensors.items():
            kind, _, name = key.partition(".")
            parts[kind][name] = value
        self.model.load_state_dict(parts["model"])
        self.average.load_state_dict(parts["average"])
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in parts["optimizer"].items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": meta["param_groups"]})
        self.scheduler.load_state_dict(meta["scheduler"])
