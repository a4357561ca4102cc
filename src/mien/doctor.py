"""Does everything work here? Checks of the installation and the machine, each with what to do when it fails."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
SUMS = ASSETS / "SHA256SUMS"
DEVICES = Path("/dev")

_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_HEADLESS = "'opencv-python-headless>=4.10,<5'"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what it is.
        ok: whether it is as it should be.
        detail: what was found.
        advice: what to do, or "" when nothing is to be done.
        essential: whether mien cannot work without it.
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""
    essential: bool = False


def examine() -> list[Check]:
    """Look at everything, in about a second; no camera is opened, nothing is downloaded, nothing is left behind."""
    return [
        _python(),
        _opencv(),
        *_twice("OpenCV wheels", _OPENCV, _HEADLESS),
        _runtime(),
        *_twice("ONNX Runtime wheels", ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"), "onnxruntime"),
        *_files(),
        _prediction(),
        *_extras(),
        _screen(),
        _cameras(),
        _folder(),
    ]


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    advice = "" if sys.version_info >= (3, 11) else "mien needs Python 3.11 or newer"
    return Check("Python", not advice, found, advice, essential=True)


def _opencv() -> Check:
    try:
        import cv2
    except ImportError as error:
        return Check("OpenCV", False, str(error), f"pip install --force-reinstall {_HEADLESS}", essential=True)
    if not hasattr(cv2, "FaceDetectorYN"):
        return Check("OpenCV", False, f"{cv2.__version__} without YuNet", f"pip install -U {_HEADLESS}", essential=True)
    if not hasattr(cv2, "CascadeClassifier"):
        advice = f"only the detector haar is missing; if you want it: pip install {_HEADLESS}"
        return Check("OpenCV", False, f"{cv2.__version__}, which has no Haar cascades", advice)
    return Check("OpenCV", True, str(cv2.__version__))


def _twice(name: str, wheels: tuple[str, ...], wanted: str) -> list[Check]:
    """A failed check when several wheels were installed over each other into one folder; else none."""
    found = [f"{wheel} {version}" for wheel in wheels if (version := _version(wheel))]
    if len(found) < 2:
        return []
    names = " ".join(each.split()[0] for each in found)
    advice = f"they overwrite each other's files: pip uninstall -y {names}, then pip install {wanted}"
    return [Check(name, False, ", ".join(found), advice)]


def _runtime() -> Check:
    try:
        import onnxruntime
    except ImportError as error:
        advice = "pip install --force-reinstall onnxruntime"
        return Check("ONNX Runtime", False, str(error), advice, essential=True)
    names = [each.removesuffix("ExecutionProvider") for each in onnxruntime.get_available_providers()]
    return Check("ONNX Runtime", True, f"{onnxruntime.__version__}, providers {', '.join(names)}; mien uses CPU")


def _files() -> Iterator[Check]:
    """The weights against their checksums."""
    advice = "pip install --force-reinstall --no-deps mien"
    if not SUMS.is_file():
        yield Check("model files", False, f"{SUMS} is missing", advice, essential=True)
        return
    sums = [line.split(maxsplit=1) for line in SUMS.read_text("utf-8").splitlines() if line]
    bad = []
    for wanted, name in sums:
        path = ASSETS / name
        if not path.is_file():
            bad.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != wanted:
            bad.append(f"{name} is damaged or another version")
    if bad:
        yield Check("model files", False, "; ".join(bad), advice, essential=True)
    else:
        yield Check("model files", True, f"{len(sums)} files, checksums agree", essential=True)


def _prediction() -> Check:
    """One picture through everything."""
    try:
        from mien.pipeline import load

        pipeline = load()
        faces = pipeline(ASSETS / "portrait.jpg").faces
        found = f"{faces[0].emotion}, {faces[0].confidence:.0%}" if faces else "no face found in the sample picture"
    except Exception as error:  # whatever it is, it is what the user needs to know
        return Check("prediction", False, f"{type(error).__name__}: {error}", "see the lines above", essential=True)
    advice = "" if len(faces) == 1 else "pip install --force-reinstall mien"
    return Check("prediction", not advice, found, advice, essential=True)


def _extras() -> Iterator[Check]:
    """What the optional installs need, as the package itself declares it."""
    try:
        declared = importlib.metadata.requires("mien") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("extras", False, "mien runs from a folder and is not installed", "pip install -e .")
        return
    extras: dict[str, list[str]] = {}
    for line in declared:
        if found := re.fullmatch(r"([\w.-]+)(.*?);.*\bextra == ['\"]([\w-]+)['\"].*", line):
            if found[1] == "mien":
                continue  # another extra, which has a line of its own
            extras.setdefault(found[3], []).append(found[1])
    for extra, wheels in extras.items():
        there = [f"{wheel} {version}" for wheel in wheels if (version := _version(wheel))]
        missing = [wheel for wheel in wheels if not _version(wheel)]
        detail = ", ".join(there) if not missing else f"without {', '.join(missing)}"
        yield Check(f"extra {extra}", not missing, detail, f"pip install 'mien[{extra}]'" if missing else "")


def _screen() -> Check:
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return Check("screen", False, "none", "for mien live use --headless")
    return Check("screen", True, os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY") or "a desktop")


def _cameras() -> Check:
    """Those of Linux by their files: opening one could hang, and would take it from another program."""
    if sys.platform != "linux":
        return Check("cameras", True, f"not looked for on {platform.system()}; mien live 0 opens the first")
    found, closed = [], []
    for device in sorted(DEVICES.glob("video*")):
        about = Path("/sys/class/video4linux") / device.name
        if _read(about / "index") not in ("", "0"):
            continue  # a second file of the same camera, with its settings
        found.append(f"{device} {_read(about / 'name')}".strip())
        closed += [] if os.access(device, os.R_OK | os.W_OK) else [str(device)]
    if not found:
        return Check("cameras", False, "none", "plug one in, or give mien live a video file or the URL of a stream")
    advice = f"no right to read {', '.join(closed)}: add your user to the group video and log in again"
    return Check("cameras", not closed, ", ".join(found), advice if closed else "")


def _folder() -> Check:
    here = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=here):
            return Check("current folder", True, f"{here} can be written")
    except OSError as error:
        advice = "go to a folder of yours, or give full paths to --save and the others"
        return Check("current folder", False, f"{here} cannot be written ({error.strerror})", advice)


def _version(wheel: str) -> str:
    try:
        return importlib.metadata.version(wheel)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""
