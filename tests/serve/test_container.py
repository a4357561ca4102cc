"""The Dockerfile: its pip lines run in a fresh virtual environment. Docker itself is not needed."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def test_pip_lines_of_the_dockerfile_run(tmp_path: Path) -> None:
    try:
        socket.create_connection(("pypi.org", 443), timeout=5).close()
    except OSError:
        pytest.skip("the package index cannot be reached")
    source = tmp_path / "src"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(ROOT / name, source)
    (source / "src/mien").mkdir(parents=True)
    for name in ("__init__.py", "errors.py"):
        shutil.copy(ROOT / "src/mien" / name, source / "src/mien")
    lines = re.findall(r"^RUN ((?:sed|python).*)$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)
    assert len(lines) == 2
    script = "\n".join(lines).replace("/mien", str(tmp_path / "venv")).replace("python -m", f"{sys.executable} -m")
    script = script.replace("pip install", "pip install --quiet --no-deps")  # the dependencies take minutes
    subprocess.run(["sh", "-ec", script], cwd=source, check=True, timeout=300)
    assert (tmp_path / "venv/bin/mien").exists()


def test_pinned_versions_satisfy_the_server() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["serve"]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements-dev.txt").read_text("utf-8"), re.M))
    pins = {name.lower(): version for name, version in pins.items()}
    for text in extras:
        requirement = Requirement(text)
        if requirement.name in pins:
            assert pins[requirement.name] in requirement.specifier, text
    assert {"fastapi", "uvicorn"} <= pins.keys()
