"""The checks of mien doctor, each with what it says when something is wrong."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mien import cli, cli_live, doctor
from mien.doctor import Check, examine

ROOT = Path(__file__).parents[1]


def checks(name: str = "") -> list[Check]:
    return [check for check in examine() if not name or check.name == name]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the prediction, which takes most of the time."""
    monkeypatch.setattr(doctor, "_prediction", lambda: Check("prediction", True, "happy"))


def test_here_everything_essential_works() -> None:
    found = checks()
    assert [check.name for check in found if check.essential and not check.ok] == []
    assert {"Python", "OpenCV", "ONNX Runtime", "model files", "prediction", "cameras", "screen", "current folder"} <= {
        check.name for check in found
    }
    assert all(check.detail for check in found)
    assert all(bool(check.advice) != check.ok for check in found), "advice where it is needed, and only there"
    (prediction,) = checks("prediction")
    assert prediction.detail.startswith("happy")


def test_the_list_of_checksums_is_true_and_whole() -> None:
    listed = dict(reversed(line.split()) for line in doctor.SUMS.read_text().splitlines())
    files = {path.name: path for path in doctor.ASSETS.iterdir() if path != doctor.SUMS}
    true = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert listed == true, "in src/mien/assets: sha256sum *.* > SHA256SUMS"
    notice = (ROOT / "NOTICE").read_text()
    assert [name for name in files if name not in notice] == [], "NOTICE tells the origin and licence of every file"
    weights = (ROOT / "experiments").rglob("*.safetensors")  # not installed, but learned from others' data too
    known = {*true.values(), *(hashlib.sha256(path.read_bytes()).hexdigest() for path in weights)}
    assert set(re.findall(r"[0-9a-f]{64}", notice)) <= known, "a checksum in NOTICE is out of date"


@pytest.mark.usefixtures("quick")
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


@pytest.mark.usefixtures("quick")
def test_two_wheels_of_opencv_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = {"opencv-python": "5.0.0.93", "opencv-python-headless": "4.14.0.94"}
    monkeypatch.setattr(doctor, "_version", lambda wheel: wheels.get(wheel, ""))
    (check,) = checks("OpenCV wheels")
    assert not check.ok
    assert "opencv-python 5.0.0.93, opencv-python-headless 4.14.0.94" in check.detail
    assert "pip uninstall -y opencv-python opencv-python-headless" in check.advice
    del wheels["opencv-python"]
    assert checks("OpenCV wheels") == []


@pytest.mark.usefixtures("quick")
def test_opencv_5_lacks_only_haar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="5.0.0", FaceDetectorYN=object))
    (check,) = checks("OpenCV")
    assert not check.ok and not check.essential and "haar" in check.advice
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace(__version__="4.5.1"))
    (check,) = checks("OpenCV")
    assert not check.ok and check.essential and "YuNet" in check.detail


def test_it_starts_where_opencv_and_onnx_runtime_do_not() -> None:
    code = "import sys; sys.modules.update(cv2=None, onnxruntime=None); sys.argv[1:] = ['doctor']; import mien.cli"
    done = subprocess.run([sys.executable, "-c", f"{code}; mien.cli.main()"], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "mien does not work: see OpenCV, ONNX Runtime, prediction" in done.stdout
    assert done.stderr == ""


@pytest.mark.usefixtures("quick")
def test_extras_are_those_that_the_package_declares(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = [
        "numpy>=1.26",
        "av>=14; extra == 'video'",
        "mien[report]; extra == 'train'",
        "nowhere-to-be-found>=2; extra == 'train'",
        'pyarrow>=17; python_version > "3" and extra == "parquet"',
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: declared)
    monkeypatch.setattr(doctor, "_version", lambda wheel: "" if wheel.startswith("nowhere") else "1.0")
    found = {check.name: check for check in checks() if check.name.startswith("extra")}
    assert list(found) == ["extra video", "extra train", "extra parquet"]
    assert found["extra video"].detail == "av 1.0"
    assert found["extra train"].detail == "without nowhere-to-be-found"
    assert found["extra train"].advice == "pip install 'mien[train]'"

    def absent(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    (check,) = checks("extras")
    assert not check.ok and "pip install -e ." in check.advice


@pytest.mark.usefixtures("quick")
@pytest.mark.skipif(sys.platform != "linux", reason="cameras are looked for on Linux only")
def test_cameras_are_listed_without_being_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "DEVICES", tmp_path)
    (check,) = checks("cameras")
    assert not check.ok and check.detail == "none" and "video file" in check.advice
    os.mkfifo(tmp_path / "video97")  # to open it would wait for ever
    (check,) = checks("cameras")
    assert check.ok and check.detail == f"{tmp_path / 'video97'}"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (check,) = checks("cameras")
    assert not check.ok and "group video" in check.advice


@pytest.mark.usefixtures("quick")
def test_a_folder_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (check,) = checks("current folder")
    assert check.ok and str(tmp_path) in check.detail
    assert list(tmp_path.iterdir()) == []

    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    (check,) = checks("current folder")
    assert not check.ok and not check.essential and "Permission denied" in check.detail


def test_the_command_prints_what_to_do_and_fails_for_what_is_essential(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = [Check("one", True, "fine"), Check("two", False, "none [here]", "buy one")]
    monkeypatch.setattr(doctor, "examine", lambda: found)
    assert cli.app(["doctor"], result_action="return_value") == 0
    text = capsys.readouterr().out
    assert "none [here]" in text and "buy one" in text and "mien works here" in text
    found.append(Check("three", False, "gone", "install it", essential=True))
    assert cli.app(["doctor"], result_action="return_value") == 1
    assert "does not work: see three" in capsys.readouterr().out
    assert cli_live.doctor() == 1
