"""What commands print: tables, lists on narrow terminals, plain lines elsewhere, a summary at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console
from test_cli import PORTRAIT, Bright

import mien
from mien import Face, Pipeline
from mien.cli import console, main, predict
from mien.cli.grid import Grid, Label
from mien.cli.names import cut, cut_middle, fit, short_names
from mien.cli.tables import faces_table
from mien.draw.palette import COLOURS
from mien.types import EMOTIONS7

CALM = dict(zip(EMOTIONS7, (0.61, 0.02, 0.03, 0.04, 0.1, 0.1, 0.1), strict=True))


def screen(width: int, **settings: object) -> Console:
    return Console(file=StringIO(), width=width, force_terminal=True, color_system="truecolor", **settings)  # type: ignore[arg-type]


def text(printed: Console) -> str:
    assert isinstance(printed.file, StringIO)
    return printed.file.getvalue()


def plain(grid: Grid, width: int) -> list[str]:
    printed = Console(file=StringIO(), width=width, force_terminal=True, color_system=None)
    grid.print(printed)
    return text(printed).splitlines()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that makes the commands believe that they print on a terminal of some columns."""

    def believe(width: int) -> None:
        for each in (console.out, console.err, console.aside):
            monkeypatch.setattr(each, "_force_terminal", True)
            monkeypatch.setattr(each, "_width", width)
            monkeypatch.setattr(each, "_height", 25)

    return believe


