"""RAF-DB, AffectNet, FER+ and class folders: layouts, labels by name, splits by content, errors that name the file."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.cli import main
from mien.data import ferplus
from mien.data.faces import SPLITS, Faces
from mien.data.fer2013 import load_fer2013
from mien.data.registry import load_any, recognise
from mien.data.splits import carve_splits
from mien.errors import ConfigError, DataError
from mien.evaluation import views
from mien.types import EMOTIONS, EMOTIONS7, EMOTIONS8, Floats

SHARED = Path(__file__).parents[3] / "shared"
RAFDB = {1: "surprise", 2: "fear", 3: "disgust", 4: "happy", 5: "sad", 6: "angry", 7: "neutral"}
AFFECTNET = {
    0: "neutral", 1: "happy", 2: "sad", 3: "surprise", 4: "fear", 5: "disgust", 6: "angry", 7: "contempt",
}  # fmt: skip


@pytest.fixture(autouse=True)
def cache_beside_the_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIEN_CACHE", raising=False)


def draw(path: Path, level: int, size: int = 60) -> Path:
    """A plain colour picture whose gray value is `level`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size, size, 3), level, np.uint8))
    return path


def noise(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (48, 48), dtype=np.uint8))
    return path


def by_name(faces: Faces) -> dict[str, tuple[str, str, int]]:
    """File name -> (class, split, gray value of the middle)."""
    rows = zip(faces.names, faces.targets, faces.splits, faces.images, strict=True)
    return {Path(name).name: (faces.labels[t], SPLITS[s], int(image[24, 24])) for name, t, s, image in rows}


@pytest.fixture
def rafdb(tmp_path: Path) -> Path:
    """Official RAF-DB: two training pictures a class (gray 10 * label and + 1), one test picture (+ 2)."""
    lines = []
    for label in RAFDB:
        for place, split in enumerate(("train", "train", "test")):
            stem = f"{split}_{label * 10 + place:05d}"
            draw(tmp_path / "RAF/basic/Image/aligned" / f"{stem}_aligned.jpg", label * 10 + place, 100)
            lines.append(f"{stem}.jpg {label}")
    listing = tmp_path / "RAF/basic/EmoLabel/list_patition_label.txt"
    listing.parent.mkdir()
    listing.write_text("\n".join(lines) + "\n")
    return tmp_path / "RAF"


@pytest.fixture
def affectnet(tmp_path: Path) -> Path:
    """AffectNet with npy annotations, text as in the real set: gray 20 + 20 * label in training, + 1 in validation."""
    for number in AFFECTNET:
        for offset, folder in enumerate(("train_set", "val_set")):
            draw(tmp_path / "affect" / folder / "images" / f"{number}.jpg", 20 + 20 * number + offset)
            note = tmp_path / "affect" / folder / "annotations" / f"{number}_exp.npy"
            note.parent.mkdir(exist_ok=True)
            np.save(note, np.array(str(number)))
    return tmp_path / "affect"


@pytest.fixture
def affectnet_csv(tmp_path: Path) -> Path:
    """AffectNet with csv lists: black pictures, and at (20, 10) a checkered face with the mean 100 + 10 * label."""
    root = tmp_path / "affect_csv"
    for listing, numbers in (("training", range(11)), ("validation", range(8))):
        rows = []
        for number in numbers:
            picture = np.zeros((120, 200, 3), np.uint8)
            checks = np.indices((96, 96)).sum(0) % 2 * 40 - 20
            picture[10:106, 20:116] = (checks + 100 + 10 * min(number, 7))[..., None]
            file = root / "Manually_Annotated_Images" / listing / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(file), picture)
            box = (20, 10, 96, 96) if number < 8 else ("NULL",) * 4
            rows.append((f"{listing}/{number}.png", *box, "1.0;2.0", number, 0.1, -0.1))
        path = root / "Manually_Annotated_file_lists" / f"{listing}.csv"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", newline="") as stream:
            head = (
                "subDirectory_filePath face_x face_y face_width face_height facial_landmarks expression valence arousal"
            )
            csv.writer(stream).writerows([head.split(), *rows])
    return root


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_rafdb_labels_are_mapped_by_name(rafdb: Path) -> None:
    faces = load_any(rafdb)
    assert recognise(rafdb) == "rafdb"
    assert faces.labels == EMOTIONS7
    found = by_name(faces)
    for label, name in RAFDB.items():
        assert found[f"test_{label * 10 + 2:05d}_aligned.jpg"] == (name, "PrivateTest", label * 10 + 2)
        train = {found[f"train_{label * 10 + place:05d}_aligned.jpg"] for place in (0, 1)}
        assert {name for name, _, _ in train} == {name}
        assert {split for _, split, _ in train} == {"Training", "PublicTest"}
    assert load_any(rafdb / "basic", classes=5).labels == EMOTIONS


