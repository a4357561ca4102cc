"""Public names, and former names that still work."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

import mien
from mien.cli import main
from mien.faces.models import FORMER, load_classifier


def test_dir_shows_exactly_the_public_names() -> None:
    assert dir(mien) == sorted(mien.__all__)
    assert all(getattr(mien, name) is not None for name in mien.__all__)


@pytest.mark.parametrize("package", ["data", "draw", "evaluation", "serve", "sinks", "train"])
def test_namespaces_export_their_names(package: str) -> None:
    namespace = getattr(mien, package)
    assert all(getattr(namespace, name) is not None for name in namespace.__all__)
    with pytest.raises(AttributeError):
        namespace.nothing  # noqa: B018


def test_import_loads_neither_torch_nor_opencv() -> None:
    code = "import sys, mien; print([name for name in ('torch', 'cv2', 'onnxruntime') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("former", FORMER)
def test_former_model_name_loads_with_a_note(former: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mien"):
        assert load_classifier(former).sha256 == load_classifier(FORMER[former]).sha256
    assert [record.message.split(";")[0] for record in caplog.records] == [
        f"the model {former} is now called {FORMER[former]}"
    ]


def test_former_flags_work_with_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["video", "calibrate", "--whole", "0", "--every=2", "--smooth", "1"]
    assert main.current_words(words) == [
        "video", "calibrate", "--redetect-every", "0", "--detect-every=2", "--smoothing", "1",
    ]  # fmt: skip
    assert capsys.readouterr().err.count("is now called") == 3
    assert main.current_words(["calibrate", "0"]) == ["personalize", "0"]
