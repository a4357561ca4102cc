"""The site of the documents: its hooks, that it builds without a warning, and that it loads nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import mien
from mien.cli.main import app

pytest.importorskip("mkdocs")
pytest.importorskip("mkdocstrings")
pytest.importorskip("material")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs/hooks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # a notice about another program
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


def test_links_lead_to_their_place_in_the_site(hooks: ModuleType) -> None:
    text = "[a](docs/serve.md#x) [b](benchmarks/pages/speed.py) [c](https://example.org) ![d](docs/page.png)"
    assert (
        hooks.links(text, "MODEL_CARD.md", "model-card.md")
        == "[a](serve.md#x) b [c](https://example.org) ![d](page.png)"
    )
    text = "[a](../../MODEL_CARD.md) [b](../serve.md) [c](../cli.md#mien-predict)"
    assert hooks.links(text, "docs/howto/x.md", "howto/x.md") == (
        "[a](../model-card.md) [b](../serve.md) [c](../cli.md#mien-predict)"
    )


def test_lists_fences_and_tables_get_a_blank_line_before_them(hooks: ModuleType) -> None:
    text = "a:\n- b\n  c\n- d\n\ne:\n```\nf\n- g\n```\n| h |\n|---|\n"
    wanted = "a:\n\n- b\n  c\n- d\n\ne:\n\n```\nf\n- g\n```\n\n| h |\n|---|\n"
    assert hooks.blank_lines(text) == wanted


def test_reference_has_every_command_and_flag(hooks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    text = hooks.commands()
    sections = re.split(r"^#+ (?=mien )", text, flags=re.MULTILINE)
    assert {"mien predict", "mien data audit", "mien web"} <= {part.partition("\n")[0] for part in sections}
    app(["predict", "--help"], result_action="return_value")
    (predict,) = (part for part in sections if part.startswith("mien predict\n"))
    for flag in re.findall(r"(?<![\w-])--[\w-]+", capsys.readouterr().out):
        if flag not in ("--help", "--version"):
            assert flag in predict


def test_every_public_name_is_on_the_page_of_the_api(site: Path) -> None:
    page = (site / "api.html").read_text("utf-8")
    for name in set(mien.__all__) - {"__version__"}:
        module = getattr(mien, name).__module__ if hasattr(getattr(mien, name), "__module__") else f"mien.{name}"
        assert f'id="mien.{name}"' in page or f'id="{module}.{name}"' in page, name


def test_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = r'<(?:script|img|iframe)[^>]*\ssrc="?(https?:[^" >]+)|<link[^>]*href="?(https?:[^" >]+)'
    for page in site.rglob("*.html"):
        assert not re.findall(loaded, page.read_text("utf-8")), page.name
    assert not re.findall(r"url\(\"?https?:|@import", (site / "assets/site.css").read_text("utf-8"))