def test_rafdb_list_may_name_aligned_files(rafdb: Path) -> None:
    before = by_name(load_any(rafdb))
    replace_in(rafdb / "basic/EmoLabel/list_patition_label.txt", ".jpg", "_aligned.jpg")
    assert by_name(load_any(rafdb)) == before


def test_rafdb_kaggle_copy_has_the_same_classes(tmp_path: Path) -> None:
    for label in RAFDB:
        draw(tmp_path / "DATASET/train" / str(label) / f"train_{label}.jpg", label * 10)
        draw(tmp_path / "DATASET/test" / str(label) / f"test_{label}.jpg", label * 10 + 5)
    (tmp_path / "train_labels.csv").write_text("image,label\n")
    found = by_name(load_any(tmp_path))
    assert all(found[f"test_{label}.jpg"] == (name, "PrivateTest", label * 10 + 5) for label, name in RAFDB.items())


def test_affectnet_npy_labels_are_mapped_by_name(affectnet: Path) -> None:
    faces = load_any(affectnet)
    assert recognise(affectnet) == "affectnet"
    assert faces.labels == EMOTIONS8
    rows = {(faces.labels[t], int(image[0, 0])) for t, image in zip(faces.targets, faces.images, strict=True)}
    assert rows == {(name, 20 + 20 * n + offset) for n, name in AFFECTNET.items() for offset in (0, 1)}
    assert {int(v) for v in faces.split("PrivateTest").images[:, 0, 0]} == {21 + 20 * n for n in AFFECTNET}
    assert load_any(affectnet, classes=7).labels == EMOTIONS7


def test_affectnet_csv_is_cropped_and_filtered(affectnet_csv: Path) -> None:
    faces = load_any(affectnet_csv, drop_leaks=False)
    assert len(faces) == 16
    assert len(faces.split("PrivateTest")) == 8
    assert faces.labels == EMOTIONS8
    for target, crop in zip(faces.targets, faces.images, strict=True):
        number = {name: n for n, name in AFFECTNET.items()}[faces.labels[target]]
        np.testing.assert_array_equal(crop, 100 + 10 * number)


def test_affectnet_csv_images_may_lie_one_folder_deeper(affectnet_csv: Path) -> None:
    (affectnet_csv / "Manually_Annotated").mkdir()
    shutil.move(affectnet_csv / "Manually_Annotated_Images", affectnet_csv / "Manually_Annotated")
    assert len(load_any(affectnet_csv, drop_leaks=False)) == 16


def test_affectnet_class_numbers_are_never_guessed(tmp_path: Path) -> None:
    for number in AFFECTNET:
        for split in ("train", "val", "test"):
            draw(tmp_path / split / str(number) / f"{split}_{number}.jpg", 20 * number)
    with pytest.raises(DataError, match=r"numbers 0, 1, .*give --kind: rafdb .*affectnet"):
        load_any(tmp_path)
    found = by_name(load_any(tmp_path, kind="affectnet", drop_leaks=False))
    assert all(found[f"val_{n}.jpg"] == (name, "PublicTest", 20 * n) for n, name in AFFECTNET.items())


def test_affectnet_validation_set_is_the_test_set(tmp_path: Path) -> None:
    for name in AFFECTNET.values():
        for split, count in (("train", 12), ("val", 2)):
            for k in range(count):
                noise(tmp_path / split / name / f"{split}_{name}_{k}.png", zlib.crc32(f"{name} {split} {k}".encode()))
    faces = load_any(tmp_path, kind="affectnet")
    tests = {str(name) for name in faces.split("PrivateTest").names}
    assert len(tests) == 16 and all("/val_" in name for name in tests)
    assert len(faces.split("PublicTest")) == 8  # a tenth of the training pictures


