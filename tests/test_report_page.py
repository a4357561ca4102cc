"""The page holds what it must, loads nothing from elsewhere and shows names as they are."""

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

from mien import cli
from mien.classify import DEFAULT
from mien.metrics import evaluate
from mien.report_page import Page, environment, mistakes, write_html
from mien.train import robustness
from mien.types import ConfigError

BAD = "<script>alert('x')</script>&\"$\\frac$"
LABELS = ("angry", "happy", BAD)
VOID = {"meta", "img", "br"}


class Seen(HTMLParser):
    """Elements, attributes that load something, text, and whether every element is closed."""

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


def made(**other: Any) -> Page:
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 200)
    t = np.where(rng.random(200) < 0.8, p.argmax(axis=1), rng.integers(0, 3, 200))
    first = evaluate(p, t, LABELS, "T1", temperature=1.25, uncertain_below=0.62)
    images = rng.integers(0, 256, (200, 48, 48), np.uint8)
    facts: dict[str, Any] = {
        "reports": {"T1": first, "T2": evaluate(p[:90], t[:90], LABELS, BAD)},
        "mistakes": mistakes(images, [BAD] * 200, t, p, LABELS, 5),
        "counts": {"Training": dict.fromkeys(LABELS, 1234), "PrivateTest": dict.fromkeys(LABELS, 7)},
        "remarks": {"leaks": "539 of them"},
        "metadata": {"recipe": json.dumps({"network": "rep", "ema": 0.998, BAD: [1, 2]}), "license": BAD},
    }
    return Page(BAD, BAD, "PrivateTest", **{**facts, **other})


def written(page: Page, path: Path) -> tuple[str, Seen]:
    write_html(page, path)
    html = path.read_text("utf-8")
    return html, Seen(html)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(made(), tmp_path_factory.mktemp("page") / "new" / "r.html")[0]


def test_it_says_what_was_measured(html: str) -> None:
    seen, first = Seen(html), made().reports["T1"]
    for value in (first.accuracy, *first.interval, first.balanced_accuracy, first.macro_f1, first.answered):
        assert f"{100 * value:.1f}" in seen.text
    for value in (first.nll, first.brier, first.ece, first.ece_before):
        assert f"{value:.3f}" in seen.text
    for words in ("T2", "PrivateTest", "uncertain below 0.62", "1,234", "539 of them", "network rep", "ema 0.998"):
        assert words in seen.text
    assert all(version in seen.text for version in environment().values())
    assert {"python", "onnxruntime", "numpy", "processor"} <= set(environment())


def test_every_view_has_four_plots_and_robustness_one_more(html: str, tmp_path: Path) -> None:
    seen = Seen(html)
    assert seen.elements.count("svg") == 8
    assert "Robustness" not in seen.text
    shaken = {"n": 200, "clean": 0.8, "mean": 0.55, "interval": [0.53, 0.57], "worst": ["noise", BAD]}
    shaken["accuracy"] = {name: [0.7, 0.6, 0.5, 0.4, 0.3] for name in ("noise", BAD)}
    _, seen = written(made(robustness=shaken), tmp_path / "r.html")
    assert seen.elements.count("svg") == 9
    for words in ("55.0 %", "53.0 to 57.0 %", "severity"):
        assert words in seen.text
    assert "70.060.050.040.030.050.0" in re.sub(r"\s", "", seen.text)  # the row of a corruption, and its mean


def test_it_loads_nothing_from_elsewhere(html: str) -> None:
    seen = Seen(html)
    assert not {"script", "link", "iframe", "object", "embed"} & set(seen.elements)
    assert seen.loads and all(value.startswith(("#", "data:image/png;base64,")) for value in seen.loads)
    assert "http" not in html and "@import" not in html
    assert html.count("url(") == html.count("url(#")


def test_names_are_shown_as_they_are(html: str) -> None:
    seen = Seen(html)
    assert "<script" not in html
    assert seen.text.count(BAD) >= 8  # title, heading, data, view, classes in plots and tables, recipe, licence
    assert seen.open == []


