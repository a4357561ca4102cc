"""torch and ONNX give the same probabilities; the file keeps the contract."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.data.faces import Faces
from mien.evaluation import calibration
from mien.evaluation.metrics import evaluate
from mien.faces.classifier import OnnxClassifier
from mien.train import checkpoint, export, models, quantize
from mien.train.augment import normalize
from mien.train.config import Stage, TrainConfig
from mien.types import EMOTIONS

pytestmark = pytest.mark.filterwarnings("ignore")  # the exporter and the quantiser warn about their own insides


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("export")
    net = models.build("baseline", 5)
    net.train()
    with torch.no_grad():
        net(torch.randn(16, 1, 48, 48))  # moves the batch-norm statistics off their start
    meta = {"config": TrainConfig().to_dict(), "labels": list(EMOTIONS), "mean": 0.5, "std": 0.25}
    checkpoint.save(folder / "best.safetensors", net.state_dict(), {**meta, "train": 1, "valid": 1, "epoch": 1})
    full = export.export(
        folder / "best.safetensors", folder / "fp32.onnx", "1.2.3", temperature=1.5, confidence_threshold=0.4
    )
    crops = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
    return folder / "best.safetensors", full, quantize.quantize(full, folder / "int8.onnx", crops)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_fp32_equals_torch(files: tuple[Path, Path, Path], count: int) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (count, 48, 48), dtype=np.uint8)
    net, meta = export.load_network(files[0])
    with torch.no_grad():
        truth = export.ExportModule(net, meta["mean"], meta["std"], 1.5)(torch.from_numpy(crops)).numpy()
    np.testing.assert_allclose(OnnxClassifier(files[1])(crops), truth, atol=1e-5)


def test_int8_stays_near_fp32_and_is_a_quarter_of_its_size(files: tuple[Path, Path, Path]) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (16, 48, 48), dtype=np.uint8)
    np.testing.assert_allclose(OnnxClassifier(files[2])(crops), OnnxClassifier(files[1])(crops), atol=0.1)
    assert files[2].stat().st_size < 0.3 * files[1].stat().st_size


def test_metadata_keeps_the_contract(files: tuple[Path, Path, Path]) -> None:
    for path in files[1:]:
        facts = OnnxClassifier(path).metadata
        expected = {
            "labels",
            "name",
            "version",
            "mean",
            "std",
            "temperature",
            "uncertain_below",
            "recipe",
            "data",
            "license",
        }
        assert expected <= set(facts)
        assert json.loads(facts["labels"]) == list(EMOTIONS)
        assert float(facts["temperature"]) == 1.5
        assert OnnxClassifier(path).confidence_threshold == 0.4


def test_model_files_contain_no_local_path(files: tuple[Path, Path, Path]) -> None:
    for path in files[1:]:
        content = path.read_bytes()
        assert b"site-packages" not in content
        assert b"/mien/" not in content


def test_export_all_calibrates_both_files_on_publictest(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (160, 48, 48), dtype=np.uint8)
    splits = np.repeat(np.array([0, 1], np.int8), 80)
    names = np.array([str(i) for i in range(160)])
    # Two in three PublicTest labels are what the network says: it is right 2/3 of the time.
    said = OnnxClassifier(files[1])(images).argmax(1)
    targets = np.where(np.arange(160) % 3 < 2, said, (said + 1) % 5).astype(np.int64)
    faces = Faces(images, targets, splits, names, EMOTIONS)
    full, small = export.export_all(files[0], tmp_path, faces, "1.0.0")
    facts = [OnnxClassifier(path).metadata for path in (full, small)]
    assert facts[0]["temperature"] == facts[1]["temperature"] != "1.0"
    assert facts[0]["uncertain_below"] == facts[1]["uncertain_below"]
    assert 0 <= float(facts[0]["uncertain_below"]) <= 1
    valid = faces.split("PublicTest")
    fitted = evaluate(OnnxClassifier(small)(valid.images), valid.targets, list(EMOTIONS))
    raw = evaluate(
        OnnxClassifier(
            quantize.quantize(export.export(files[0], tmp_path / "a.onnx", "1"), tmp_path / "b.onnx", images)
        )(valid.images),
        valid.targets,
        list(EMOTIONS),
    )
    assert fitted.nll <= raw.nll


def test_calibration_does_not_sharpen_a_perfect_model() -> None:
    answers = np.array([[0.6, 0.4], [0.3, 0.7], [0.8, 0.2]], np.float32)
    assert calibration.calibrate(answers, np.array([0, 1, 0]))[0] == 1.0
    assert calibration.calibrate(answers, np.array([0, 1, 1]))[0] > 1.0


@pytest.mark.parametrize(("network", "size"), [("rep", 32), ("rep", 40), ("baseline", 32), ("baseline", 40)])
def test_export_resizes_crops_as_in_training(tmp_path: Path, network: str, size: int) -> None:
    torch.manual_seed(0)
    net = models.build(network, 5).train()
    with torch.no_grad():
        net(torch.randn(16, 1, size, size))
    meta = {"config": TrainConfig(network=network, stages=(Stage(size=size),)).to_dict(), "labels": list(EMOTIONS)}
    meta |= {"mean": 0.5, "std": 0.25, "train": 1, "valid": 1, "epoch": 1}
    checkpoint.save(tmp_path / "best.safetensors", net.state_dict(), meta)
    crops = np.random.default_rng(1).integers(0, 256, (7, 48, 48), dtype=np.uint8)
    with torch.no_grad():
        pictures = normalize(torch.from_numpy(crops)[:, None].float() / 255, 0.5, 0.25, size)
        truth = torch.softmax(net.eval()(pictures), 1).numpy()
    answers = OnnxClassifier(export.export(tmp_path / "best.safetensors", tmp_path / "small.onnx", "1"))(crops)
    np.testing.assert_allclose(answers, truth, atol=1e-5)


def test_exporter_log_is_silenced() -> None:
    log = logging.getLogger("torch.onnx._internal.exporter")
    with export._quiet():
        assert not log.isEnabledFor(logging.WARNING)
    assert log.isEnabledFor(logging.WARNING)