def faces(count: int) -> list[tuple[str, list[Face]]]:
    face = Face((0, 0, 9, 9), probabilities=CALM)
    names = ["photo.jpg", "a_very_long_name_of_a_photo_from_a_holiday_0001.jpg", "日本の夏休みの写真の長い名前0001.jpg"]
    return [(names[k % 3] + "x" * (k // 3), [face] * (k % 3)) for k in range(count)]


@pytest.mark.parametrize("width", [120, 100, 80, 60, 40])
@pytest.mark.parametrize("labels", [EMOTIONS7, EMOTIONS7[:5]])
def test_no_line_is_wider_than_the_terminal_and_no_class_is_cut(width: int, labels: tuple[str, ...]) -> None:
    lines = plain(faces_table(faces(9), labels), width)
    assert max(map(cell_len, lines)) <= width
    assert sum("angry" in line for line in lines) >= 9
    assert ("emotion" in lines[0]) == (width >= 80)


def test_narrow_terminals_get_a_list_with_the_best_classes() -> None:
    lines = plain(faces_table([("photo.jpg", []), ("b.jpg", faces(2)[1][1])], EMOTIONS7), 40)
    assert lines[:2] == ["photo.jpg", "  no face"]
    assert lines[2] == "b.jpg" and lines[3].startswith("  ● angry 61%, ")
    assert " ".join(lines[3:-1]).count("10%") == 2


@pytest.mark.parametrize("width", [10, 15, 20, 40])
def test_names_are_cut_with_an_ellipsis_and_stay_different(width: int) -> None:
    names = [f"holiday-by-the-sea-{k:02d}-with-friends-and-family.jpg" for k in range(30)]
    names += ["日本の夏休みの写真の長い名前.jpg", "日本の夏休みの写真の短い名前.jpg", "a.jpg"]
    short = fit(names, width)
    assert max(map(cell_len, short)) <= width and len(set(short)) == len(names)
    assert short[-1] == "a.jpg" and all("…" in name for name in short[:30])


def test_cut_keeps_what_fits() -> None:
    assert (cut("abcdef", 6), cut("abcdef", 4), cut("日本語", 4)) == ("abcdef", "abc…", "日…")
    assert (cut_middle("abcdefghij.jpg", 9), cut_middle("a.jpg", 9)) == ("ab…ij.jpg", "a.jpg")


def test_files_of_one_name_show_the_part_of_the_path_that_differs() -> None:
    paths = ["in/2023/raw/x/a.jpg", "in/2024/raw/x/a.jpg", "in/b.jpg", "b/c.jpg", "a/c.jpg"]
    assert short_names(paths) == ["2023/…/a.jpg", "2024/…/a.jpg", "b.jpg", "b/c.jpg", "a/c.jpg"]
    crossed = ["a/p/f", "b/p/f", "a/q/f", "b/q/f"]
    assert short_names(crossed) == crossed
    assert short_names(["f.jpg", "a/f.jpg", "a/f.jpg"]) == ["f.jpg", "a/f.jpg", "a/f.jpg"]


def test_messages_are_broken_between_words_on_a_terminal_alone() -> None:
    message = "the annotated copies are in /a/folder/of/a/name/that/is/longer/than/the/terminal, all of them"
    printed = screen(30)
    console.echo(message, printed)
    lines = text(printed).splitlines()
    assert len(lines) > 2 and " ".join(lines) == message
    other = Console(file=StringIO(), width=30)
    console.echo(message, other)
    assert text(other) == f"{message}\n"


def test_emotions_have_their_colours_and_uncertain_ones_are_gray() -> None:
    grid = Grid(["image", "emotion"])
    for emotion in EMOTIONS7:
        grid.add("a.jpg", Label(emotion))
    grid.add("a.jpg", Label("happy", uncertain=True))
    printed = screen(80)
    grid.print(printed)
    shown = text(printed)
    for blue, green, red in COLOURS.values():
        assert f"\x1b[38;2;{red};{green};{blue}m●" in shown
    assert "\x1b[38;2;185;185;185m● \x1b[0mhappy?" in shown
    bare = screen(80, no_color=True)
    grid.print(bare)
    assert "38;2" not in text(bare) and "● happy" in text(bare)


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert Console(force_terminal=True).no_color


def test_terminals_without_unicode_get_plain_signs() -> None:
    class Latin(StringIO):
        encoding = "latin-1"  # type: ignore[assignment]

    printed = Console(file=Latin(), width=60, force_terminal=True, color_system=None)
    faces_table(faces(6), EMOTIONS7[:5]).print(printed)
    assert text(printed).encode("latin-1", "replace").count(b"*") == 6


def test_tables_become_a_line_a_row_without_a_terminal() -> None:
    grid = Grid(["", "fer2013", "consensus"], title="mien-s", caption="in %")
    grid.add("accuracy", "77.1", "94.9")
    grid.add("precision")
    printed = Console(file=StringIO(), width=20)
    grid.print(printed)
    assert text(printed).splitlines() == ["mien-s", "accuracy: fer2013 77.1, consensus 94.9", "precision", "in %"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten gray images, of which two have one name, and five files that are no images."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright()))
    for k in range(10):
        Path(f"in/{k % 2}").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(f"in/{k % 2}/{max(k, 1)}.png", np.full((20, 20, 3), k, np.uint8))
    for k in range(10, 15):
        Path(f"in/{k}.png").write_bytes(b"not an image")
    return Path("in")


@pytest.mark.parametrize("more", [[], ["--csv", "rows.csv"], ["--jsonl", "rows.jsonl"]])
def test_predict_shows_a_limited_number_of_images_and_failures_on_a_terminal(
    folder: Path, terminal: Callable[[int], None], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], more: list[str],
) -> None:  # fmt: skip
    terminal(100)
    monkeypatch.setattr(predict, "_SHOWN", 3)
    assert main.app(["predict", str(folder), *more], result_action="return_value") == 1
    output = capsys.readouterr()
    assert sum(".png" in line for line in output.out.splitlines()) == 3
    assert f"7 more images are {'in ' + more[1] if more else 'not shown'}" in output.out
    assert output.err.count("not read:") == 3 and "2 more could not be read" in output.err
    assert "15 images, 10 faces, 0 without a face, 5 failed, " in output.out.splitlines()[-1]


def test_predict_prints_a_line_an_image_without_a_terminal(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predict, "_SHOWN", 3)
    assert main.app(["predict", str(folder)], result_action="return_value") == 1
    output = capsys.readouterr()
    lines = output.out.splitlines()
    assert len(lines) == 11 and lines[0] == "in/0/1.png: dark? 100%" and lines[5] == "in/1/1.png: dark? 100%"
    assert lines[-1].startswith("15 images, 10 faces, 0 without a face, 5 failed, ") and lines[-1].endswith(" s")
    assert output.err.count("not read:") == len(output.err.splitlines()) == 5


def test_two_files_of_one_name_differ_on_a_terminal(
    folder: Path, terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(80)
    main.app(["predict", str(folder)], result_action="return_value")
    shown = capsys.readouterr().out
    assert "0/1.png" in shown and "1/1.png" in shown and "in/" not in shown


def test_quiet_prints_warnings_and_errors_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.app(["predict", str(folder), "--quiet", "--jsonl=-"], result_action="return_value") == 1
    output = capsys.readouterr()
    assert output.err.count("not read:") == len(output.err.splitlines()) == 5
    main.app(["predict", str(folder), "-q"], result_action="return_value")
    assert capsys.readouterr().out == ""
    main.app(["predict", str(folder)], result_action="return_value")
    assert "15 images" in capsys.readouterr().out  # the next command prints again


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo terminals")
@pytest.mark.parametrize("width", [80, 40])
def test_a_real_terminal_gets_whole_words(width: int, tmp_path: Path) -> None:
    import pty
    import re
    import subprocess

    for k in range(5):
        (tmp_path / f"{k}.jpg").write_bytes(PORTRAIT.read_bytes() if k else b"no image")
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment |= {"COLUMNS": str(width), "LINES": "25", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "mien", "predict", str(tmp_path)]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as program:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux ends a pseudo terminal with an error
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert program.returncode == 1
    assert b"\x1b[38;5;" in shown
    lines = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode().replace("\r\n", "\n").splitlines()
    assert "5 images, 4 faces, 0 without a face, 1 failed, " in " ".join(lines[-2:])
    assert sum(line.split()[:2] == ["●", "happy"] for line in lines) == (4 if width == 40 else 0)
    assert sum("● happy" in line for line in lines) == 4
