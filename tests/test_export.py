"""torch and ONNX give the same probabilities; the file keeps the contract."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.classify import OnnxClassifier
from mien.metrics import evaluate
from mien.train import data, export, loop, models, store
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
    store.save(folder / "best.safetensors", net.state_dict(), {**meta, "train": 1, "valid": 1, "epoch": 1})
    full = export.export(
        folder / "best.safetensors", folder / "fp32.onnx", "1.2.3", temperature=1.5, uncertain_below=0.4
    )
    crops = np.random.default_rng(0).integers(0, 256, (64, 48, 48), dtype=np.uint8)
    return folder / "best.safetensors", full, export.quantise(full, folder / "int8.onnx", crops)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_fp32_equals_torch(files: tuple[Path, Path, Path], count: int) -> None:
    crops = np.random.default_rng(1).integers(0, 256, (count, 48, 48), dtype=np.uint8)
    net, meta = export.load_network(files[0])
    with torch.no_grad():
        truth = export.Deployed(net, meta["mean"], meta["std"], 1.5)(torch.from_numpy(crops)).numpy()
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
        assert OnnxClassifier(path).uncertain_below == 0.4


def test_files_hold_no_path_of_the_machine(files: tuple[Path, Path, Path]) -> None:
    for path in files[1:]:
        content = path.read_bytes()
        assert b"site-packages" not in content
        assert b"/mien/" not in content


def test_shipping_calibrates_on_publictest_and_writes_it_into_both_files(
    files: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (160, 48, 48), dtype=np.uint8)
    splits = np.repeat(np.array([0, 1], np.int8), 80)
    names = np.array([str(i) for i in range(160)])
    # Two in three PublicTest labels are what the network says: it is right 2/3 of the time.
    said = OnnxClassifier(files[1])(images).argmax(1)
    targets = np.where(np.arange(160) % 3 < 2, said, (said + 1) % 5).astype(np.int64)
    faces = data.Faces(images, targets, splits, names, EMOTIONS)
    full, small = export.ship(files[0], tmp_path, faces, "1.0.0")
    facts = [OnnxClassifier(path).metadata for path in (full, small)]
    assert facts[0]["temperature"] == facts[1]["temperature"] != "1.0"
    assert facts[0]["uncertain_below"] == facts[1]["uncertain_below"]
    assert 0 <= float(facts[0]["uncertain_below"]) <= 1
    valid = faces.split("PublicTest")
    fitted = evaluate(OnnxClassifier(small)(valid.images), valid.targets, list(EMOTIONS))
    raw = evaluate(
        OnnxClassifier(export.quantise(export.export(files[0], tmp_path / "a.onnx", "1"), tmp_path / "b.onnx", images))(
            valid.images
        ),
        valid.targets,
        list(EMOTIONS),
    )
    assert fitted.nll <= raw.nll


def test_a_model_that_is_always_right_is_not_made_sure_of_everything() -> None:
    answers = np.array([[0.6, 0.4], [0.3, 0.7], [0.8, 0.2]], np.float32)
    assert export.calibration(answers, np.array([0, 1, 0]))[0] == 1.0
    assert export.calibration(answers, np.array([0, 1, 1]))[0] > 1.0


@pytest.mark.parametrize(
    ("network", "size"), [("rep", 32), ("rep", 40), ("baseline", 32), ("baseline", 40), ("mobilenet", 48)]
)
def test_a_network_of_smaller_pictures_sees_them_as_in_training(tmp_path: Path, network: str, size: int) -> None:
    torch.manual_seed(0)
    net = models.build(network, 5).train()
    with torch.no_grad():
        net(torch.randn(16, 1, size, size))
    meta = {"config": TrainConfig(network=network, stages=(Stage(size=size),)).to_dict(), "labels": list(EMOTIONS)}
    meta |= {"mean": 0.5, "std": 0.25, "train": 1, "valid": 1, "epoch": 1}
    store.save(tmp_path / "best.safetensors", net.state_dict(), meta)
    crops = np.random.default_rng(1).integers(0, 256, (7, 48, 48), dtype=np.uint8)
    with torch.no_grad():
        pictures = loop.prepare(torch.from_numpy(crops)[:, None].float() / 255, 0.5, 0.25, size)
        truth = torch.softmax(net.eval()(pictures), 1).numpy()
    answers = OnnxClassifier(export.export(tmp_path / "best.safetensors", tmp_path / "small.onnx", "1"))(crops)
    np.testing.assert_allclose(answers, truth, atol=1e-5)


def test_the_exporter_is_quiet_while_it_works() -> None:
    log = logging.getLogger("torch.onnx._internal.exporter")
    with export._quiet():
        assert not log.isEnabledFor(logging.WARNING)
    assert log.isEnabledFor(logging.WARNING)