def test_class_folders_accept_aliases_sizes_and_upper_case(tmp_path: Path) -> None:
    for split in ("Train", "Valid", "Test"):
        for level, name in enumerate(("Anger", "happiness", "surprised", "bored"), start=2):
            draw(tmp_path / "archive" / split / name / f"{split}_{name}.PNG", level * 40, 20 * level)
    (tmp_path / "archive/Train/Anger/._junk.jpg").write_bytes(b"junk")
    (tmp_path / "archive/Train/Anger/notes.txt").write_text("not a picture")
    faces = load_any(tmp_path, drop_leaks=False)
    assert recognise(tmp_path) == "folder"
    assert faces.labels == ("angry", "happy", "surprise", "bored")
    found = by_name(faces)
    assert len(found) == 12
    assert found["Valid_happiness.PNG"] == ("happy", "PublicTest", 120)
    assert found["Test_bored.PNG"] == ("bored", "PrivateTest", 200)


def test_large_images_are_averaged(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    checks = (np.indices((96, 96)).sum(0) % 2 * 200).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "happy/a.png"), checks)
    noise(tmp_path / "sad/b.png", 1)
    faces = load_any(tmp_path)
    assert faces.names.tolist() == ["happy/a.png", "sad/b.png"]
    np.testing.assert_array_equal(faces.images[0], 100)


def test_carved_splits_depend_on_pixels_only(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for offset, name in enumerate(("happy", "sad")):
        for i in range(20 + 20 * offset):
            noise(one / name / f"{i}.png", 1000 * offset + i)
            noise(other / name / f"x{(i * 7) % 41}.png", 1000 * offset + i)
    faces, renamed = load_any(one), load_any(other)
    counts = Counter((SPLITS[s], faces.labels[t]) for s, t in zip(faces.splits, faces.targets, strict=True))
    assert counts == {
        ("Training", "happy"): 16, ("PublicTest", "happy"): 2, ("PrivateTest", "happy"): 2,
        ("Training", "sad"): 32, ("PublicTest", "sad"): 4, ("PrivateTest", "sad"): 4,
    }  # fmt: skip
    side = {image.tobytes(): split for image, split in zip(faces.images, faces.splits, strict=True)}
    assert all(side[i.tobytes()] == s for i, s in zip(renamed.images, renamed.splits, strict=True))


def test_duplicates_stay_in_one_split(tmp_path: Path) -> None:
    for i in range(30):
        file = noise(tmp_path / "happy" / f"{i}.png", i)
        noise(tmp_path / "sad" / f"{i}.png", 500 + i)
        for copy in (tmp_path / "happy" / f"copy{i}.png", tmp_path / "sad" / f"copy{i}.png"):
            shutil.copy(file, copy)
    faces = load_any(tmp_path, drop_leaks=False)
    sides: dict[bytes, set[int]] = {}
    for image, split in zip(faces.images, faces.splits, strict=True):
        sides.setdefault(image.tobytes(), set()).add(int(split))
    assert len(faces) == 120
    assert len(sides) == 60
    assert all(len(found) == 1 for found in sides.values())
    assert {next(iter(found)) for found in sides.values()} == {0, 1, 2}


def test_twins_of_test_images_are_leaks(tmp_path: Path) -> None:
    for i in range(10):
        file = noise(tmp_path / "test/happy" / f"{i}.png", i)
        shutil.copy(file, noise(tmp_path / "train/happy" / f"{i}.png", i))
        noise(tmp_path / "train/sad" / f"{i}.png", 100 + i)
    kept = load_any(tmp_path, drop_leaks=False)
    assert not any("happy" in name for name in kept.split("PublicTest").names)
    assert len(kept) == 30
    assert not any("happy" in name for name in load_any(tmp_path).split("Training").names)


def test_test_images_are_never_carved(tmp_path: Path) -> None:
    for i in range(4):
        noise(tmp_path / "test/happy" / f"{i}.png", i)
    assert [len(load_any(tmp_path).split(s)) for s in SPLITS] == [0, 0, 4]


def test_cache_keeps_labels(rafdb: Path) -> None:
    first = load_any(rafdb)
    assert list(rafdb.parent.glob(".mien-RAF-*.npz"))
    second = load_any(rafdb)
    assert second.labels == first.labels
    np.testing.assert_array_equal(second.images, first.images)
    np.testing.assert_array_equal(second.splits, first.splits)


def write_votes(path: Path, rows: dict[str, list[int]]) -> Path:
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["file", *ferplus.FERPLUS], *([name, *votes] for name, votes in rows.items())])
    return path


