"""A calibration for one person: what is fitted, what is refused, and the guided recording without a window."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import mien
from conftest import number, numbered
from mien import Pipeline, calibrate, cli, session
from mien.calibrate import CAP, LEAST, Calibrated, Calibration, Take, fit, read, solve, trial
from mien.guide import Guide, prompts
from mien.types import EMOTIONS, ConfigError, DataError, Face, Failure, Frame, Image

LABELS = EMOTIONS
BIAS = np.array([0.5, -0.4, 0.3, -0.6, 0.2])  # sums to 0


def honest(top: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Rows that are right exactly as often as they say, each class asked for as often: float64 (N, 5), truth (N,)."""
    low = round(10 * (1 - top) / 4, 9)
    rows, truth = [], []
    for favourite in range(5):
        row = np.full(5, low / 10)
        row[favourite] = top
        for right in range(5):
            for _ in range(round(20 * row[right])):
                rows.append(row)
                truth.append(right)
    return np.array(rows), np.array(truth)


def biased(rows: np.ndarray, bias: np.ndarray) -> np.ndarray:
    shifted = rows * np.exp(bias)
    return shifted / shifted.sum(axis=1, keepdims=True)


def takes(rows: np.ndarray, truth: np.ndarray, seconds: float = 4.0, rounds: int = 2) -> list[Take]:
    """The same rows in each round, all with a face."""
    return [
        Take(label, k, seconds, int((truth == column).sum()), rows[truth == column].astype(np.float32))
        for k in range(rounds)
        for column, label in enumerate(LABELS)
    ]


class Fixed:
    """A classifier that always says the same."""

    labels: Sequence[str] = LABELS
    uncertain_below = 0.4
    name, sha256 = "fixed", "a" * 64

    def __init__(self, row: Sequence[float] = (0.1, 0.2, 0.3, 0.0, 0.4)) -> None:
        self.row = np.float32(row)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(self.row, (len(crops), 1))


def crops(count: int) -> np.ndarray:
    return np.zeros((count, 48, 48), np.uint8)


def test_a_known_bias_is_taken_back() -> None:
    rows, truth = honest()
    np.testing.assert_allclose(solve(biased(rows, BIAS), truth, 1e4), -BIAS, atol=2e-3)


def test_the_optimum_has_no_slope() -> None:
    """By numerical differences of the function that the documentation names."""
    rows, truth = honest()
    seen = biased(rows, BIAS)

    def cost(shift: np.ndarray) -> float:
        right = biased(seen, shift)[np.arange(len(truth)), truth]
        mean = sum(-np.log(right[truth == k]).mean() for k in range(5))
        return 8.0 * mean + float(shift @ shift) / (2 * calibrate.SPREAD**2)

    found = solve(seen, truth, 8.0)
    for step in np.eye(5) * 1e-4:
        assert (cost(found + step) - cost(found - step)) / 2e-4 == pytest.approx(0, abs=1e-5)
    assert 0.3 < np.abs(found).max() < 0.6  # shrunk, and on its way


@pytest.mark.parametrize("top", [0.4, 0.6, 0.8])
def test_a_model_that_is_right_as_often_as_asked_stays_as_it_is(top: float) -> None:
    rows, truth = honest(top)
    np.testing.assert_allclose(solve(rows, truth, 8.0), 0, atol=1e-6)


def test_numbers_of_frames_are_no_prior() -> None:
    """Ten times as many frames of happy do not make happy more probable."""
    rows, truth = honest()
    again = np.concatenate([rows, *[rows[truth == 1]] * 9])
    more = np.concatenate([truth, *[truth[truth == 1]] * 9])
    np.testing.assert_allclose(solve(biased(again, BIAS), more, 8.0), solve(biased(rows, BIAS), truth, 8.0), atol=1e-5)


def test_the_shift_grows_with_the_evidence_and_is_nothing_without() -> None:
    rows, truth = honest()
    sizes = [np.abs(solve(biased(rows, BIAS), truth, looks)).sum() for looks in (0.0, 1.0, 8.0, 100.0)]
    assert sizes[0] == 0 and sizes == sorted(sizes) and len(set(sizes)) == 4


