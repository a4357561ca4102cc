"""The page of an evaluation shows its figures, loads nothing and escapes names."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mien.cli import main
from mien.data.faces import Faces
from mien.errors import ConfigError, OutputError
from mien.evaluation import corruptions, robustness
from mien.evaluation.html import environment
from mien.evaluation.metrics import evaluate
from mien.evaluation.report import Page, confusions, mistakes, write_html
from mien.evaluation.views import Answers
from mien.faces.models import DEFAULT

BAD = "<script>alert('x')</script>&\"$\\frac$"
LABELS = ("angry", "happy", BAD)
VOID = {"meta", "img", "br"}


class Parsed(HTMLParser):
    """The elements of a page, what they load, their text, and the elements left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.loads += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "srcset", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def answers(images: Any, names: Any, truth: Any, probabilities: Any, labels: tuple[str, ...]) -> Answers:
    faces = Faces(images, np.asarray(truth), np.zeros(len(images), np.int8), np.array(list(names)), labels)
    return Answers("test", faces, probabilities)


def sample_page(**other: Any) -> Page:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 200)
    t = np.where(rng.random(200) < 0.8, p.argmax(axis=1), rng.integers(0, 3, 200))
    first = evaluate(p, t, LABELS, "fer2013", temperature=1.25, confidence_threshold=0.62)
    images = rng.integers(0, 256, (200, 48, 48), np.uint8)
    facts: dict[str, Any] = {
        "reports": {"fer2013": first, "fer2013-dedup": evaluate(p[:90], t[:90], LABELS, BAD)},
        "mistakes": mistakes(answers(images, [BAD] * 200, t, p, LABELS), 5),
        "confusions": confusions(answers(images, [BAD] * 200, t, p, LABELS), 2),
        "counts": {"Training": dict.fromkeys(LABELS, 1234), "PrivateTest": dict.fromkeys(LABELS, 7)},
        "remarks": {"leaks": "539 of them"},
        "metadata": {"recipe": json.dumps({"network": "rep", "ema": 0.998, BAD: [1, 2]}), "license": BAD},
    }
    return Page(BAD, BAD, "PrivateTest", **{**facts, **other})


def write(page: Page, path: Path) -> tuple[str, Parsed]:
    write_html(page, path)
    html = path.read_text("utf-8")
    return html, Parsed(html)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write(sample_page(), tmp_path_factory.mktemp("page") / "new" / "r.html")[0]


def test_page_shows_the_figures_and_the_environment(html: str) -> None:
    parsed, first = Parsed(html), sample_page().reports["fer2013"]
    for value in (first.accuracy, *first.interval, first.balanced_accuracy, first.macro_f1, first.coverage):
        assert f"{100 * value:.1f}" in parsed.text
    for value in (first.nll, first.brier, first.ece, first.ece_before):
        assert f"{value:.3f}" in parsed.text
    for words in (
        "fer2013-dedup",
        "PrivateTest",
        "uncertain below 0.62",
        "1,234",
        "539 of them",
        "network rep",
        "ema 0.998",
    ):
        assert words in parsed.text
    assert all(version in parsed.text for version in environment().values())
    assert {"python", "onnxruntime", "numpy", "processor"} <= set(environment())


def test_each_view_has_four_plots_and_robustness_one(html: str, tmp_path: Path) -> None:
    parsed = Parsed(html)
    assert parsed.elements.count("svg") == 8
    assert "Robustness" not in parsed.text
    robust = {"n": 200, "clean": 0.8, "mean": 0.55, "interval": [0.53, 0.57], "worst": ["noise", BAD]}
    robust["accuracy"] = {name: [0.7, 0.6, 0.5, 0.4, 0.3] for name in ("noise", BAD)}
    _, parsed = write(sample_page(robustness=robust), tmp_path / "r.html")
    assert parsed.elements.count("svg") == 9
    for words in ("55.0 %", "53.0 to 57.0 %", "severity"):
        assert words in parsed.text
    assert "70.060.050.040.030.050.0" in re.sub(r"\s", "", parsed.text)  # the row of a corruption, and its mean


def test_page_lists_its_contents(html: str) -> None:
    parsed = Parsed(html)
    links = [target for target in parsed.loads if target.startswith("#section-")]
    assert links == [f"#section-{k}" for k in range(1, len(links) + 1)] and len(links) > 4
    assert all(f'id="{link[1:]}"' in html for link in links)
    assert html.index('class="contents"') < html.index('id="section-1"')


def test_cells_of_the_confusion_matrix_open_their_images(html: str) -> None:
    parsed = Parsed(html)
    links = {target[1:] for target in parsed.loads if target.startswith("#cell-")}
    confusion = np.array(sample_page().reports["fer2013"].confusion)
    assert links == {f"cell-{t}-{p}" for t, p in np.argwhere(confusion) if t != p}
    assert all(html.count(f'id="{link}"') == 1 for link in links)


def test_confusions_are_the_most_confident_of_each_pair() -> None:
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    found = confusions(answers(np.zeros((4, 48, 48), np.uint8), "abcd", [1, 1, 1, 1], p, ("x", "y")), 2)
    assert {pair: [m.name for m in each] for pair, each in found.items()} == {("y", "x"): ["a", "c"]}