@pytest.mark.parametrize(
    ("votes", "label"),
    [
        ([0, 10, 0, 0, 0, 0, 0, 0, 0, 0], "happy"),
        ([0, 0, 0, 0, 0, 0, 0, 9, 1, 0], "contempt"),
        ([5, 1, 1, 1, 1, 0, 0, 0, 1, 0], "neutral"),  # 5 of 10, but 5 of the 5 votes that are not single
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ([3, 0, 0, 0, 3, 0, 0, 0, 4, 0], None),
        ([2, 0, 0, 0, 0, 0, 0, 0, 8, 0], None),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], None),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], None),
    ],
)
def test_ferplus_ignores_single_votes(kaggle: Path, tmp_path: Path, votes: list[int], label: str | None) -> None:
    names = sorted(p.relative_to(kaggle).as_posix() for p in kaggle.rglob("*.jpg"))
    path = write_votes(tmp_path / "votes.csv", {names[0]: votes, names[-1]: [0, 0, 10, 0, 0, 0, 0, 0, 0, 0]})
    faces = load_any(kaggle, classes=8, kind="ferplus", votes=path)
    assert faces.labels == EMOTIONS8
    found = {name: faces.labels[t] for name, t in zip(faces.names, faces.targets, strict=True)}
    assert found == {names[-1]: "surprise"} | ({names[0]: label} if label else {})


def test_load_any_reads_fer2013(kaggle: Path) -> None:
    assert recognise(kaggle) == "fer2013"
    for classes in (5, 7):
        expected, found = load_fer2013(kaggle, classes), load_any(kaggle, classes)
        assert found.labels == expected.labels
        np.testing.assert_array_equal(found.images, expected.images)
        np.testing.assert_array_equal(found.targets, expected.targets)
    with pytest.raises(DataError, match="has no class contempt"):
        load_any(kaggle, classes=8)


RAF_LIST, ALIGNED = "basic/EmoLabel/list_patition_label.txt", "basic/Image/aligned"
Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: shutil.rmtree(r / "basic/EmoLabel"), r"list_patition_label\.txt cannot be read"),
        (lambda r: replace_in(r / RAF_LIST, "jpg 7", "jpg 8"), r"list_patition_label\.txt, line 19: .*from 1 to 7"),
        (lambda r: replace_in(r / RAF_LIST, "test_00012", "probe_00012"), r"line 3: .*probe_00012"),
        (lambda r: (r / RAF_LIST).write_text("\n"), r"RAF holds no images of rafdb"),
        (
            lambda r: (r / ALIGNED / "train_00020_aligned.jpg").unlink(),
            r"train_00020_aligned\.jpg: does not exist.*line 4 names",
        ),
        (lambda r: cut(r / ALIGNED / "train_00020_aligned.jpg"), r"train_00020_aligned\.jpg: the file is cut short"),
    ],
)
def test_damaged_rafdb_is_named(rafdb: Path, damage: Damage, message: str) -> None:
    damage(rafdb)
    with pytest.raises(DataError, match=message):
        load_any(rafdb)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda r: (r / "train_set/annotations/3_exp.npy").unlink(),
            r"3_exp\.npy: (cannot|is missing)",
        ),
        (
            lambda r: cut(r / "train_set/annotations/3_exp.npy"),
            r"3_exp\.npy: (cannot|is missing)",
        ),
        (lambda r: np.save(r / "val_set/annotations/3_exp.npy", np.array("11")), r"3_exp\.npy: the expression '11'"),
        (lambda r: cut(r / "val_set/images/5.jpg"), r"5\.jpg: the file is cut short"),
        (lambda r: shutil.rmtree(r / "val_set"), r"val_set.images holds no images"),
    ],
)
def test_damaged_affectnet_is_named(affectnet: Path, damage: Damage, message: str) -> None:
    damage(affectnet)
    with pytest.raises(DataError, match=message):
        load_any(affectnet)


