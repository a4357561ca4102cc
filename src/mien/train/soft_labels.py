"""Soft labels: the mean answer of several models to the images of a data set, kept in a file of some hundred kB."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces
from mien.errors import ConfigError, DataError
from mien.media import atomic
from mien.media.foreign import parsing
from mien.types import Floats, label_columns


class NamedClassifier(Protocol):
    """A classifier with a name, the hash of its file, and metadata (`recipe`, as JSON)."""

    @property
    def labels(self) -> Sequence[str]: ...

    @property
    def name(self) -> str: ...

    @property
    def sha256(self) -> str: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    def __call__(self, crops: NDArray[np.uint8]) -> Floats: ...


def write_soft_labels(path: Path | str, models: Sequence[NamedClassifier], faces: Faces) -> dict[str, int]:
    """Write the models' mean answer to each image and its mirror image; return how many images each model answered.

    A model that was trained with `folds` answers only the images of the fold that it has not seen; other models answer
    all. Images are identified by their pixels, so that the file serves every layout of the data.
    """
    keys, places = np.unique(faces.keys(), return_index=True)
    images = faces.images[places]
    total, count = np.zeros((len(keys), len(faces.labels)), np.float32), np.zeros(len(keys), np.int64)
    answered: dict[str, int] = {}
    for number, model in enumerate(models):
        columns = label_columns(model.labels, faces.labels, f"the model {model.name}")
        recipe: dict[str, Any] = json.loads(model.metadata.get("recipe") or "{}")
        folds = int(recipe.get("folds") or 0)
        unseen = keys % folds == recipe.get("fold", 0) if folds else np.ones(len(keys), bool)
        answers = (model(images[unseen]) + model(images[unseen][:, :, ::-1]))[:, columns]
        total[unseen] += answers / answers.sum(1, keepdims=True)
        count[unseen] += 1
        answered[f"{number}: {model.name}"] = int(unseen.sum())
    if not count.all():
        raise ConfigError(f"{int((count == 0).sum())} images are in no model's fold: give the models of all folds")
    facts = {
        "labels": list(faces.labels),
        "models": [{"name": model.name, "sha256": model.sha256} for model in models],
        "pictures": answered,
    }
    shares = np.round(total / count[:, None] * 255).astype(np.uint8)
    with atomic.draft(path) as draft, draft.open("wb") as stream:
        np.savez_compressed(stream, keys=keys, shares=shares, facts=np.array(json.dumps(facts)))
    return answered


def read_soft_labels(path: Path | str, faces: Faces) -> Floats:
    """Return the soft labels of these images: float32 (N, C) in the order of their labels, rows sum to 1."""
    with parsing(path, DataError, "no file of soft labels", "make one with mien data soft-labels"):
        with np.load(path, allow_pickle=False) as packed:
            keys, shares, facts = packed["keys"], packed["shares"], json.loads(str(packed["facts"]))
        if keys.dtype != np.uint64 or not len(keys) or shares.shape != (len(keys), len(facts["labels"])):
            raise ValueError("its arrays do not fit together")
        if shares.dtype != np.uint8 or not shares.any(1).all():
            raise ValueError("an image without an answer")
        columns = label_columns(facts["labels"], faces.labels, f"the soft labels {path}")
    own = faces.keys()
    places = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
    unknown = int((keys[places] != own).sum())
    if unknown:
        raise DataError(f"{path} lacks {unknown} of {len(own)} images: it was made from other data")
    soft: NDArray[np.float32] = shares[places][:, columns].astype(np.float32)
    soft /= soft.sum(1, keepdims=True)
    return soft