def test_no_shift_is_beyond_the_cap_and_no_class_vanishes() -> None:
    rows, truth = np.tile([0.97, 0.01, 0.01, 0.005, 0.005], (50, 1)), np.repeat(np.arange(5), 10)
    found = solve(rows, truth, 1e4)
    assert np.abs(found).max() == pytest.approx(CAP) and np.abs(found).max() <= CAP
    even = Calibrated(Fixed([0.2] * 5), Calibration(dict(zip(LABELS, [-CAP, CAP, CAP, CAP, CAP], strict=True))))
    assert even(crops(1))[0, 0] == pytest.approx(1 / 65, rel=1e-5)  # 1/4 against four times 4


def test_zeros_do_not_break_the_fit() -> None:
    rows = np.eye(5)[[0, 0, 1, 2, 3, 4]]
    assert np.isfinite(solve(rows, np.array([0, 1, 1, 2, 3, 4]), 8.0)).all()


def test_fit_names_the_shifts_in_the_models_order() -> None:
    rows, truth = honest()
    found = fit(takes(biased(rows, BIAS), truth), LABELS)
    assert tuple(found) == LABELS
    assert list(found.values()) == pytest.approx(solve(biased(rows, BIAS).astype(np.float32), truth, 8.0), abs=1e-4)


def test_a_second_is_one_look_and_a_frame_is_at_most_one() -> None:
    assert Take("happy", 0, 4.0, 120, np.zeros((120, 5), np.float32)).looks == 4
    assert Take("happy", 0, 4.0, 120, np.zeros((30, 5), np.float32)).looks == 1
    assert Take("happy", 0, 4.0, 2, np.zeros((2, 5), np.float32)).looks == 2
    assert Take("happy", 0, 4.0, 0, np.zeros((0, 5), np.float32)).looks == 0


def test_too_little_is_told() -> None:
    rows, truth = honest()
    with pytest.raises(DataError, match=rf"angry 2\.0 s, happy 2\.0 s.*{LEAST:g} s are needed"):
        fit(takes(rows, truth, seconds=1.0), LABELS)
    blind = [
        Take(take.emotion, take.round, 4.0, 40, take.probabilities[: 0 if take.emotion in ("sad", "angry") else None])
        for take in takes(rows, truth)
    ]
    with pytest.raises(DataError, match=r"no face was found when asked for angry, sad; .*light"):
        fit(blind, LABELS)
    with pytest.raises(DataError, match="no face"):
        fit([], LABELS)


def test_a_trial_measures_rounds_that_the_fit_has_not_seen() -> None:
    """The second round contradicts the first: what is learnt from one does harm in the other."""
    rows, truth = honest(0.4)
    first = takes(biased(rows, 2 * BIAS), truth, rounds=1)
    second = [replace(take, round=1) for take in takes(biased(rows, -2 * BIAS), truth, rounds=1)]
    found = trial([*first, *second], LABELS)
    assert found.loss_after > found.loss_before and not found.helps
    for short in (first, [*first, *second[:4]], []):
        with pytest.raises(DataError, match="two rounds"):
            trial(short, LABELS)


def test_a_trial_tells_where_it_helps_and_where_not() -> None:
    rows, truth = honest()
    bad = trial(takes(biased(rows, 3 * BIAS), truth), LABELS)
    assert bad.helps and bad.loss_after < bad.loss_before
    assert bad.accuracy_after - bad.accuracy_before > 0.05
    assert bad.before == pytest.approx({k: float((biased(rows, 3 * BIAS)[truth == n].argmax(1) == n).mean())
                                        for n, k in enumerate(LABELS)})  # fmt: skip
    good = trial(takes(rows, truth), LABELS)
    assert not good.helps and good.accuracy_after == good.accuracy_before == pytest.approx(0.6)


def test_the_wrapper_multiplies_the_odds() -> None:
    shifts = dict(zip(reversed(LABELS), [0.5, 0.0, -0.5, 0.2, 1.0], strict=True))  # by name, not by place
    inside = Fixed()
    made = Calibrated(inside, Calibration(shifts, sha256="a" * 64))
    got = made(crops(3))
    assert got.dtype == np.float32 and got.shape == (3, 5)
    np.testing.assert_allclose(got.sum(axis=1), 1, atol=1e-6)
    assert got[0, 0] / got[0, 4] == pytest.approx(0.1 / 0.4 * np.exp(1.0 - 0.5), rel=1e-5)
    assert got[0, 3] == 0
    assert made(crops(0)).shape == (0, 5)
    assert (made.labels, made.uncertain_below, made.warning) == (LABELS, 0.4, "")
    assert made.classifier is inside and inside(crops(1))[0] == pytest.approx(inside.row)


