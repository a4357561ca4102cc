"""The commands of the tutorial give the outputs shown there, and the Python of tutorial and README runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import mien
from mien.batch import worker
from mien.sinks import base

ROOT = Path(__file__).parents[2]
PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder like a checkout, with the portrait as photo.jpg and a command `mien`."""
    (tmp_path / "src/mien/assets").mkdir(parents=True)
    shutil.copy(PORTRAIT, tmp_path / "src/mien/assets/portrait.jpg")
    shutil.copy(PORTRAIT, tmp_path / "photo.jpg")
    command = tmp_path / "bin" / "mien"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -W error -m mien "$@"\n')
    command.chmod(0o755)
    return tmp_path


def fences(name: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def without_numbers(text: str) -> list[str]:
    """Return the lines with 0 for each number: seconds differ, and int8 rounds otherwise on other processors."""
    return [re.sub(r"\d+(\.\d+)?", "0", line) for line in text.splitlines()]


@pytest.mark.skipif(sys.platform == "win32", reason="the commands are for a POSIX shell")
def test_commands_of_the_tutorial_print_what_it_shows(folder: Path) -> None:
    environment = os.environ | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    shown = "".join(fences("docs/tutorial.md", "console"))
    steps = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE)
    assert len(steps) >= 8
    for command, output in steps:
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert sorted(without_numbers(done.stdout)) == sorted(without_numbers(output)), command


@pytest.mark.parametrize("name", ["README.md", "docs/index.md", "docs/tutorial.md"])
def test_python_of_a_document_runs(name: str, folder: Path) -> None:
    for path in ("holiday/beach.jpg", "talk/0.jpg", "talk/1.jpg"):
        (folder / path).parent.mkdir(exist_ok=True)
        shutil.copy(PORTRAIT, folder / path)
    program = fences(name, "python")[0]
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("happy ")
    if "save(" in program:
        assert (folder / "annotated.jpg").exists()


def test_documents_name_every_column_and_key() -> None:
    batch, outputs = ((ROOT / "docs" / name).read_text("utf-8") for name in ("batch.md", "outputs.md"))
    named = [name for cell in re.findall(r"^\| ([\w, ]+) \|", batch, re.MULTILINE) for name in cell.split(", ")]
    assert set(worker.COLUMNS) <= set(named)
    assert all(f"`{name}`" in outputs for name in base.COLUMNS)
    (answer,) = (json.loads(text) for text in fences("docs/serve.md", "json") if text.startswith('{"model"'))
    (face,) = answer["results"][0]["faces"]
    assert list(face) == list(mien.load()(PORTRAIT)[0].to_dict())
