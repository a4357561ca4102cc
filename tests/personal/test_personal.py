"""The profile of one person: fit, file, and the guided recording without a window."""

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
from media_files import number, numbered

import mien
from mien import Pipeline
from mien.cli import main
from mien.errors import ConfigError, DataError, OutputError
from mien.live import playback
from mien.personal import prior
from mien.personal.fit import LEAST, SPREAD, Take, fit, solve, trial
from mien.personal.prior import CAP, PersonalClassifier, PriorShift, read_profile
from mien.personal.recorder import Recorder, prompts
from mien.types import EMOTIONS, Face, Failure, Frame, Image

LABELS = EMOTIONS
BIAS = np.array([0.5, -0.4, 0.3, -0.6, 0.2])  # sums to 0


def calibrated_rows(top: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Return calibrated rows, float64 (N, 5), and truth, (N,), with each class equally often."""
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


def with_bias(rows: np.ndarray, bias: np.ndarray) -> np.ndarray:
    shifted = rows * np.exp(bias)
    return shifted / shifted.sum(axis=1, keepdims=True)


def takes(rows: np.ndarray, truth: np.ndarray, seconds: float = 4.0, rounds: int = 2) -> list[Take]:
    """Return the same rows in each round, all with a face."""
    return [
        Take(label, k, seconds, int((truth == column).sum()), rows[truth == column].astype(np.float32))
        for k in range(rounds)
        for column, label in enumerate(LABELS)
    ]


class Fixed:
    """A classifier with a fixed answer."""

    labels: Sequence[str] = LABELS
    confidence_threshold = 0.4
    name, sha256 = "fixed", "a" * 64

    def __init__(self, row: Sequence[float] = (0.1, 0.2, 0.3, 0.0, 0.4)) -> None:
        self.row = np.float32(row)

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        return np.tile(self.row, (len(crops), 1))


def crops(count: int) -> np.ndarray:
    return np.zeros((count, 48, 48), np.uint8)


def test_fit_removes_a_known_bias() -> None:
    rows, truth = calibrated_rows()
    np.testing.assert_allclose(solve(with_bias(rows, BIAS), truth, 1e4), -BIAS, atol=2e-3)


def test_gradient_is_zero_at_the_optimum() -> None:
    """By numerical differences of the documented cost."""
    rows, truth = calibrated_rows()
    seen = with_bias(rows, BIAS)

    def cost(shift: np.ndarray) -> float:
        right = with_bias(seen, shift)[np.arange(len(truth)), truth]
        mean = sum(-np.log(right[truth == k]).mean() for k in range(5))
        return 8.0 * mean + float(shift @ shift) / (2 * SPREAD**2)

    shifts = solve(seen, truth, 8.0)
    for step in np.eye(5) * 1e-4:
        assert (cost(shifts + step) - cost(shifts - step)) / 2e-4 == pytest.approx(0, abs=1e-5)
    assert 0.3 < np.abs(shifts).max() < 0.6  # shrunk by the prior


@pytest.mark.parametrize("top", [0.4, 0.6, 0.8])
def test_calibrated_model_gets_no_shift(top: float) -> None:
    rows, truth = calibrated_rows(top)
    np.testing.assert_allclose(solve(rows, truth, 8.0), 0, atol=1e-6)


def test_number_of_frames_is_no_prior() -> None:
    """Ten times as many happy frames do not make happy more probable."""
    rows, truth = calibrated_rows()
    again = np.concatenate([rows, *[rows[truth == 1]] * 9])
    more = np.concatenate([truth, *[truth[truth == 1]] * 9])
    np.testing.assert_allclose(
        solve(with_bias(again, BIAS), more, 8.0), solve(with_bias(rows, BIAS), truth, 8.0), atol=1e-5
    )


def test_shift_grows_with_the_evidence() -> None:
    rows, truth = calibrated_rows()
    sizes = [np.abs(solve(with_bias(rows, BIAS), truth, weight)).sum() for weight in (0.0, 1.0, 8.0, 100.0)]
    assert sizes[0] == 0 and sizes == sorted(sizes) and len(set(sizes)) == 4


def test_shift_is_capped() -> None:
    rows, truth = np.tile([0.97, 0.01, 0.01, 0.005, 0.005], (50, 1)), np.repeat(np.arange(5), 10)
    shifts = solve(rows, truth, 1e4)
    assert np.abs(shifts).max() == pytest.approx(CAP) and np.abs(shifts).max() <= CAP
    even = PersonalClassifier(Fixed([0.2] * 5), PriorShift(dict(zip(LABELS, [-CAP, CAP, CAP, CAP, CAP], strict=True))))
    assert even(crops(1))[0, 0] == pytest.approx(1 / 65, rel=1e-5)  # 1/4 against four times 4


def test_fit_accepts_probabilities_of_zero() -> None:
    rows = np.eye(5)[[0, 0, 1, 2, 3, 4]]
    assert np.isfinite(solve(rows, np.array([0, 1, 1, 2, 3, 4]), 8.0)).all()


def test_fit_keeps_the_order_of_labels() -> None:
    rows, truth = calibrated_rows()
    shifts = fit(takes(with_bias(rows, BIAS), truth), LABELS)
    assert tuple(shifts) == LABELS
    assert list(shifts.values()) == pytest.approx(solve(with_bias(rows, BIAS).astype(np.float32), truth, 8.0), abs=1e-4)


def test_weight_counts_seconds_with_a_face() -> None:
    assert Take("happy", 0, 4.0, 120, np.zeros((120, 5), np.float32)).weight == 4
    assert Take("happy", 0, 4.0, 120, np.zeros((30, 5), np.float32)).weight == 1
    assert Take("happy", 0, 4.0, 2, np.zeros((2, 5), np.float32)).weight == 2
    assert Take("happy", 0, 4.0, 0, np.zeros((0, 5), np.float32)).weight == 0


def test_fit_names_emotions_with_too_few_frames() -> None:
    rows, truth = calibrated_rows()
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


def test_trial_measures_held_out_rounds() -> None:
    """The second round contradicts the first: a fit on one does harm in the other."""
    rows, truth = calibrated_rows(0.4)
    first = takes(with_bias(rows, 2 * BIAS), truth, rounds=1)
    second = [replace(take, round=1) for take in takes(with_bias(rows, -2 * BIAS), truth, rounds=1)]
    outcome = trial([*first, *second], LABELS)
    assert outcome.loss_after > outcome.loss_before and not outcome.helps
    for short in (first, [*first, *second[:4]], []):
        with pytest.raises(DataError, match="two rounds"):
            trial(short, LABELS)


def test_trial_helps_only_a_biased_model() -> None:
    rows, truth = calibrated_rows()
    bad = trial(takes(with_bias(rows, 3 * BIAS), truth), LABELS)
    assert bad.helps and bad.loss_after < bad.loss_before
    assert bad.accuracy_after - bad.accuracy_before > 0.05
    assert bad.before == pytest.approx({k: float((with_bias(rows, 3 * BIAS)[truth == n].argmax(1) == n).mean())
                                        for n, k in enumerate(LABELS)})  # fmt: skip
    good = trial(takes(rows, truth), LABELS)
    assert not good.helps and good.accuracy_after == good.accuracy_before == pytest.approx(0.6)


def test_personal_classifier_multiplies_the_odds() -> None:
    shifts = dict(zip(reversed(LABELS), [0.5, 0.0, -0.5, 0.2, 1.0], strict=True))  # by name, not by position
    inside = Fixed()
    personal = PersonalClassifier(inside, PriorShift(shifts, sha256="a" * 64))
    rows = personal(crops(3))
    assert rows.dtype == np.float32 and rows.shape == (3, 5)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert rows[0, 0] / rows[0, 4] == pytest.approx(0.1 / 0.4 * np.exp(1.0 - 0.5), rel=1e-5)
    assert rows[0, 3] == 0
    assert personal(crops(0)).shape == (0, 5)
    assert (personal.labels, personal.confidence_threshold, personal.warning) == (LABELS, 0.4, "")
    assert personal.classifier is inside and inside(crops(1))[0] == pytest.approx(inside.row)


def test_profile_of_other_classes_is_refused_and_of_another_model_warned() -> None:
    with pytest.raises(ConfigError, match="is for happy, sad, the model knows angry, happy"):
        PersonalClassifier(Fixed(), PriorShift({"happy": 0.0, "sad": 0.0}))
    other = PersonalClassifier(Fixed(), PriorShift(dict.fromkeys(LABELS, 0.0), sha256="b" * 64, model="rep"))
    assert "rep, sha256 bbbbbbbbbbbb" in other.warning and "fixed, aaaaaaaaaaaa" in other.warning


def test_profile_is_read_as_written(tmp_path: Path) -> None:
    profile = PriorShift(dict(zip(LABELS, BIAS, strict=True)), "a" * 64, "rep", "2025-01-31", "camera 0", 900)
    path = tmp_path / "new" / "me.json"
    profile.write(path)
    assert read_profile(path) == profile
    content = json.loads(path.read_text())
    assert content["sha256"] == "a" * 64 and "on request" in content["note"]
    assert set(content) == {"shifts", "sha256", "model", "date", "camera", "frames", "note"}
    (tmp_path / "bare.json").write_text('{"shifts": {"happy": 1}}')
    assert read_profile(tmp_path / "bare.json") == PriorShift({"happy": 1.0})


def test_failed_write_keeps_the_old_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "me.json"
    PriorShift({"happy": 0.5}).write(path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match=r"cannot be written \(No space"):
        PriorShift({"happy": 1.0}).write(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["me.json"] and read_profile(path).shifts == {"happy": 0.5}


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", '{"shifts": {"happy": 0.1', '{"shifts": []}', '{"shifts": {}}', '{"shifts": {"happy": "0"}}',
        '{"shifts": {"happy": true}}', '{"shifts": {"happy": NaN}}', '{"shifts": {"happy": 9}}',
        '{"shifts": {"happy": 0}, "sha256": 5}', '{"shifts": {"happy": 0}, "frames": "many"}', "\x00\xff",
    ],
)  # fmt: skip
def test_damaged_profile_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"me\.json: .*make it again with `mien personalize`"):
        read_profile(path)


def test_missing_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.json: cannot be read"):
        read_profile(tmp_path / "nowhere.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_profile(tmp_path)


class Middle:
    """Detects one face as wide as the frame, so that its crop shows the number, or misses it."""

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


STEP = 0.3  # s between frames, so that 255 numbers suffice


class Person(Fixed):
    """A biased model's answers for a person who follows the prompts.

    It reads the frame's number off the crop, because detection runs some frames ahead of classification.
    """

    def __init__(self, bias: np.ndarray) -> None:
        self._bias = bias

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        rows = np.full((len(crops), 5), 0.15)
        for row, crop in zip(rows, crops, strict=True):
            now = number(crop[..., None]) * STEP
            asked = next((p.emotion for p in prompts(LABELS, 2.0) if p.start <= now < p.end), "neutral")
            row[LABELS.index(asked)] = 0.4
        return with_bias(rows, self._bias).astype(np.float32)


class FrameList:
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
    """A view that keeps its images and presses q after some of them."""

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


def test_prompts_cover_every_emotion_in_each_round() -> None:
    plan = prompts((*LABELS, "bored"), 4.0)
    assert [p.text for p in plan[:6]] == [
        "look neutral", "look surprised", "look sad", "look happy", "look angry", "look bored"
    ]  # fmt: skip
    assert [p.emotion for p in plan[:6]] == [p.emotion for p in plan[6:]]
    assert [p.round for p in plan] == [0] * 6 + [1] * 6
    assert plan[0].start == 5 and all(p.end - p.start == 4 for p in plan)
    assert all(after.start - before.end == 2 for before, after in pairwise(plan))


def test_recorder_keeps_only_frames_of_a_prompt() -> None:
    messages: list[str] = []
    result = Recorder(FrameList(WHOLE), pipeline(np.zeros(5)), 2.0, on_message=messages.append).run()
    assert result is not None and [(take.emotion, take.round) for take in result] == [
        (p.emotion, p.round) for p in prompts(LABELS, 2.0)
    ]
    for take in result:
        assert take.frames == len(take.probabilities) in (6, 7)
        assert (take.probabilities.argmax(axis=1) == LABELS.index(take.emotion)).all()
    assert (
        messages[:2] == ["1 of 10: look neutral, get ready", "1 of 10: look neutral, now, for 2 s"]
        and len(messages) == 20
    )


def test_window_shows_the_prompt_and_no_prediction() -> None:
    screen = Screen()
    Recorder(FrameList(WHOLE), pipeline(detector=Middle(box=(20, 20, 60, 60))), 2.0, screen).run()
    lines = [" | ".join(lines) for _, lines in screen.shown]
    assert lines[0] == "1 of 10 | look neutral | starts in 5 s | q  quit"
    assert "3 of 10 | look sad | hold it for 2 s | q  quit" in lines
    bare = numbered(0)
    bare[14:66, 14:66] = screen.shown[0][0][14:66, 14:66]  # the outline
    assert (screen.shown[0][0] == bare).all()


def test_recorder_counts_empty_and_crowded_frames() -> None:
    result = Recorder(FrameList(WHOLE), pipeline(detector=Middle(lambda k: k % 2 == 0)), 2.0).run()
    assert result is not None and all(0 < len(take.probabilities) < take.frames for take in result)
    crowd = Recorder(FrameList(WHOLE), pipeline(detector=Middle(count=2)), 2.0)
    result = crowd.run()
    assert result is not None and crowd.crowded == sum(take.frames for take in result)
    assert all(len(take.probabilities) == take.frames for take in result)


def test_recorder_stops_on_q_and_refuses_a_short_source() -> None:
    assert Recorder(FrameList(WHOLE), pipeline(), 2.0, Screen(3)).run() is None
    with pytest.raises(DataError, match=r"camera 0: ended before the last prompt; 43 s are needed"):
        Recorder(FrameList(WHOLE - 3), pipeline(), 2.0).run()
    for seconds in (1.0, 61.0, float("nan")):
        with pytest.raises(ConfigError, match="give 2 to 60"):
            Recorder(FrameList(1), pipeline(), seconds)


def run(*words: str | Path) -> int:
    code = main.app([*map(str, words)], result_action="return_value")
    assert isinstance(code, int)
    return code


@pytest.fixture
def command(tmp_path: Path, film: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return command(pipeline, *words): `mien personalize` on a test video, with a clock that only sleeping moves."""
    path, now = film(tmp_path / "film.mp4", [k * STEP for k in range(WHOLE)]), [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(playback, "monotonic", lambda: now[0])

    monkeypatch.setattr(playback, "sleep", sleep)

    def call(fake: Pipeline, *words: str | Path) -> int:
        monkeypatch.setattr(mien, "load", lambda **_: fake)
        return run("personalize", path, "--headless", "--seconds", "2", *words)

    return call


def test_personalize_writes_a_profile_for_live_and_video(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile_path = tmp_path / "me.json"
    assert command(pipeline(), "--out", profile_path) == 0
    output = capsys.readouterr()
    assert "on request; no image is kept" in output.err and "10 of 10: look angry, now" in output.err
    assert f"wrote {profile_path}" in output.out and "cross-entropy" in output.out
    profile = read_profile(profile_path)
    assert profile.camera.endswith("film.mp4") and profile.sha256 == "a" * 64 and 60 <= profile.frames <= 70
    assert profile.shifts["surprise"] > 0.25 and profile.shifts["angry"] < -0.25

    film_path, table = tmp_path / "film.mp4", tmp_path / "out.jsonl"
    rows = []
    for words in ([], ["--profile", profile_path]):
        assert run("video", film_path, "--jsonl", table, "--smoothing", "0", *words) == 0
        rows.append([json.loads(line)["faces"][0]["probabilities"] for line in table.read_text().splitlines()])
    odds = np.array([[face["surprise"] / face["neutral"] for face in faces] for faces in rows])
    expected = np.exp(profile.shifts["surprise"] - profile.shifts["neutral"])
    assert odds[1] / odds[0] == pytest.approx(np.full(WHOLE, expected), rel=1e-3)

    PriorShift(profile.shifts, "b" * 64).write(profile_path)
    capsys.readouterr()
    assert run("live", film_path, "--headless", "--jsonl", table, "--profile", profile_path) == 0
    assert "made with another model file" in capsys.readouterr().err
    assert json.loads(table.read_text().splitlines()[0])["faces"][0]["probabilities"] == pytest.approx(rows[1][0])


def test_personalize_writes_a_useless_profile_only_if_forced(
    command: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile_path = tmp_path / "me.json"
    assert command(pipeline(np.zeros(5)), "--out", profile_path) == 1
    assert "nothing was written" in capsys.readouterr().out and not profile_path.exists()
    assert command(pipeline(np.zeros(5)), "--out", profile_path, "--force") == 0
    assert read_profile(profile_path).shifts == pytest.approx(dict.fromkeys(LABELS, 0.0), abs=1e-5)


def test_personalize_refuses_a_video_without_faces_and_bad_outputs(command: Callable[..., int], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face was found when asked for angry, happy, sad, surprise, neutral"):
        command(pipeline(detector=Middle(lambda _: True)), "--out", tmp_path / "me.json")
    with pytest.raises(ConfigError, match=r"must end in \.json"):
        run("personalize", "--out", tmp_path / "me.jpg")
    with pytest.raises(ConfigError, match=r"film\.mp4 is a file, not a folder"):
        run("personalize", "--out", tmp_path / "film.mp4" / "new" / "me.json")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


def test_personalize_returns_a_new_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "me.json"
    PriorShift(dict(zip(LABELS, BIAS, strict=True)), "a" * 64).write(path)
    old = Pipeline(Middle(), Fixed(), margin=0.1, align=False)
    new = prior.personalize(old, path)
    assert (new.detector, new.margin, new.align) == (old.detector, 0.1, False) and isinstance(old.classifier, Fixed)
    faces = [predict(numbered(0)).faces[0] for predict in (new, old)]
    assert faces[0].probabilities["happy"] / faces[0].probabilities["angry"] == pytest.approx(
        2 * np.exp(-0.9), rel=1e-4
    )
    assert faces[1].probabilities["happy"] == pytest.approx(0.2)
    twice = prior.personalize(new, path)  # in place of the first, not on top of it
    assert twice(numbered(0)).faces[0].probabilities == faces[0].probabilities


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_stopped_recording_leaves_no_file(number: signal.Signals, film: Callable[..., Path], tmp_path: Path) -> None:
    path, profile_path = film(tmp_path / "film.mp4", [k / 10 for k in range(250)]), tmp_path / "me.json"
    command = [sys.executable, "-m", "mien", "personalize", str(path), "--headless", "--out", str(profile_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            messages = [program.stderr.readline(), program.stderr.readline()]
            program.send_signal(number)
            rest = program.communicate(timeout=120)[1]
        finally:
            program.kill()
    assert messages[1] == "1 of 10: look neutral, get ready\n"
    if number == signal.SIGINT:
        assert program.returncode == 130 and rest.endswith("stopped; nothing was written\n")
        assert "Traceback" not in rest
    else:
        assert program.returncode == -number
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]
