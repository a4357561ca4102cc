"""Class priors from labelled images of one person: reading, fit, cross-validation, the command."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mien import Pipeline
from mien.errors import DataError
from mien.personal.images import Album, cross_validate, fit, folds, read_album
from mien.personal.prior import read_profile
from mien.types import Face, Floats, Image


class Middle:
    """Finds one face in bright images, none in dark ones."""

    name = "middle"

    def __call__(self, image: Image) -> list[Face]:
        height, width = image.shape[:2]
        return [Face((0, 0, width, height))] if image.mean() > 20 else []


class Gray:
    """Tells classes by brightness, but is far too fond of `neutral`."""

    labels, confidence_threshold, sha256, name = ("happy", "sad", "neutral"), 0.0, "0" * 64, "gray"

    def __call__(self, crops: np.ndarray) -> Floats:
        level = crops.mean((1, 2)) / 255
        logits = np.stack([6 * level, 6 * (1 - level), np.full(len(crops), 4.2)], 1)
        powers = np.exp(logits)
        return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def write(folder: Path, level: int, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = np.full((60, 60, 3), level + number, np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)


@pytest.fixture
def me(tmp_path: Path) -> Path:
    write(tmp_path / "me/Happiness", 160, 6)
    write(tmp_path / "me/sad", 60, 6)
    write(tmp_path / "me/neutral", 105, 6)
    return tmp_path / "me"


def test_album_maps_class_names_and_names_what_it_leaves_out(me: Path) -> None:
    write(me / "wink", 160, 2)
    write(me / "sad", 0, 1)
    album = read_album(me, Pipeline(Middle(), Gray()))
    assert (album.labels, album.unknown, album.faceless) == (("happy", "sad", "neutral"), ("wink",), ("sad/0.png",))
    assert np.bincount(album.truth).tolist() == [6, 5, 6]
    assert np.allclose(album.probabilities.sum(1), 1)


def test_shifts_undo_a_bias_and_held_out_images_show_it(me: Path) -> None:
    album = read_album(me, Pipeline(Middle(), Gray()))
    shifts, trial = fit(album, Gray.labels), cross_validate(album)
    assert shifts["neutral"] < -0.1 < min(shifts["happy"], shifts["sad"])
    assert trial.accuracy_after > trial.accuracy_before
    assert trial.helps


def test_class_without_images_keeps_its_prior(me: Path) -> None:
    for file in (me / "sad").iterdir():
        file.unlink()
    (me / "sad").rmdir()
    album = read_album(me, Pipeline(Middle(), Gray()))
    assert album.labels == ("happy", "neutral")
    assert fit(album, Gray.labels)["sad"] == 0


def test_random_labels_do_not_help() -> None:
    rng = np.random.default_rng(0)
    rows = rng.dirichlet(np.ones(3), 60).astype(np.float32)
    truth = np.arange(60) % 3
    trial = cross_validate(Album(("a", "b", "c"), rows, truth, np.arange(60)))
    assert not trial.helps


def test_sessions_are_never_split() -> None:
    sessions = np.repeat(np.arange(8), 5)
    album = Album(("a", "b"), np.full((40, 2), 0.5, np.float32), np.repeat(np.arange(8) % 2, 5), sessions)
    parts = folds(album)
    assert sum(part.sum() for part in parts) == 40
    for part in parts:
        assert not set(sessions[part].tolist()) & set(sessions[~part].tolist())
    with pytest.raises(DataError, match="images of two sessions for each class"):
        cross_validate(Album(("a", "b"), album.probabilities, np.repeat([0, 1], 20), np.repeat([0, 1], 20)))


@pytest.mark.parametrize(
    ("remove", "words"), [(("Happiness", "sad"), "two classes or more"), (("few",), "3 images with a face .* happy 2")]
)
def test_too_few_images_are_named(me: Path, remove: tuple[str, ...], words: str) -> None:
    for name in remove:
        for file in sorted((me / name).glob("*"))[:]:
            file.unlink()
        if name != "few":
            (me / name).rmdir()
    if remove == ("few",):
        for file in sorted((me / "Happiness").iterdir())[2:]:
            file.unlink()
    with pytest.raises(DataError, match=words):
        read_album(me, Pipeline(Middle(), Gray()))


def test_command_writes_a_profile_or_says_that_it_does_not_help(
    me: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import mien
    from mien.cli.main import app

    monkeypatch.setattr(mien, "load", lambda **options: Pipeline(Middle(), Gray()))
    out = tmp_path / "profile.json"
    words = ["personalize", "--data", str(me), "--out", str(out)]
    assert app(words, result_action="return_value") == 0
    profile = read_profile(out)
    assert (profile.frames, profile.camera) == (18, "me") and profile.shifts["neutral"] < 0
    for file in (me / "neutral").iterdir():
        file.unlink()
    (me / "neutral").rmdir()
    out.unlink()
    assert app(words, result_action="return_value") == 1
    assert not out.exists()
    assert "no image shows neutral" in capsys.readouterr().err
