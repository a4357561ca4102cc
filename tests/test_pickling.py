"""Pipelines in other processes and threads, and classifiers and settings of a user's own."""

from __future__ import annotations

import asyncio
import copy
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mien
from mien import ConfigError, Face, ModelError, Pipeline
from mien.faces import onnx
from mien.personal.prior import PersonalClassifier, PriorShift

PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


class Whole:
    """A detector that takes the whole image for a face."""

    name = "whole"

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [Face((0, 0, image.shape[1], image.shape[0]))]


class Lists:
    """A classifier that returns lists."""

    labels, confidence_threshold = ["dark", "bright"], 0.6

    def __call__(self, crops: np.ndarray) -> list[list[float]]:
        return [[1 - crop.mean() / 255, crop.mean() / 255] for crop in crops]


class Unpicklable(Lists):
    def __init__(self) -> None:
        self.lock = (value for value in ())


@pytest.mark.parametrize("detector", ["yunet", "haar", "mtcnn"])
def test_pipeline_is_pickled_by_name_and_options(detector: str) -> None:
    pipeline = mien.load("mien-xs", detector, min_face=60, threads=1)
    pipeline.margin = 0.1
    data = pickle.dumps(pipeline)
    again = pickle.loads(data)
    assert len(data) < 5_000
    assert repr(again) == repr(pipeline) == f"Pipeline(model='mien-xs', detector='{detector}')"
    assert again(PORTRAIT) == pipeline(PORTRAIT)
    assert copy.deepcopy(pipeline)(PORTRAIT) == pipeline(PORTRAIT)


def test_model_file_is_loaded_again_from_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(onnx.ASSETS / "mien-xs.onnx", tmp_path / "mine.onnx")
    monkeypatch.chdir(tmp_path)
    pipeline = mien.load("mine.onnx", threads=1)
    pipeline.classifier.confidence_threshold = 0.99  # type: ignore[misc]
    data = pickle.dumps(pipeline)
    monkeypatch.chdir("/")
    again = pickle.loads(data)
    assert again(PORTRAIT) == pipeline(PORTRAIT) and again(PORTRAIT)[0].confidence_threshold == 0.99
    shutil.copy(onnx.ASSETS / "mien-s.onnx", tmp_path / "mine.onnx")
    with pytest.raises(ModelError, match=r"mine\.onnx: another file than the one that was pickled"):
        pickle.loads(data)
    (tmp_path / "mine.onnx").unlink()
    with pytest.raises(ModelError, match=r"mine\.onnx"):
        pickle.loads(data)


def test_ensembles_and_profiles_are_pickled() -> None:
    pipeline = mien.load("mien-s+mien-xs", threads=1)
    assert pickle.loads(pickle.dumps(pipeline))(PORTRAIT) == pipeline(PORTRAIT)
    shift = PriorShift(dict.fromkeys(pipeline.classifier.labels, 0.5))
    personal = Pipeline(pipeline.detector, PersonalClassifier(pipeline.classifier, shift))
    assert pickle.loads(pickle.dumps(personal))(PORTRAIT) == personal(PORTRAIT)


def test_own_objects_are_pickled_or_refused_with_advice() -> None:
    image = np.full((60, 60, 3), 200, np.uint8)
    pipeline = Pipeline(Whole(), Lists())  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(pipeline))(image) == pipeline(image)
    with pytest.raises(ConfigError, match=r"the classifier Unpicklable cannot be pickled.*in each process"):
        pickle.dumps(Pipeline(Whole(), Unpicklable()))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the detector function cannot be pickled"):
        pickle.dumps(Pipeline(lambda image: [], Lists()))  # type: ignore[arg-type]
    caller: dict[str, Any] = {"__name__": "ray.cloudpickle.cloudpickle", "dumps": pickle.dumps}
    exec("def dump(value): return dumps(value)", caller)
    with pytest.raises(TypeError):  # cloudpickle pickles more: the error is its own
        caller["dump"](Pipeline(Whole(), Unpicklable()))  # type: ignore[arg-type]


def test_pipeline_works_in_spawned_processes() -> None:
    pipeline = mien.load(threads=1)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        results = list(pool.map(pipeline, [PORTRAIT, str(PORTRAIT)]))
    assert results == [pipeline(PORTRAIT)] * 2


def test_threads_share_a_pipeline() -> None:
    pipeline = mien.load(threads=1)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(pipeline, [PORTRAIT] * 8))
    assert results == [pipeline(PORTRAIT)] * 8


def test_event_loop_stays_free_in_a_thread() -> None:
    pipeline = mien.load(threads=1)

    async def both() -> list[mien.Result]:
        return list(await asyncio.gather(*(asyncio.to_thread(pipeline, PORTRAIT) for _ in range(2))))

    assert asyncio.run(both()) == [pipeline(PORTRAIT)] * 2


def test_classifier_may_return_lists() -> None:
    result = Pipeline(Whole(), Lists())(np.full((60, 60, 3), 255, np.uint8))  # type: ignore[arg-type]
    assert result[0].emotion == "bright" and result[0].probabilities == {"dark": 0.0, "bright": 1.0}


def test_answer_of_another_shape_is_refused() -> None:
    class Wrong(Lists):
        def __call__(self, crops: np.ndarray) -> Any:
            return [0.5, 0.5]

    with pytest.raises(ConfigError, match=r"returned \(2,\) for 1 crops and 2 labels"):
        Pipeline(Whole(), Wrong())(np.zeros((60, 60, 3), np.uint8))  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [-1, 0])
@pytest.mark.parametrize("detector", ["yunet", "haar", "mtcnn"])
def test_impossible_number_of_threads_is_refused(threads: int, detector: str) -> None:
    with pytest.raises(ConfigError, match=f"threads is {threads}; give 1 or more"):
        mien.load(detector=detector, threads=threads)
