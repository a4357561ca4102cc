"""Checkpoint -> ONNX with preprocessing and softmax inside: uint8 crops in, float32 probabilities out; fp32, int8."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mien.data.faces import Faces
from mien.evaluation.calibration import calibrate
from mien.faces.classifier import OnnxClassifier
from mien.train import models
from mien.train.checkpoint import load, reading
from mien.train.config import Variant, from_dict
from mien.train.onnx_file import write_model
from mien.train.quantize import quantize
from mien.types import CLASSES, label_columns


class ExportModule(nn.Module):
    """A network with preprocessing and softmax.

    Args:
        model: normalised float (N, 1, size, size) -> logits (N, C).
        mean: of the training pixels, 0..1.
        std: of the training pixels, 0..1.
        temperature: divisor of the logits (Guo et al. 2017).
        mirror: return the mean over the image and its mirror image.
        size: side of the network's input; crops are resized as in training.
    """

    area: Tensor | None

    def __init__(
        self, model: nn.Module, mean: float, std: float, temperature: float = 1.0, mirror: bool = False, size: int = 48
    ) -> None:
        super().__init__()
        self.mirror = mirror
        # Area averaging as a matrix, (size, 48): the pooling of the training has no ONNX form for every size.
        area = interpolate(torch.eye(48)[:, None], size, mode="area")[:, 0].T.contiguous()
        self.register_buffer("area", None if size == 48 else area)
        self.model = model
        self.scale, self.offset = 1 / (255 * std), -mean / std
        self.temperature = temperature

    def forward(self, crops: Tensor) -> Tensor:
        """uint8 (N, 48, 48) -> float32 (N, C), rows sum to 1."""
        images = crops.float().unsqueeze(1)
        if self.area is not None:
            images = self.area @ images @ self.area.T
        images = images * self.scale + self.offset
        probabilities = torch.softmax(self.model(images) / self.temperature, 1)
        if self.mirror:
            probabilities = (probabilities + torch.softmax(self.model(images.flip(3)) / self.temperature, 1)) / 2
        return probabilities


def load_network(
    checkpoint: Path, extra: bool = False, variant: Variant | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network of a checkpoint in evaluation mode, and the checkpoint's metadata.

    The FER+ head is blended into the last layer as the recipe says: both read the same features, so that the sum of
    their logits is one layer. Classes that were for training only are dropped unless `extra` keeps them. A variant has
    its own classes, blend and biases.
    """
    with reading(checkpoint):
        return _build_network(*load(checkpoint), extra, variant)


def _build_network(
    tensors: dict[str, Tensor], meta: dict[str, Any], extra: bool, variant: Variant | None
) -> tuple[nn.Module, dict[str, Any]]:
    config = from_dict(meta["config"])
    labels = list(meta["labels"])
    choice = variant or config
    answers = labels if extra else list(CLASSES[variant.classes]) if variant else meta.get("answers", labels)
    label_columns(answers, list(choice.class_bias), "class_bias")  # a bias of a dropped class is a mistake
    tensors = models.fold_votes(tensors, labels, choice.blend, choice.class_bias)
    for name in models.last_layer(tensors):
        tensors[name] = tensors[name][label_columns(labels, answers, "the run")]
    model = models.build(config.network, len(answers), config.width)
    model.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("auxiliary.")})
    return model.eval(), {**meta, "labels": answers}


def export(
    checkpoint: Path, path: Path, version: str, temperature: float = 1.0, confidence_threshold: float = 0.0,
    fold: bool = True, variant: Variant | None = None,
) -> Path:  # fmt: skip
    """Write the fp32 ONNX file of a checkpoint, with the metadata of the model file's contract.

    Args:
        checkpoint: from a run.
        path: of the file.
        version: of the package.
        temperature: divisor of the logits.
        confidence_threshold: top probability below which an answer counts as uncertain, 0..1; above 1 for all.
        variant: write this one of the recipe's variants.
        fold: fold residual additions into their convolutions: the same function with fewer operations.
    """
    model, meta = load_network(checkpoint, variant=variant)
    if isinstance(model, models.Rep):
        model = model.fused(fold)
    config = from_dict(meta["config"])
    size = config.stages[-1].size
    module = ExportModule(model, meta["mean"], meta["std"], temperature, config.mirror, size).eval()
    crops = torch.zeros(2, 48, 48, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            module, (crops,), dynamo=True, input_names=["crops"], output_names=["probabilities"],
            dynamic_shapes={"crops": {0: torch.export.Dim("N")}}, opset_version=18, verbose=False,
        )  # fmt: skip
    assert program is not None
    source = meta.get("source", "FER2013")
    facts = {
        "name": variant.name if variant else meta["config"]["name"],
        "version": version,
        "labels": meta["labels"],
        "mean": meta["mean"],
        "std": meta["std"],
        "temperature": temperature,
        "uncertain_below": confidence_threshold,
        "recipe": meta["config"],
        "data": {"source": source, "train": meta["train"], "valid": meta["valid"], "epoch": meta["epoch"]},
        "license": f"MIT (code and weights); trained on {source}, whose images keep their own terms",
    }
    write_model(program.model_proto, path, facts)
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence PyTorch's exporter, which logs optional packages and warns about its own functions."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def export_all(
    checkpoint: Path, folder: Path, faces: Faces | Mapping[str, Faces], version: str, variant: Variant | None = None
) -> tuple[Path, Path]:
    """Calibrate on PublicTest and write `<name>-fp32.onnx` and `<name>.onnx` (int8); return both paths.

    Temperature (Guo et al. 2017) and threshold of "uncertain" are fitted on the int8 file, the default one; the fp32
    file carries the same. Of several data sets the first decides the temperature, the one with the highest threshold
    the threshold. The recipe's variants are written too.
    """
    with reading(checkpoint):
        _, meta = load(checkpoint)
        config = from_dict(meta["config"])
    name = variant.name if variant else config.name
    full, small = folder / f"{name}-fp32.onnx", folder / f"{name}.onnx"
    sets = list(faces.values()) if isinstance(faces, Mapping) else [faces]
    train = sets[0].split("Training")
    sample = train.images[:: max(1, len(train) // 512)][:512]
    quantize(export(checkpoint, full, version, fold=False, variant=variant), small, sample)
    classifier = OnnxClassifier(small)
    answers = tuple(classifier.labels)
    temperature, threshold = 1.0, 0.0
    for number, item in enumerate(sets):
        valid = item.split("PublicTest").mapped(answers)
        if not number:
            temperature, threshold = calibrate(classifier(valid.images), valid.targets)
        elif len(valid):
            threshold = max(threshold, calibrate(classifier(valid.images), valid.targets, temperature)[1])
    fitted = temperature, threshold
    # A folded addition is a spike in each kernel that uses up the range of the seven bits: the answers of int8 and fp32
    # then differ three times as often (docs/training.md). Only fp32 is folded.
    quantize(export(checkpoint, full, version, *fitted, fold=False, variant=variant), small, sample)
    export(checkpoint, full, version, *fitted, variant=variant)
    for further in () if variant else config.variants:
        export_all(checkpoint, folder, faces, version, further)
    return full, small
