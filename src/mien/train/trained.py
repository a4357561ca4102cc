"""A checkpoint that answers pictures, on the GPU where there is one, without the way through an ONNX file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mien.train.config import from_dict
from mien.train.export import load_network
from mien.train.loop import prepare
from mien.types import Floats


class Trained:
    """A `best.safetensors` as a classifier, with all classes that it was trained on.

    Args:
        checkpoint: of a run.
        block: pictures a pass.

    Raises:
        ModelError: missing, damaged, or not written by mien.
    """

    def __init__(self, checkpoint: Path, block: int = 512) -> None:
        network, meta = load_network(checkpoint, extra=True)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = network.to(self.device)
        self.labels = tuple(meta["labels"])
        self.name: str = meta["config"]["name"]
        self.sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        self.metadata = {"recipe": json.dumps(meta["config"])}
        self._mean, self._std, self._block = meta["mean"], meta["std"], block
        self._size = from_dict(meta["config"]).stages[-1].size

    @torch.no_grad()
    def __call__(self, crops: NDArray[np.uint8]) -> Floats:
        """uint8 (N, 48, 48) -> float32 (N, C), rows sum to 1."""
        answers = []
        for part in torch.split(torch.from_numpy(np.ascontiguousarray(crops))[:, None], self._block):
            batch = prepare(part.to(self.device).float() / 255, self._mean, self._std, self._size)
            answers.append(torch.softmax(self.network(batch).float(), 1).cpu())
        found: Floats = torch.cat(answers).numpy()
        return found
