"""The checks of `mien doctor` and their advice."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from mien import doctor
from mien.cli import main
from mien.cli.doctor import doctor as command
from mien.doctor import Check, examine

ROOT = Path(__file__).parents[1]


def checks(name: str = "") -> list[Check]:
    return [check for check in examine() if not name or check.name == name]


@pytest.fixture
def no_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the prediction, which takes most of the time."""
    monkeypatch.setattr(doctor, "_prediction", lambda: Check("prediction", True, "happy"))


def test_essential_checks_pass_here() -> None:
    results = checks()
    assert [check.name for check in results if check.essential and not check.ok] == []
    assert {
        "Python",
        "OpenCV",
        "Pillow",
        "PyAV",
        "ONNX Runtime",
        "model files",
        "prediction",
        "cameras",
        "screen",
        "current folder",
    } <= {check.name for check in results}
    assert all(check.detail for check in results)
    assert all(bool(check.advice) != check.ok for check in results), "advice exactly where a check fails"
    (prediction,) = checks("prediction")
    assert prediction.detail.startswith("happy")


def test_checksums_and_notice_cover_all_assets() -> None:
    listed = dict(reversed(line.split()) for line in doctor.SUMS.read_text().splitlines())
    files = {path.name: path for path in doctor.ASSETS.iterdir() if path != doctor.SUMS}
    true = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert listed == true, "in src/mien/assets: sha256sum *.* > SHA256SUMS"
    notice = (ROOT / "NOTICE").read_text()
    assert [name for name in files if name not in notice] == [], "NOTICE must name the origin and licence of every file"
    weights = [path for kind in ("safetensors", "onnx") for path in (ROOT / "experiments").rglob(f"*.{kind}")]
    known = {*true.values(), *(hashlib.sha256(path.read_bytes()).hexdigest() for path in weights)}
    assert set(re.findall(r"[0-9a-f]{64}", notice)) <= known, "a checksum in NOTICE is out of date"


@pytest.mark.usefixtures("no_prediction")
def test_damaged_and_missing_files_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    copy = tmp_path / "assets"
    shutil.copytree(doctor.ASSETS, copy)
    monkeypatch.setattr(doctor, "ASSETS", copy)
    monkeypatch.setattr(doctor, "SUMS", copy / "SHA256SUMS")
    (copy / "mtcnn_pnet.onnx").write_bytes(b"damaged")
    (copy / "mtcnn_rnet.onnx").unlink()
    (check,) = checks("model files")
    assert not check.ok and check.essential and "pip install" in check.advice
    assert check.detail == "mtcnn_pnet.onnx is damaged or another version; mtcnn_rnet.onnx is missing"
    (copy / "SHA256SUMS").unlink()
    (check,) = checks("model files")
    assert not check.ok and "SHA256SUMS" in check.detail


@pytest.mark.usefixtures("no_prediction")
def test_two_opencv_wheels_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = {"opencv-python": "5.0.0.93", "opencv-python-headless": "4.14.0.94"}
    monkeypatch.setattr(doctor, "_version", lambda wheel: wheels.get(wheel, ""))
    (check,) = checks("OpenCV wheels")
    assert not check.ok
    assert "opencv-python 5.0.0.93, opencv-python-headless 4.14.0.94" in check.detail
    assert "pip uninstall -y opencv-python opencv-python-headless" in check.advice
    del wheels["opencv-python"]
    assert checks("OpenCV wheels") == []


@pytest.mark.usefixtures("no_prediction")
def test_opencv_5_lacks_only_haar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="5.0.0", FaceDetectorYN=object))
    (check,) = checks("OpenCV")
    assert not check.ok and not check.essential and "haar" in check.advice
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="4.5.1"))
    (check,) = checks("OpenCV")
    assert not check.ok and check.essential and "YuNet" in check.detail


@pytest.mark.usefixtures("no_prediction")
def test_doctor_checks_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = checks("PyAV")
    assert check.ok and "FFmpeg" in check.detail
    monkeypatch.setitem(sys.modules, "av", SimpleNamespace(__version__="14.0.1"))
    (check,) = checks("PyAV")
    assert not check.ok and check.essential and (check.detail, check.advice) == ("14.0.1", "pip install -U 'av>=18'")
    monkeypatch.setitem(sys.modules, "av", None)
    (check,) = checks("PyAV")
    assert not check.ok and check.essential and "pip install" in check.advice


def test_lowest_versions_of_the_doctor_are_those_of_the_package() -> None:
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    assert {f"'{line}'" for line in lines} >= {doctor._HEADLESS, doctor._PILLOW, doctor._PYAV}


def test_doctor_runs_without_opencv_pyav_and_onnx_runtime() -> None:
    without = "import sys; sys.modules.update(cv2=None, av=None, onnxruntime=None); sys.argv[1:] = ['doctor']"
    code = f"{without}; import mien.cli.main; mien.cli.main.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "mien does not work: see OpenCV, PyAV, ONNX Runtime, prediction" in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("no_prediction")
def test_extras_are_read_from_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = [
        "numpy>=1.26",
        "av>=14; extra == 'video'",
        "mien[report]; extra == 'train'",
        "no-such-wheel>=2; extra == 'train'",
        'pyarrow>=17; python_version > "3" and extra == "parquet"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    monkeypatch.setattr(doctor, "_version", lambda wheel: "" if wheel.startswith("no-such") else "1.0")
    results = {check.name: check for check in checks() if check.name.startswith("extra")}
    assert list(results) == ["extra video", "extra train", "extra parquet"]
    assert results["extra video"].detail == "av 1.0"
    assert results["extra train"].detail == "without no-such-wheel"
    assert results["extra train"].advice == "pip install 'mien[train]'"

    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    (check,) = checks("extras")
    assert not check.ok and "pip install -e ." in check.advice


@pytest.mark.usefixtures("no_prediction")
@pytest.mark.skipif(sys.platform != "linux", reason="cameras are looked for on Linux only")
def test_cameras_are_listed_without_opening_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "DEVICES", tmp_path)
    (check,) = checks("cameras")
    assert not check.ok and check.detail == "none" and "video file" in check.advice
    os.mkfifo(tmp_path / "video97")  # opening it would block
    (check,) = checks("cameras")
    assert check.ok and check.detail == f"{tmp_path / 'video97'}"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (check,) = checks("cameras")
    assert not check.ok and "group video" in check.advice


@pytest.mark.usefixtures("no_prediction")
def test_read_only_folder_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (check,) = checks("current folder")
    assert check.ok and str(tmp_path) in check.detail
    assert list(tmp_path.iterdir()) == []

    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    (check,) = checks("current folder")
    assert not check.ok and not check.essential and "Permission denied" in check.detail


def test_doctor_prints_advice_and_fails_for_essentials(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [Check("one", True, "fine"), Check("two", False, "none [here]", "buy one")]
    monkeypatch.setattr(doctor, "examine", lambda: results)
    assert main.app(["doctor"], result_action="return_value") == 0
    text = capsys.readouterr().out
    assert "none [here]" in text and "buy one" in text and "mien works here" in text
    results.append(Check("three", False, "gone", "install it", essential=True))
    assert main.app(["doctor"], result_action="return_value") == 1
    assert "does not work: see three" in capsys.readouterr().out
    assert command() == 1