def test_page_loads_nothing(html: str) -> None:
    parsed = Parsed(html)
    assert parsed.elements.count("script") == 1  # the page's own, for printing
    assert not {"link", "iframe", "object", "embed"} & set(parsed.elements)
    assert parsed.loads and all(value.startswith(("#", "data:image/png;base64,")) for value in parsed.loads)
    assert "http" not in html and "@import" not in html
    assert html.count("url(") == html.count("url(#")


def test_names_are_escaped(html: str) -> None:
    parsed = Parsed(html)
    assert html.count("<script") == 1
    assert parsed.text.count(BAD) >= 8  # title, heading, data, view, classes in plots and tables, recipe, licence
    assert parsed.open == []


def test_plots_have_the_colour_of_the_text_and_unique_ids(html: str, tmp_path: Path) -> None:
    assert "#000000" not in html and html.count("currentColor") > 50
    assert "color-scheme: light dark" in html
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) > 100 and len(set(ids)) == len(ids)
    small = Page("m", "d", "s", {"test": evaluate([[0.5, 0.5]], [1], "ab")})
    assert write(small, tmp_path / "a.html")[0] == write(small, tmp_path / "b.html")[0]


def test_most_confident_mistakes_come_first(tmp_path: Path) -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 48, 48), np.uint8)
    p = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    view = answers(images, "abcd", [1, 1, 0, 1], p, ("angry", "happy"))
    wrong = mistakes(view)
    assert [mistake.name for mistake in wrong] == ["b", "c", "a"]
    assert (wrong[0].truth, wrong[0].answer, wrong[0].confidence) == ("happy", "angry", 0.9)
    assert [mistake.name for mistake in mistakes(view, 1)] == ["b"]
    _, parsed = write(sample_page(mistakes=wrong, confusions={}), tmp_path / "r.html")
    data = [value.split(",")[1] for value in parsed.loads if value.startswith("data:")][-3:]
    shown = [cv2.imdecode(np.frombuffer(base64.b64decode(d), np.uint8), cv2.IMREAD_GRAYSCALE) for d in data]
    assert [int(image[0, 0]) for image in shown] == [1, 2, 0]


def test_page_of_a_bare_report(tmp_path: Path) -> None:
    report = evaluate([[0.5, 0.5]], [1], "ab", confidence_threshold=0.9)  # no name, no right answer, no sure one
    html, parsed = write(Page("m", "d", "s", {"test": report}), tmp_path / "r.html")
    assert "Data</h2>" not in html and "mistakes" not in html and "not known" in parsed.text
    for text in ("{", "[1]"):
        write_html(Page("m", "d", "s", {"test": report}, metadata={"recipe": text}), tmp_path / "r.html")
        assert "Recipe" not in (tmp_path / "r.html").read_text()


def test_failed_write_keeps_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, report = tmp_path / "r.html", evaluate([[0.5, 0.5]], [1], "ab")
    path.write_text("old")

    def stuck(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", stuck)
    with pytest.raises(OutputError, match="disk full"):
        write_html(Page("m", "d", "s", {"test": report}), path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_report_writes_the_page_of_a_data_set(kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = dict(list(corruptions.CORRUPTIONS.items())[:2])
    monkeypatch.setattr(robustness, "CORRUPTIONS", some)
    path = tmp_path / "r.html"
    command = ["report", "--data", str(kaggle), "--out", str(path)]
    assert main.app([*command, "--no-robustness"], result_action="return_value") == 0
    assert "Robustness" not in Parsed(path.read_text("utf-8")).text
    assert main.app(command, result_action="return_value") == 0
    text = Parsed(path.read_text("utf-8")).text
    for words in ("fer2013", "fer2013-dedup", "Training without leaks", "Robustness", "Recipe", "surprise", *some):
        assert words in text
    assert "ferplus-majority" not in text


def test_outputs_never_replace_the_votes_or_the_model(kaggle: Path, tmp_path: Path) -> None:
    file = tmp_path / "input"
    file.write_text("kept")
    for words in (["report", "--votes", file, "--out", file], ["evaluate", "--compare", file, "--json", file]):
        with pytest.raises(ConfigError, match="be overwritten"):
            main.app([*map(str, words), "--data", str(kaggle)], result_action="return_value")
    assert file.read_text() == "kept"


def test_evaluate_compares_with_a_second_model(
    kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.json"
    command = ["evaluate", "--data", str(kaggle), "--compare", DEFAULT, "--json", str(path)]
    assert main.app(command, result_action="return_value") == 0
    figures, text = json.loads(path.read_text()), capsys.readouterr().out
    compared = figures["comparison"]
    assert compared["model"] == figures["model"] and compared["sha256"] == figures["sha256"]
    assert compared["views"]["fer2013"]["difference"] == 0 and compared["views"]["fer2013"]["p"] == 1
    assert figures["views"]["fer2013"]["index"] in text and "McNemar p" in text
    assert "AURC" in text and "precision, recall, F1" in text


def test_evaluate_compares_two_named_models(kaggle: Path, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    command = ["evaluate", "--data", str(kaggle), "--json", str(path), "--compare", "mien-xs", DEFAULT]
    assert main.app(command, result_action="return_value") == 0
    figures = json.loads(path.read_text())
    assert (figures["model"], figures["comparison"]["model"]) == ("mien-xs", DEFAULT)
    with pytest.raises(ConfigError, match="no --model"):
        main.app([*command, "--model", "mien-m"], result_action="return_value")