def test_its_plots_are_drawn_in_the_colour_of_the_text(html: str, tmp_path: Path) -> None:
    assert "#000000" not in html and html.count("currentColor") > 50
    assert "color-scheme: light dark" in html
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) > 100 and len(set(ids)) == len(ids)
    small = Page("m", "d", "s", {"test": evaluate([[0.5, 0.5]], [1], "ab")})
    assert written(small, tmp_path / "a.html")[0] == written(small, tmp_path / "b.html")[0]


def test_the_most_confident_mistakes_come_first_and_show_their_picture(tmp_path: Path) -> None:
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 48, 48), np.uint8)
    p = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    found = mistakes(images, ["a", "b", "c", "d"], np.array([1, 1, 0, 1]), p, ("angry", "happy"))
    assert [each.name for each in found] == ["b", "c", "a"]
    assert (found[0].truth, found[0].answer, found[0].confidence) == ("happy", "angry", 0.9)
    assert [each.name for each in mistakes(images, "abcd", np.array([1, 1, 0, 1]), p, ("x", "y"), 1)] == ["b"]
    _, seen = written(made(mistakes=found), tmp_path / "r.html")
    data = [value.split(",")[1] for value in seen.loads if value.startswith("data:")][-3:]
    shown = [cv2.imdecode(np.frombuffer(base64.b64decode(d), np.uint8), cv2.IMREAD_GRAYSCALE) for d in data]
    assert [int(picture[0, 0]) for picture in shown] == [1, 2, 0]


def test_the_least_page_stands(tmp_path: Path) -> None:
    report = evaluate([[0.5, 0.5]], [1], "ab", uncertain_below=0.9)  # no name, no right answer, no sure one
    html, seen = written(Page("m", "d", "s", {"test": report}), tmp_path / "r.html")
    assert "<h2>Data</h2>" not in html and "mistakes" not in html and "not known" in seen.text
    for text in ("{", "[1]"):
        write_html(Page("m", "d", "s", {"test": report}, metadata={"recipe": text}), tmp_path / "r.html")
        assert "Recipe" not in (tmp_path / "r.html").read_text()


def test_a_failure_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, report = tmp_path / "r.html", evaluate([[0.5, 0.5]], [1], "ab")
    path.write_text("old")

    def stuck(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", stuck)
    with pytest.raises(OSError, match="disk full"):
        write_html(Page("m", "d", "s", {"test": report}), path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_the_command_writes_the_page_of_a_data_set(
    kaggle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = dict(list(robustness.CORRUPTIONS.items())[:2])
    monkeypatch.setattr(robustness, "CORRUPTIONS", some)
    path = tmp_path / "r.html"
    command = ["report", "--data", str(kaggle), "--out", str(path)]
    assert cli.app([*command, "--no-robustness"], result_action="return_value") == 0
    assert "Robustness" not in Seen(path.read_text("utf-8")).text
    assert cli.app(command, result_action="return_value") == 0
    text = Seen(path.read_text("utf-8")).text
    for words in ("T1", "T2", "Training without leaks", "Robustness", "Recipe", "surprise", *some):
        assert words in text
    assert "T3" not in text


def test_evaluate_compares_two_models_and_names_the_pictures(
    kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "e.json"
    command = ["evaluate", "--data", str(kaggle), "--compare", DEFAULT, "--json", str(path)]
    assert cli.app(command, result_action="return_value") == 0
    figures, text = json.loads(path.read_text()), capsys.readouterr().out
    compared = figures["comparison"]
    assert compared["model"] == figures["model"] and compared["sha256"] == figures["sha256"]
    assert compared["views"]["T1"]["difference"] == 0 and compared["views"]["T1"]["p"] == 1
    assert figures["views"]["T1"]["index"] in text and "McNemar p" in text
    assert "AURC" in text and "precision, recall, F1" in text


def test_evaluate_compares_the_two_models_that_are_named(kaggle: Path, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    command = ["evaluate", "--data", str(kaggle), "--json", str(path), "--compare", "swift", DEFAULT]
    assert cli.app(command, result_action="return_value") == 0
    figures = json.loads(path.read_text())
    assert (figures["model"], figures["comparison"]["model"]) == ("swift", DEFAULT)
    with pytest.raises(ConfigError, match="no --model"):
        cli.app([*command, "--model", "wide"], result_action="return_value")
