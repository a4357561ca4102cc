"""The notebook in examples/ runs from the first cell to the last, and shows what its text says."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytest.importorskip("pandas")
pytest.importorskip("matplotlib")

NOTEBOOK = Path(__file__).parents[1] / "examples" / "tour.ipynb"
pytestmark = pytest.mark.filterwarnings("default")  # those of Jupyter, which runs in this process


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def outputs(folder: Path) -> list[dict[str, str]]:
    """Run the notebook in an empty folder; return what each code cell shows: MIME type, "text" if printed -> text."""
    notebook = nbformat.read(NOTEBOOK, 4)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            patch.setenv(name, str(folder / "jupyter"))
        patch.delenv("MPLBACKEND", raising=False)
        nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [merged(cell["outputs"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def merged(outputs: list[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for output in outputs:
        if output.get("name") == "stderr":
            assert "Warning" not in output["text"], output["text"]  # but Matplotlib says that it looks for fonts
            continue
        for kind, text in output.get("data", {"text": output.get("text", "")}).items():
            found[kind] = found.get(kind, "") + text
    return found


def test_results_show_themselves_in_the_notebook(outputs: list[dict[str, str]]) -> None:
    pipeline, photo, loop = outputs[:3]
    assert pipeline["text/plain"] == "Pipeline(model='mien-s', detector='yunet')"
    assert "<img" in photo["text/html"] and "<table>" in photo["text/html"]
    assert loop["text"].startswith("happy 9")


def test_plots_are_pictures(outputs: list[dict[str, str]]) -> None:
    crop, curve = outputs[3], outputs[-1]
    assert "image/png" in crop and "image/png" in curve


def test_list_table_and_threshold_agree(outputs: list[dict[str, str]]) -> None:
    several, sure, table = outputs[4:7]
    plain, dark, covered = several["text"].splitlines()
    assert "?" not in plain and "happy?" in dark and dark.endswith("('dark',)") and "?" in covered
    assert several["text/html"].count("<img") == 3
    assert sure["text/plain"] == "['happy']"
    assert table["text/html"].count("<tr") == 4 and "brightness" in table["text/html"]


def test_folder_has_a_row_for_each_file(outputs: list[dict[str, str]], folder: Path) -> None:
    assert outputs[7]["text"].startswith("2 images, 2 faces (1 happy, 1 uncertain), 1 failed")
    with (folder / "tour/faces.csv").open(newline="") as file:
        assert [row["emotion"] for row in csv.DictReader(file)] == ["happy", "", "happy"]
    assert {path.name for path in (folder / "tour/annotated").iterdir()} == {"beach.jpg", "night.jpg"}


def test_paper_over_the_mouth_makes_the_video_uncertain(outputs: list[dict[str, str]]) -> None:
    assert outputs[8]["text"] == "48 frames\n"
    assert "1 face: #1 " in outputs[8]["text/html"] and "?" in outputs[8]["text/html"]


def test_notebook_is_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, 4)
    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook["cells"])
    assert NOTEBOOK.stat().st_size < 20_000