TRAINING = "Manually_Annotated_file_lists/training.csv"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / TRAINING).unlink(), r"training\.csv: cannot be read"),
        (
            lambda r: replace_in(r / TRAINING, "face_width", "width"),
            r"training\.csv: the columns face_width are missing",
        ),
        (lambda r: replace_in(r / TRAINING, ",3,0.1", ",12,0.1"), r"training\.csv, line 5: the expression '12'"),
        (lambda r: replace_in(r / TRAINING, "3.png,20,10,96", "3.png,20,10,-1"), r"line 5: .* no face box"),
        (lambda r: replace_in(r / TRAINING, "3.png,20", "3.png,900"), r"line 5: the face box .* outside .*3\.png"),
        (
            lambda r: (r / "Manually_Annotated_Images/training/3.png").unlink(),
            r"3\.png: does not exist.*line 5 names it",
        ),
    ],
)
def test_damaged_affectnet_csv_is_named(affectnet_csv: Path, damage: Damage, message: str) -> None:
    damage(affectnet_csv)
    with pytest.raises(DataError, match=message):
        load_any(affectnet_csv)


def test_bad_image_and_empty_class_are_named(tmp_path: Path) -> None:
    noise(tmp_path / "set/happy/a.png", 1)
    (tmp_path / "set/sad").mkdir()
    with pytest.raises(DataError, match=r"set.sad holds no images"):
        load_any(tmp_path / "set")
    (tmp_path / "set/sad/b.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"set.sad.b\.jpg: not an image"):
        load_any(tmp_path / "set")


def test_unknown_layout_lists_known_layouts(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Known: fer2013.*rafdb.*affectnet.*folder.*Found: nothing"):
        load_any(tmp_path)
    for name in "abcdefghij":
        (tmp_path / f"{name}.txt").write_text("")
    with pytest.raises(DataError, match=r"Found: a\.txt, b\.txt.* and 2 more"):
        load_any(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        load_any(tmp_path / "nowhere")


def test_unknown_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"not a known data set.*fer2013 \(zip"):
        load_any(tmp_path / "notes.txt")
    with zipfile.ZipFile(tmp_path / "RAF.zip", "w") as archive:
        archive.writestr("Image/aligned/train_1_aligned.jpg", b"x")
    with pytest.raises(DataError, match="unpack any other set and give the folder"):
        load_any(tmp_path / "RAF.zip")


def test_contradicting_settings_are_refused(rafdb: Path, affectnet: Path, kaggle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind must be one of fer2013, rafdb"):
        load_any(rafdb, kind="imagenet")
    with pytest.raises(ConfigError, match="classes must be 5, 7 or 8"):
        load_any(rafdb, classes=6)
    with pytest.raises(DataError, match="has no class contempt"):
        load_any(rafdb, classes=8)
    with pytest.raises(ConfigError, match="not to affectnet"):
        load_any(affectnet, votes=tmp_path / "votes.csv")
    with pytest.raises(DataError, match="need the votes"):
        load_any(kaggle, kind="ferplus")
    (tmp_path / "RAF.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="unpack it first"):
        load_any(tmp_path / "RAF.zip", kind="rafdb")
    (tmp_path / "numbers/9").mkdir(parents=True)
    noise(tmp_path / "numbers/9/a.png", 1)
    with pytest.raises(DataError, match=r"numbers.9: the class 9 is not one of 1, 2"):
        load_any(tmp_path / "numbers", kind="rafdb")


class Oracle:
    """Knows the class of a plain picture from its gray value, and is sure of it."""

    confidence_threshold = 0.0

    def __init__(self, labels: tuple[str, ...], levels: dict[int, str]) -> None:
        self.labels, self.levels = labels, levels

    def __call__(self, crops: np.ndarray) -> Floats:
        out = np.full((len(crops), len(self.labels)), 0.01, np.float32)
        for row, crop in zip(out, crops, strict=True):
            row[self.labels.index(self.levels[int(crop[24, 24])])] = 1
        return out / out.sum(1, keepdims=True)


def test_evaluation_uses_shared_classes(affectnet: Path) -> None:
    levels = {21 + 20 * number: name for number, name in AFFECTNET.items()}
    model = Oracle(("sad", "happy", "neutral", "bored"), levels)
    (view,) = (found := views.evaluate_views(Oracle(EMOTIONS8, levels), affectnet)).keys()
    assert (view, found[view].name, found[view].n, found[view].accuracy) == ("test", "test", 8, 1.0)
    report = views.evaluate_views(model, affectnet)["test"]
    assert report.labels == ("sad", "happy", "neutral")
    assert (report.n, report.accuracy) == (3, 1.0)
    assert "5 images of angry, disgust, fear, surprise, contempt" in report.name
    assert "the model's bored" in report.name


def test_evaluation_without_shared_classes_is_refused(tmp_path: Path) -> None:
    noise(tmp_path / "train/happy/a.png", 1)
    with pytest.raises(DataError, match="no PrivateTest images; choose the split Training"):
        views.evaluate_views(Oracle(("happy",), {}), tmp_path)
    with pytest.raises(ConfigError, match="the model knows calm, the data hold happy"):
        views.evaluate_views(Oracle(("calm",), {}), tmp_path, split="Training")


def test_evaluate_command_reports_left_out_classes(
    rafdb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--data", str(rafdb), "--json", str(tmp_path / "e.json"), "--plots", str(tmp_path / "p")]
    assert main.app(words, result_action="return_value") == 0
    assert "2 images of disgust, fear" in " ".join(capsys.readouterr().out.split())
    report = json.loads((tmp_path / "e.json").read_text())["views"]["test"]
    assert report["n"] == 5
    assert sorted(report["labels"]) == sorted(EMOTIONS)
    assert "2 images of disgust, fear" in report["name"]
    assert (tmp_path / "p/confusion-test.png").exists()


def test_real_ferplus_has_documented_counts(fer2013: Path) -> None:
    faces = load_any(fer2013, 8, "ferplus", SHARED / "data/ferplus_votes.csv", drop_leaks=False)
    counts = {split: np.bincount(faces.split(split).targets, minlength=8).tolist() for split in SPLITS}
    assert counts["PublicTest"] == [287, 24, 62, 865, 351, 415, 1182, 13]
    assert {split: sum(found) for split, found in counts.items()} == {
        "Training": 25046, "PublicTest": 3199, "PrivateTest": 3152,
    }  # fmt: skip


def carve(people: list[str], classes: list[int]) -> Faces:
    images = np.random.default_rng(0).integers(0, 256, (len(people), 48, 48), dtype=np.uint8)
    names = np.array([f"{n}.png" for n in range(len(people))])
    labels = tuple("abc"[: max(classes) + 1])
    splits = np.zeros(len(people), np.int8)
    return carve_splits(Faces(images, np.array(classes), splits, names, labels, people=np.array(people)))


def test_carved_splits_hold_whole_people_of_every_class() -> None:
    people = [f"p{n % 20}" for n in range(400)]
    found = carve(people, [n // 20 % 3 for n in range(400)])
    owners = [set(found.people[found.splits == split].tolist()) for split in (0, 1, 2)]
    assert not owners[0] & owners[1] and not owners[0] & owners[2] and not owners[1] & owners[2]
    for split in ("PublicTest", "PrivateTest"):
        assert all(count >= 5 for count in found.split(split).counts().values())
        assert 20 <= len(found.split(split)) <= 80
    again = carve(people[::-1], [n // 20 % 3 for n in range(400)][::-1])
    assert set(again.people[again.splits == 1].tolist()) == owners[1]  # the order does not matter


def test_too_few_people_are_split_by_image() -> None:
    found = carve(["anna", "ben"] * 50, [n // 2 % 2 for n in range(100)])
    assert [int((found.splits == split).sum()) for split in (0, 1, 2)] == [80, 10, 10]


def test_folders_within_a_class_are_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    rng = np.random.default_rng(0)
    for label in ("happy", "sad"):
        for person in ("anna", "ben", "cleo", "dan"):
            folder = tmp_path / "own" / label / person
            folder.mkdir(parents=True)
            for number in range(3):
                cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 256, (48, 48), dtype=np.uint8))
    for _ in range(2):  # read, then from the cache
        faces = load_any(tmp_path / "own")
        assert faces.people is not None
        assert set(faces.people.tolist()) == {"anna", "ben", "cleo", "dan"}
        assert [len(set(faces.people[faces.splits == split])) for split in (0, 1, 2)] == [2, 1, 1]
        assert len(np.unique(faces.clusters())) == 4
