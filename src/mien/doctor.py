"""Checks of the installation and the machine, each with advice for when it fails."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.faces.cores import cores

ASSETS = Path(__file__).parent / "assets"
SUMS = ASSETS / "SHA256SUMS"
DEVICES = Path("/dev")
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_HEADLESS = "'opencv-python-headless>=4.10.0.84,<5'"
_PILLOW = "'pillow>=12.2'"
_PYAV = "'av>=18'"


@dataclass(frozen=True, slots=True)
class Check:
    """One result; `advice` is "" when nothing is to be done, and mien cannot work without what is `essential`."""

    name: str
    ok: bool
    detail: str
    advice: str = ""
    essential: bool = False


def examine() -> list[Check]:
    """Run all checks, in about a second; opens no camera, downloads nothing, leaves nothing behind."""
    return [
        _python(),
        _opencv(),
        *_duplicates("OpenCV wheels", _OPENCV, _HEADLESS),
        _pillow(),
        _pyav(),
        _runtime(),
        *_duplicates("ONNX Runtime wheels", ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml"), "onnxruntime"),
        _files(),
        _prediction(),
        *_extras(),
        _screen(),
        _cameras(),
        _folder(),
    ]


def _python() -> Check:
    detail = (
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, {cores()} of {os.cpu_count()} cores"
    )
    advice = "" if sys.version_info >= (3, 11) else "mien needs Python 3.11 or newer"
    return Check("Python", not advice, detail, advice, essential=True)


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


def _duplicates(name: str, wheels: tuple[str, ...], keep: str) -> list[Check]:
    """Return a failed check when several wheels share one folder, else none."""
    versions = {wheel: version for wheel in wheels if (version := _version(wheel))}
    if len(versions) < 2:
        return []
    detail = ", ".join(f"{wheel} {version}" for wheel, version in versions.items())
    advice = f"they overwrite each other's files: pip uninstall -y {' '.join(versions)}, then pip install {keep}"
    return [Check(name, False, detail, advice)]


def _pillow() -> Check:
    try:
        from PIL import __version__, features
    except ImportError as error:
        return Check("Pillow", False, str(error), f"pip install --force-reinstall {_PILLOW}", essential=True)
    found = tuple(int(part) for part in re.findall(r"\d+", __version__)[:2])
    if found < (12, 2):
        return Check("Pillow", False, __version__, f"pip install -U {_PILLOW}", essential=True)
    kinds = {"avif": "AVIF", "webp": "WebP", "jpg_2000": "JPEG 2000", "libtiff": "compressed TIFF"}
    missing = [name for key, name in kinds.items() if not features.check(key)]
    advice = f"pip install --force-reinstall {_PILLOW}; its wheels read these" if missing else ""
    return Check("Pillow", not missing, f"{__version__}{' without ' * bool(missing)}{', '.join(missing)}", advice)


def _pyav() -> Check:
    try:
        import av
    except ImportError as error:
        return Check("PyAV", False, str(error), f"pip install --force-reinstall {_PYAV}", essential=True)
    if int(av.__version__.partition(".")[0]) < 18:
        return Check("PyAV", False, av.__version__, f"pip install -U {_PYAV}", essential=True)
    return Check("PyAV", True, f"{av.__version__}, FFmpeg {av.ffmpeg_version_info}")


def _runtime() -> Check:
    try:
        import onnxruntime
    except ImportError as error:
        advice = "pip install --force-reinstall onnxruntime"
        return Check("ONNX Runtime", False, str(error), advice, essential=True)
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    return Check("ONNX Runtime", True, f"{onnxruntime.__version__}, providers {providers}; mien uses CPU")


def _files() -> Check:
    """Compare the weights with their checksums."""
    lines = SUMS.read_text("utf-8").strip().splitlines() if SUMS.is_file() else []
    faults = [] if lines else [f"{SUMS} is missing"]
    for digest, name in (line.split(maxsplit=1) for line in lines):
        path = ASSETS / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            faults.append(f"{name} is damaged or another version")
    detail = "; ".join(faults) or f"{len(lines)} files, checksums agree"
    advice = "pip install --force-reinstall --no-deps mien" if faults else ""
    return Check("model files", not faults, detail, advice, essential=True)


def _prediction() -> Check:
    try:
        from mien.pipeline import load

        faces = load()(ASSETS / "portrait.jpg").faces
        detail = f"{faces[0].emotion}, {faces[0].confidence:.0%}" if faces else "no face found in the sample image"
    except Exception as error:  # any error is what the user needs to know
        return Check("prediction", False, f"{type(error).__name__}: {error}", "see the lines above", essential=True)
    advice = "" if len(faces) == 1 else "pip install --force-reinstall mien"
    return Check("prediction", not advice, detail, advice, essential=True)


def _extras() -> Iterator[Check]:
    """Check the wheels of each extra, as the package declares them."""
    try:
        declared = importlib.metadata.requires("mien") or []
    except importlib.metadata.PackageNotFoundError:
        yield Check("extras", False, "mien runs from a folder and is not installed", "pip install -e .")
        return
    extras: dict[str, dict[str, str]] = {}
    for line in declared:
        match = re.fullmatch(r"([\w.-]+)(.*?);.*\bextra == ['\"]([\w-]+)['\"].*", line)
        # An extra within an extra has a check of its own; `docs` is for contributors.
        if match and match[1] != "mien" and match[3] != "docs" and _wanted_here(line):
            extras.setdefault(match[3], {})[match[1]] = _version(match[1])
    for extra, versions in extras.items():
        missing = ", ".join(wheel for wheel, version in versions.items() if not version)
        detail = f"without {missing}" if missing else ", ".join(f"{w} {version}" for w, version in versions.items())
        yield Check(f"extra {extra}", not missing, detail, f"pip install 'mien[{extra}]'" if missing else "")


def _wanted_here(requirement: str) -> bool:
    """Whether the markers of a requirement on the system hold here, such as `sys_platform != 'win32'`."""
    markers = re.findall(r"sys_platform\s*(==|!=)\s*['\"](\w+)['\"]", requirement)
    return all((name == sys.platform) == (operator == "==") for operator, name in markers)


def _screen() -> Check:
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return Check("screen", False, "none", "for mien live use --headless")
    return Check("screen", True, os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY") or "a desktop")


def _cameras() -> Check:
    """List Linux's device files without opening them: that could hang or take a camera from another program."""
    if sys.platform != "linux":
        return Check("cameras", True, f"not looked for on {platform.system()}; mien live 0 opens the first")
    cameras, closed = [], []
    for device in sorted(DEVICES.glob("video*")):
        facts = Path("/sys/class/video4linux") / device.name
        if _text(facts / "index") not in ("", "0"):
            continue  # a second file of the same camera, with its settings
        cameras.append(f"{device} {_text(facts / 'name')}".strip())
        closed += [] if os.access(device, os.R_OK | os.W_OK) else [str(device)]
    if not cameras:
        return Check("cameras", False, "none", "plug one in, or give mien live a video file or the URL of a stream")
    advice = f"no right to read {', '.join(closed)}: add your user to the group video and log in again"
    return Check("cameras", not closed, ", ".join(cameras), advice if closed else "")


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


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""
