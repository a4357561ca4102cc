"""The figures in the documents are those of benchmarks/results/ and belong to the shipped model files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")

from benchmarks import harness
from benchmarks.pages import accuracy, card, speed
from benchmarks.pages.documents import DOCUMENTS, fill
from mien.cli.main import app


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A copy of the result files."""
    return Path(shutil.copytree(harness.RESULTS, tmp_path / "results", ignore=shutil.ignore_patterns("*.png", "*.csv")))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_readme_states_the_measured_sizes_of_the_installs() -> None:
    """After new figures of the peers: the last row of the table of other packages, by hand."""
    (row,) = re.findall(r"^\| installed .*$", (harness.ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    _, _, ours, theirs, *_ = row.split("|")
    sizes = harness.load("peers")["footprint"]
    (fer,) = (value for name, value in sizes.items() if name.startswith("fer") and value["installed_mb"])
    assert ours.strip() == f"{sizes['mien']['installed_mb']:.0f} MB, {sizes['mien']['packages']} packages"
    assert theirs.strip() == f"{fer['installed_mb'] / 1000:.1f} GB, {fer['packages']} packages"


def test_readme_is_short() -> None:
    assert len((harness.ROOT / "README.md").read_text("utf-8").splitlines()) <= 130


@pytest.mark.parametrize("name", DOCUMENTS)
def test_marked_blocks_hold_the_figures_of_the_results(name: str) -> None:
    """After new figures: python -m benchmarks.pages.documents."""
    text = (harness.ROOT / name).read_text("utf-8")
    assert fill(text, DOCUMENTS[name], harness.RESULTS, name) == text


def test_prose_outside_the_markers_is_kept() -> None:
    text = "Old prose.\n<!-- begin: a -->\nold\n<!-- end: a -->\nMore prose.\n"
    filled = fill(text, {"a": lambda _: "new"}, Path())
    assert filled == "Old prose.\n<!-- begin: a -->\nnew\n<!-- end: a -->\nMore prose.\n"


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "<!-- begin: a -->\n",
        "<!-- end: a -->\n<!-- begin: a -->\n",
        "<!-- begin: a -->\n<!-- end: a -->\n<!-- begin: b -->\n<!-- end: b -->\n",
    ],
)
def test_missing_or_unknown_markers_are_refused(text: str) -> None:
    with pytest.raises(SystemExit, match=r"needs one line|nothing fills"):
        fill(text, {"a": lambda _: "new"}, Path())


def test_other_figures_make_another_block(results: Path) -> None:
    path = results / "mien-s-PrivateTest.json"
    views = json.loads(path.read_text())["views"]
    views["ferplus-majority"] |= {"accuracy": 0.12345, "interval": [0.111, 0.222], "coverage": 0.4321}
    change(path, views=views)
    assert "| ferplus-majority | 2,663 | 12.3 (11.1 to 22.2) |" in card.accuracy(results)
    assert "| 43.2 |" in card.calibration(results)
    assert "| `mien-s` | ferplus-majority | 2,663 | 12.3 (11.1-22.2) |" in accuracy.accuracies(results, "PrivateTest")
    assert "2,663 images | 12.3 (11.1-22.2) |" in accuracy.readme(results)


@pytest.mark.parametrize(
    ("name", "block"),
    [
        ("mien-s-PrivateTest", card.accuracy),
        ("mien-s-fp32-PrivateTest", card.int8),
        ("peers", card.peers),
        ("peers-mien-xs", speed.beside_fer),
        ("mien-s+mien-m+baseline-PrivateTest", accuracy.BLOCKS["private"]),
        ("photos-mien-s", accuracy.readme),
    ],
)
def test_figures_of_another_model_file_are_refused(results: Path, name: str, block: Any) -> None:
    change(results / f"{name}.json", sha256="0" * 64)
    with pytest.raises(SystemExit, match="another model file"):
        block(results)


def test_robustness_of_another_model_file_is_refused(results: Path) -> None:
    path = results / "robustness-PublicTest.json"
    models = json.loads(path.read_text())["models"]
    models["baseline"]["sha256"] = "0" * 64
    change(path, models=models)
    with pytest.raises(SystemExit, match="another model file"):
        accuracy.robustness(results)


def test_missing_results_are_named(results: Path) -> None:
    (results / "frame_profile.json").unlink()
    with pytest.raises(SystemExit, match=r"frame_profile\.json is missing"):
        speed.frame(results)


def test_parts_of_the_model_card_that_were_not_measured_say_so(results: Path) -> None:
    for name in ("peers", "robustness-PublicTest", "mien-s-fp32-PrivateTest"):
        (results / f"{name}.json").unlink()
    for block in (card.peers, card.robustness, card.detector, card.int8):
        assert "not measured" in block(results).lower()


def test_step_below_its_floor_is_marked() -> None:
    values = harness.load("frame_profile")
    assert "floor is wrong" not in speed.frame_tables(values)
    values["steps"]["crop"]["below_floor"] = True
    marked = [line for line in speed.frame_tables(values).splitlines() if "floor is wrong" in line]
    assert [line.startswith("| crop |") for line in marked] == [True]


PROSE = [path for path in sorted((harness.ROOT / "docs").rglob("*.md")) if path.name != "renames.md"]
BUILT = {"api.md", "cli.md", "changelog.md", "contributing.md", "model-card.md"}
"""Pages that docs/hooks.py adds to the site."""
PROSE += [harness.ROOT / name for name in ("README.md", "MODEL_CARD.md", "CONTRIBUTING.md", "experiments/README.md")]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_files_named_in_a_document_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text) if not link.startswith("http")]
    assert [link for link in links if Path(link).name not in BUILT and not (path.parent / link).exists()] == []
    folders = (
        "src|tests|docs|benchmarks|experiments|recipes|examples|web|cli|live|serve|batch|train|personal|evaluation"
    )
    names = re.findall(rf"`((?:{folders}|data|sinks|faces|draw|media)/[\w./-]*\w(?:/|\.\w+))`", text)
    roots = (harness.ROOT, harness.ROOT / "src" / "mien")
    assert [name for name in names if not any((root / name).exists() for root in roots)] == []


def test_modules_named_in_a_document_exist() -> None:
    for path in PROSE:
        for name in re.findall(r"python -m ((?:benchmarks|experiments)[\w.]+)", path.read_text("utf-8")):
            assert (harness.ROOT / f"{name.replace('.', '/')}.py").exists(), f"{path.name}: {name}"


def test_flags_in_shell_examples_exist(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    helps: dict[str, str] = {}
    for path in PROSE:
        fences = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        blocks = "\n".join(text for language, text in fences if not language)
        for words in re.findall(r"^mien ([^\n#]+)", blocks, re.MULTILINE):
            first, second, *_ = [*words.split(), ""]
            command = [first, second] if first == "data" else [first]
            if " ".join(command) not in helps:
                app([*command, "--help"], result_action="return_value")
                helps[" ".join(command)] = capsys.readouterr().out
            for flag in re.findall(r"(?<!\S)--[\w-]+", words):
                assert re.search(rf"{flag}\b", helps[" ".join(command)]), f"{path.name}: mien {words}"
    assert {"predict", "video", "live", "serve", "batch", "train", "data audit"} <= set(helps)