def test_other_classes_are_refused_and_another_model_is_told() -> None:
    with pytest.raises(ConfigError, match="is for happy, sad, the model knows angry, happy"):
        Calibrated(Fixed(), Calibration({"happy": 0.0, "sad": 0.0}))
    other = Calibrated(Fixed(), Calibration(dict.fromkeys(LABELS, 0.0), sha256="b" * 64, model="rep"))
    assert "rep, sha256 bbbbbbbbbbbb" in other.warning and "fixed, aaaaaaaaaaaa" in other.warning


def test_a_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    made = Calibration(dict(zip(LABELS, BIAS, strict=True)), "a" * 64, "rep", "2025-01-31", "camera 0", 900)
    path = tmp_path / "new" / "me.json"
    made.write(path)
    assert read(path) == made
    held = json.loads(path.read_text())
    assert held["sha256"] == "a" * 64 and "on request" in held["note"]
    assert set(held) == {"shifts", "sha256", "model", "date", "camera", "frames", "note"}
    (tmp_path / "bare.json").write_text('{"shifts": {"happy": 1}}')
    assert read(tmp_path / "bare.json") == Calibration({"happy": 1.0})


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "me.json"
    Calibration({"happy": 0.5}).write(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ConfigError, match=r"cannot be written \(No space"):
        Calibration({"happy": 1.0}).write(path)
    assert [each.name for each in tmp_path.iterdir()] == ["me.json"] and read(path).shifts == {"happy": 0.5}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", '{"shifts": {"happy": 0.1', '{"shifts": []}', '{"shifts": {}}', '{"shifts": {"happy": "0"}}',
        '{"shifts": {"happy": true}}', '{"shifts": {"happy": NaN}}', '{"shifts": {"happy": 9}}',
        '{"shifts": {"happy": 0}, "sha256": 5}', '{"shifts": {"happy": 0}, "frames": "many"}', "\x00\xff",
    ],
)  # fmt: skip
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"me\.json: .*make it again with `mien calibrate`"):
        read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json: cannot be read"):
        read(tmp_path / "nowhere.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path)


class Middle:
    """A detector that finds one face as wide as the frame, so that its crop shows the number, or misses it."""

    name = "yunet"

    def __init__(
        self,
        missing: Callable[[int], bool] = lambda _: False,
        count: int = 1,
        box: tuple[float, float, float, float] = (0, -32, 160, 128),
    ) -> None:
        self._missing, self._faces = missing, [Face(box)] * count

    def __call__(self, image: np.ndarray) -> list[Face]:
        return [] if self._missing(number(image)) else self._faces


STEP = 0.3  # s between the frames of a made recording, so that no more than 255 numbers are needed


class Person(Fixed):
    """Says of each crop what a person who does as the prompts say would look like, seen by a model with a bias.

    It reads the frame's number off the crop: a video is searched some frames ahead of those that are classified.
    """

    def __init__(self, bias: np.ndarray) -> None:
        self._bias = bias

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        rows = np.full((len(pictures), 5), 0.15)
        for row, picture in zip(rows, pictures, strict=True):
            now = number(picture[..., None]) * STEP
            asked = next((p.emotion for p in prompts(LABELS, 2.0) if p.start <= now < p.end), "neutral")
            row[LABELS.index(asked)] = 0.4
        return biased(rows, self._bias).astype(np.float32)


class Given:
    """A source of numbered frames."""

    name, rate = "camera 0", 1 / STEP

    def __init__(self, count: int) -> None:
        self._items: Iterator[Frame | Failure] = iter([Frame(numbered(k), k, 7 + k * STEP) for k in range(count)])
        self.ended = False

    def get(self, timeout: float | None = None) -> Frame | Failure | None:
        item = next(self._items, None)
        self.ended = item is None
        return item


class Screen:
    """A view that presses q after some pictures, and keeps what it was shown."""

    def __init__(self, after: int = 1000) -> None:
        self.shown: list[tuple[Image, list[str]]] = []
        self._after = after

    def show(self, image: Image, lines: Sequence[str] = ()) -> None:
        self.shown.append((image, list(lines)))

    def keys(self) -> list[str]:
        return ["q"] if len(self.shown) >= self._after else []


def pipeline(bias: np.ndarray = 1.2 * BIAS, detector: Middle | None = None) -> Pipeline:
    return Pipeline(detector or Middle(), Person(bias))


WHOLE = int(prompts(LABELS, 2.0)[-1].end / STEP) + 2


def test_every_emotion_is_asked_for_in_every_round_with_time_between() -> None:
    made = prompts((*LABELS, "bored"), 4.0)
    assert [p.words for p in made[:6]] == [
        "look neutral", "look surprised", "look sad", "look happy", "look angry", "look bored"
    ]  # fmt: skip
    assert [p.emotion for p in made[:6]] == [p.emotion for p in made[6:]]
    assert [p.round for p in made] == [0] * 6 + [1] * 6
    assert made[0].start == 5 and all(p.end - p.start == 4 for p in made)
    assert all(after.start - before.end == 2 for before, after in pairwise(made))


def test_only_frames_of_a_prompt_count() -> None:
    told: list[str] = []
    made = Guide(Given(WHOLE), pipeline(np.zeros(5)), 2.0, tell=told.append).run()
    assert made is not None and [(take.emotion, take.round) for take in made] == [
        (p.emotion, p.round) for p in prompts(LABELS, 2.0)
    ]
    for take in made:
        assert take.frames == len(take.probabilities) in (6, 7)
        assert (take.probabilities.argmax(axis=1) == LABELS.index(take.emotion)).all()
    assert told[:2] == ["1 of 10: look neutral, get ready", "1 of 10: look neutral, now, for 2 s"] and len(told) == 20


def test_the_window_shows_the_prompt_and_not_the_answer() -> None:
    screen = Screen()
    Guide(Given(WHOLE), pipeline(detector=Middle(box=(20, 20, 60, 60))), 2.0, screen).run()
    lines = [" | ".join(lines) for _, lines in screen.shown]
    assert lines[0] == "1 of 10 | look neutral | starts in 5 s | q  quit"
    assert "3 of 10 | look sad | hold it for 2 s | q  quit" in lines
    bare = numbered(0)
    bare[14:66, 14:66] = screen.shown[0][0][14:66, 14:66]  # the outline
    assert (screen.shown[0][0] == bare).all()


def test_frames_without_a_face_and_with_several_are_counted() -> None:
    made = Guide(Given(WHOLE), pipeline(detector=Middle(lambda k: k % 2 == 0)), 2.0).run()
    assert made is not None and all(0 < len(take.probabilities) < take.frames for take in made)
    crowd = Guide(Given(WHOLE), pipeline(detector=Middle(count=2)), 2.0)
    made = crowd.run()
    assert made is not None and crowd.crowded == sum(take.frames for take in made)
    assert all(len(take.probabilities) == take.frames for take in made)


def test_q_ends_it_and_a_source_that_ends_is_told() -> None:
    assert Guide(Given(WHOLE), pipeline(), 2.0, Screen(3)).run() is None
    with pytest.raises(DataError, match=r"camera 0: ended before the last prompt; 43 s are needed"):
        Guide(Given(WHOLE - 3), pipeline(), 2.0).run()
    for seconds in (1.0, 61.0, float("nan")):
        with pytest.raises(ConfigError, match="give 2 to 60"):
            Guide(Given(1), pipeline(), seconds)


def run(*words: str | Path) -> int:
    code = cli.app([*map(str, words)], result_action="return_value")
    assert isinstance(code, int)
    return code


@pytest.fixture
def command(tmp_path: Path, film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`mien calibrate` on a made video, by a clock that only sleeping moves: command(pipeline, words)."""
    path, now = film(tmp_path / "film.mp4", [k * STEP for k in range(WHOLE)]), [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(session, "monotonic", lambda: now[0])
    monkeypatch.setattr(session, "sleep", sleep)

    def call(made: Pipeline, *words: str | Path) -> int:
        monkeypatch.setattr(mien, "load", lambda **_: made)
        return run("calibrate", path, "--headless", "--seconds", "2", *words)

    return call


def test_the_command_writes_what_helps_and_live_and_video_use_it(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goal, made = tmp_path / "me.json", pipeline()
    assert command(made, "--out", goal) == 0
    told = capsys.readouterr()
    assert "on request; no picture is kept" in told.err and "10 of 10: look angry, now" in told.err
    assert f"wrote {goal}" in told.out and "cross-entropy" in told.out
    held = read(goal)
    assert held.camera.endswith("film.mp4") and held.sha256 == "a" * 64 and 60 <= held.frames <= 70
    assert held.shifts["surprise"] > 0.25 and held.shifts["angry"] < -0.25

    film_path, table = tmp_path / "film.mp4", tmp_path / "out.jsonl"
    rows = []
    for words in ([], ["--calibration", goal]):
        assert run("video", film_path, "--jsonl", table, "--smooth", "0", *words) == 0
        rows.append([json.loads(line)["faces"][0]["probabilities"] for line in table.read_text().splitlines()])
    odds = np.array([[face["surprise"] / face["neutral"] for face in each] for each in rows])
    wanted = np.exp(held.shifts["surprise"] - held.shifts["neutral"])
    assert odds[1] / odds[0] == pytest.approx(np.full(WHOLE, wanted), rel=1e-3)

    Calibration(held.shifts, "b" * 64).write(goal)
    capsys.readouterr()
    assert run("live", film_path, "--headless", "--jsonl", table, "--calibration", goal) == 0
    assert "made with another model file" in capsys.readouterr().err
    assert json.loads(table.read_text().splitlines()[0])["faces"][0]["probabilities"] == pytest.approx(rows[1][0])


def test_the_command_writes_nothing_that_does_not_help_unless_it_must(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    goal = tmp_path / "me.json"
    assert command(pipeline(np.zeros(5)), "--out", goal) == 1
    assert "nothing was written" in capsys.readouterr().out and not goal.exists()
    assert command(pipeline(np.zeros(5)), "--out", goal, "--force") == 0
    assert read(goal).shifts == pytest.approx(dict.fromkeys(LABELS, 0.0), abs=1e-5)


def test_the_command_says_when_nobody_was_seen(command: Callable[..., int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face was found when asked for angry, happy, sad, surprise, neutral"):
        command(pipeline(detector=Middle(lambda _: True)), "--out", tmp_path / "me.json")
    with pytest.raises(ConfigError, match=r"let it end in \.json"):
        run("calibrate", "--out", tmp_path / "me.jpg")
    with pytest.raises(ConfigError, match=r"film\.mp4 is no folder of yours"):
        run("calibrate", "--out", tmp_path / "film.mp4" / "new" / "me.json")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_apply_gives_a_new_pipeline_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    Calibration(dict(zip(LABELS, BIAS, strict=True)), "a" * 64).write(path)
    old = Pipeline(Middle(), Fixed(), margin=0.1, align=False)
    new = calibrate.apply(old, path)
    assert (new.detector, new.margin, new.align) == (old.detector, 0.1, False) and isinstance(old.classifier, Fixed)
    faces = [each(numbered(0)).faces[0] for each in (new, old)]
    assert faces[0].probabilities["happy"] / faces[0].probabilities["angry"] == pytest.approx(
        2 * np.exp(-0.9), rel=1e-4
    )
    assert faces[1].probabilities["happy"] == pytest.approx(0.2)
    twice = calibrate.apply(new, path)  # in place of the first, not on top of it
    assert twice(numbered(0)).faces[0].probabilities == faces[0].probabilities


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_recording_that_is_stopped_leaves_no_file(
    number: signal.Signals, film: Callable[..., Path], tmp_path: Path
) -> None:
    path, goal = film(tmp_path / "film.mp4", [k / 10 for k in range(250)]), tmp_path / "me.json"
    command = [sys.executable, "-m", "mien", "calibrate", str(path), "--headless", "--out", str(goal)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            told = [program.stderr.readline(), program.stderr.readline()]
            program.send_signal(number)
            rest = program.communicate(timeout=120)[1]
        finally:
            program.kill()
    assert told[1] == "1 of 10: look neutral, get ready\n"
    if number == signal.SIGINT:
        assert program.returncode == 130 and rest.endswith("stopped; nothing was written\n")
        assert "Traceback" not in rest
    else:
        assert program.returncode == -number
    assert [each.name for each in tmp_path.iterdir()] == ["film.mp4"]
