"""Checkpoint -> ONNX, preprocessing and softmax inside: uint8 crops in, float32 probabilities out; fp32 and int8."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mien import files
from mien.classify import OnnxClassifier
from mien.metrics import apply_temperature, fit_temperature, reliable_from
from mien.train import data, lessons, models, store
from mien.train.config import from_dict
from mien.types import Floats


class Deployed(nn.Module):
    """A network with all that surrounds it in use.

    Args:
        model: normalised float (N, 1, 48, 48) -> logits (N, C).
        mean: of the training pixels, 0..1.
        std: of the training pixels, 0..1.
        temperature: the logits are divided by it (Guo et al. 2017).
        mirror: answer with the mean over the picture and its mirror image.
        size: side of the pictures that the network has learned from; crops are brought to it as in training.
    """

    area: Tensor | None

    def __init__(
        self, model: nn.Module, mean: float, std: float, temperature: float = 1.0, mirror: bool = False, size: int = 48
    ) -> None:
        super().__init__()
        self.mirror = mirror
        # Area averaging as a matrix, (size, 48): the pooling that does it in training has no ONNX for every size.
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
        answers = torch.softmax(self.model(images) / self.temperature, 1)
        if self.mirror:
            answers = (answers + torch.softmax(self.model(images.flip(3)) / self.temperature, 1)) / 2
        return answers


def load_network(checkpoint: Path, extra: bool = False) -> tuple[nn.Module, dict[str, Any]]:
    """The trained network of a checkpoint as it is used, in evaluation mode, and the checkpoint's facts.

    It takes normalised pictures of the last stage's size, (N, 1, S, S), and gives logits.

    The FER+ head is blended into the last layer as far as the recipe says: both read the same features, so that the sum
    of their logits is one layer. Classes that were only there to learn from are dropped, unless `extra` keeps them.
    """
    tensors, meta = store.load(checkpoint)
    config = from_dict(meta["config"])
    labels = list(meta["labels"])
    head = [name for name in tensors if name.startswith("head.")][-2:]
    if config.blend:
        names = [data.FERPLUS_NAMES.get(name, name) for name in data.FERPLUS[: lessons.EMOTION_VOTES]]
        rows = [names.index(label) for label in labels]
        for name in head:
            tensors[name] = tensors[name] + config.blend * tensors["auxiliary.2." + name.split(".")[-1]][rows]
    answers = labels if extra else meta.get("answers", labels)
    for name in head:
        tensors[name] = tensors[name][[labels.index(label) for label in answers]]
    model = models.build(config.network, len(answers))
    model.load_state_dict({name: value for name, value in tensors.items() if not name.startswith("auxiliary.")})
    return model.eval(), {**meta, "labels": answers}


def export(
    checkpoint: Path, path: Path, version: str, temperature: float = 1.0, uncertain_below: float = 0.0,
    fold: bool = True,
) -> Path:  # fmt: skip
    """Write the fp32 ONNX file of a checkpoint, with the metadata of the model file's contract.

    Args:
        checkpoint: from a run.
        path: of the file.
        version: of the package.
        temperature: see `Deployed`.
        uncertain_below: top probability below which an answer counts as uncertain.
        fold: fold a residual addition into its convolution: the same function, fewer operations.
    """
    model, meta = load_network(checkpoint)
    if isinstance(model, models.Rep):
        model = model.fused(fold)
    config = from_dict(meta["config"])
    size = config.stages[-1].size
    deployed = Deployed(model, meta["mean"], meta["std"], temperature, config.mirror, size).eval()
    crops = torch.zeros(2, 48, 48, dtype=torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        program = torch.onnx.export(
            deployed, (crops,), dynamo=True, input_names=["crops"], output_names=["probabilities"],
            dynamic_shapes={"crops": {0: torch.export.Dim("N")}}, opset_version=18, verbose=False,
        )  # fmt: skip
    assert program is not None
    graph = program.model_proto
    source = meta.get("source", "FER2013")
    facts = {
        "name": meta["config"]["name"],
        "version": version,
        "labels": meta["labels"],
        "mean": meta["mean"],
        "std": meta["std"],
        "temperature": temperature,
        "uncertain_below": uncertain_below,
        "recipe": meta["config"],
        "data": {"source": source, "train": meta["train"], "valid": meta["valid"], "epoch": meta["epoch"]},
        "license": f"MIT (code and weights); trained on {source}, whose images keep their own terms",
    }
    _write(graph, path, facts)
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what PyTorch's exporter says of itself: packages that it would know, and functions it should not use."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


RELIABLE = 0.85
"""Answers that are not marked uncertain are right at least this often on PublicTest."""


def ship(checkpoint: Path, folder: Path, faces: data.Faces, version: str) -> tuple[Path, Path]:
    """Calibrate on PublicTest and write the model files, fp32 and int8.

    The temperature (Guo et al. 2017) and the threshold of "uncertain" are both fitted on the int8 file, which is the
    one that is used; the fp32 file carries the same.

    Args:
        checkpoint: the best one of a run.
        folder: gets `<name>-fp32.onnx` and `<name>.onnx` (int8).
        faces: the data of the run.
        version: of the package.

    Returns:
        Paths of the fp32 and of the int8 file.
    """
    _, meta = store.load(checkpoint)
    name = meta["config"]["name"]
    full, small = folder / f"{name}-fp32.onnx", folder / f"{name}.onnx"
    answers = tuple(meta.get("answers", meta["labels"]))
    train, valid = faces.split("Training"), faces.split("PublicTest").with_labels(answers)
    sample = train.images[:: max(1, len(train) // 512)][:512]
    quantise(export(checkpoint, full, version, fold=False), small, sample)
    fitted = calibration(OnnxClassifier(small)(valid.images), valid.targets)
    # A folded addition is a spike in the middle of each kernel that takes the range of the seven bits: the int8 file
    # then gives another answer than fp32 three times as often (benchmarks/quantisation.py). Only fp32 is folded.
    quantise(export(checkpoint, full, version, *fitted, fold=False), small, sample)
    return export(checkpoint, full, version, *fitted), small


def calibration(probabilities: Floats, truth: NDArray[np.int64]) -> tuple[float, float]:
    """Temperature and threshold of "uncertain" for a model, from its answers without either.

    Where all answers are right, as on a handful of pictures they may be, the best temperature would be the least one,
    and the model sure of everything: it is left at 1.

    Args:
        probabilities: float (N, C), rows sum to 1.
        truth: int (N,).
    """
    raw = np.log(np.clip(probabilities, 1e-12, 1))
    temperature = 1.0 if (raw.argmax(1) == truth).all() else fit_temperature(raw, truth)
    threshold = reliable_from(apply_temperature(np.exp(raw), temperature), truth, RELIABLE)
    return round(temperature, 4), round(threshold, 4)


def quantise(source: Path, path: Path, crops: NDArray[np.uint8]) -> Path:
    """Static int8 (QDQ, per channel), calibrated on training crops; the rarest 0.01 % of the activations are clipped.

    Weights are held to seven bits: without VNNI, eight-bit products saturate in 16-bit sums.

    Args:
        source: the fp32 file.
        path: where the int8 file goes.
        crops: uint8 (N, 48, 48), some hundreds of training pictures.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            size = min(64, len(crops))  # the histograms want parts of one size: what is left over is left out
            self.parts = iter([{"crops": crops[i : i + size]} for i in range(0, len(crops) - size + 1, size)])

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            return next(self.parts, None)

    facts = {entry.key: entry.value for entry in onnx.load(source).metadata_props}
    with tempfile.TemporaryDirectory() as folder:
        ready, quantised = Path(folder) / "ready.onnx", Path(folder) / "int8.onnx"
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        with redirect_stdout(StringIO()):
            quantize_static(
                str(ready), str(quantised), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                reduce_range=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", "Gemm", "MaxPool", "Add", "Relu"],
                nodes_to_exclude=_exact(onnx.load(ready)), calibrate_method=CalibrationMethod.Percentile,
                extra_options={"CalibPercentile": 99.99},
            )  # fmt: skip
        _write(onnx.load(quantised), path, facts)
    return path


def _exact(graph: onnx.ModelProto) -> list[str]:
    """Names of the nodes that stay fp32: the normalisation of the pixels and the first convolution.

    All that follows depends on them, and with one channel to read, int8 is the slower of the two.
    """
    constants = {value.name for value in graph.graph.initializer}
    additions = [node.name for node in graph.graph.node if node.op_type == "Add" and constants & set(node.input)]
    return additions + [node.name for node in graph.graph.node if node.op_type == "Conv"][:1]


def _write(graph: onnx.ModelProto, path: Path, facts: Mapping[str, Any]) -> None:
    del graph.metadata_props[:]
    for node in graph.graph.node:  # the exporter notes stack traces with machine paths in each node
        del node.metadata_props[:]
        node.doc_string = ""
    for value in [*graph.graph.value_info, *graph.graph.input, *graph.graph.output, *graph.graph.initializer]:
        del value.metadata_props[:]
    del graph.graph.metadata_props[:]
    graph.producer_name, graph.doc_string = "mien", ""
    for key, value in facts.items():
        text = value if isinstance(value, str) else json.dumps(value)
        graph.metadata_props.add(key=key, value=text)
    onnx.checker.check_model(graph)
    with files.draft(path) as place:
        onnx.save(graph, str(place))
