"""The audit finds what was planted, and nothing in clean data."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import ndimage

from mien.cli import main
from mien.data import near_duplicates
from mien.data.audit import NEAR, audit, audit_source, sharpness
from mien.data.faces import SPLITS, Faces
from mien.errors import DataError
from mien.evaluation.audit_page import write_html
from mien.types import EMOTIONS7

SHARED = Path(__file__).parents[3] / "shared"


def smooth(seed: int) -> np.ndarray:
    """Soft shapes over fine grain: like a photograph, and unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    shapes = cv2.GaussianBlur(rng.standard_normal((48, 48)).astype(np.float32), (0, 0), 4)
    picture = 128 + 40 * shapes / shapes.std() + 6 * rng.standard_normal((48, 48))
    return np.clip(picture, 0, 255).astype(np.uint8)


def make_faces(images: list[np.ndarray], labels: str | list[str] = "happy", splits: list[int] | None = None) -> Faces:
    words = [labels] * len(images) if isinstance(labels, str) else labels
    return Faces(
        np.stack(images),
        np.array([EMOTIONS7.index(word) for word in words], np.int64),
        np.array(splits or [0] * len(images), np.int8),
        np.array([f"{k}.png" for k in range(len(images))]),
        EMOTIONS7,
    )


def test_clean_data_gives_no_findings() -> None:
    result = audit(make_faces([smooth(k) for k in range(30)], splits=[0, 1, 2] * 10))
    assert {count for _, count, _ in result.findings()} == {0}


def test_audit_finds_duplicates_leaks_and_conflicts() -> None:
    a, b, c, d = (smooth(k) for k in range(4))
    images = [b, a, a, c, a, c, d, b]
    labels = ["happy", "sad", "sad", "fear", "angry", "fear", "sad", "happy"]
    result = audit(make_faces(images, labels, [0, 0, 2, 0, 0, 0, 0, 1]))
    assert result.duplicates == ((1, 2, 4), (0, 7), (3, 5))
    assert result.conflicts == ((1, 2, 4),)
    assert result.leaks == (0, 1, 4)
    assert result.near == () and result.near_leaks == ()
    counts = {what: count for what, count, _ in result.findings()}
    assert counts["redundant copies"] == 4
    assert counts["groups within one split"] == 1
    assert counts["groups across splits"] == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 0),
        lambda picture: (picture * 0.6 + 20).astype(np.uint8),
        lambda picture: cv2.rectangle(picture.copy(), (2, 42), (13, 44), 255, -1),
        lambda picture: cv2.GaussianBlur(picture, (0, 0), 1),
    ],
    ids=["jpeg", "contrast", "watermark", "blur"],
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_changed_copy_is_a_near_duplicate(change: Callable[[np.ndarray], np.ndarray], mirrored: bool) -> None:
    copy = change(smooth(5))
    result = audit(make_faces([*(smooth(k) for k in range(9)), copy[:, ::-1] if mirrored else copy]))
    (pair,) = result.near
    assert (pair.first, pair.second, pair.mirrored) == (5, 9, mirrored)
    assert result.duplicates == ()


@pytest.mark.parametrize(("block", "threshold"), [(4096, 0.6), (7, 0.6), (1, 0.97)])
def test_near_pairs_equal_brute_force(monkeypatch: pytest.MonkeyPatch, block: int, threshold: float) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK", block)
    rng = np.random.default_rng(0)
    base = [smooth(k) for k in range(20)]
    noisy = [np.clip(i + rng.normal(0, 4 * k, i.shape), 0, 255).astype(np.uint8) for k, i in enumerate(base)]
    # Changed along one wave only, the one that blocks are sorted by; and nearly symmetric, so alike both ways round.
    wave = np.cos(2 * np.pi * (np.arange(48) + 0.5) / 48)
    waved = [np.clip(i + 2 * k * wave, 0, 255).astype(np.uint8) for k, i in enumerate(base[:10])]
    even = [(0.6 * i + 0.4 * i[:, ::-1]).astype(np.uint8) for i in base[10:15]]
    images = np.stack([*base, *(i[:, ::-1] for i in noisy), *waved, *even, *(i[:, ::-1] for i in even)])
    flat, turned = images.reshape(60, -1), images[:, :, ::-1].reshape(60, -1)
    plain, flipped = np.corrcoef(flat), np.corrcoef(flat, turned)[:60, 60:]
    best = np.maximum(plain, flipped)
    expected = {(a, b) for a in range(60) for b in range(a + 1, 60) if best[a, b] >= threshold}
    pairs = near_duplicates.near_pairs(images, np.arange(60), threshold)
    assert {(p.first, p.second) for p in pairs} == expected
    assert 10 < len(expected) < 200  # pairs lie on both sides of the threshold
    for p in pairs:
        assert p.correlation == pytest.approx(best[p.first, p.second], abs=1e-5)
        assert p.mirrored == (flipped[p.first, p.second] > plain[p.first, p.second])
    values = [p.correlation for p in pairs]
    assert values == sorted(values, reverse=True)


def test_near_copy_of_a_test_image_is_a_near_leak() -> None:
    a, b = smooth(1), smooth(2)
    lighter = cv2.add(a, 10)
    result = audit(make_faces([a, lighter, lighter, b, a, cv2.add(a, 5)], splits=[2, 0, 0, 0, 0, 1]))
    assert result.leaks == (4,)
    assert result.near_leaks == (1, 2)
    assert len(result.near) == 3
    assert audit(make_faces([a, lighter], splits=[2, 0])).near_leaks == (1,)
    assert audit(make_faces([lighter, a], splits=[0, 2])).near_leaks == (0,)
    assert audit(make_faces([lighter, a], splits=[1, 2])).near_leaks == ()


def test_too_many_pairs_and_bad_thresholds_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    faces = make_faces([cv2.add(smooth(1), k) for k in range(6)])
    assert len(audit(faces).near) == 15
    monkeypatch.setattr(near_duplicates, "_MAX_PAIRS", 14)
    with pytest.raises(DataError, match="choose a higher value"):
        audit(faces)
    for value in (0, 1.5):
        with pytest.raises(DataError, match=r"at most 1"):
            audit(faces, near=value)


def test_images_of_one_gray_are_only_blank() -> None:
    flat = [np.full((48, 48), value, np.uint8) for value in (0, 90, 91)]
    speck = flat[0].copy()
    speck[3, 3] = 60
    result = audit(make_faces([*flat, speck, smooth(1)]))
    assert result.blank == (0, 1, 2, 3)
    assert result.blurred == () and result.near == ()
    assert audit(make_faces(flat)).blank == (0, 1, 2)


def test_sharpness_is_a_ratio_of_variances() -> None:
    images = np.stack([smooth(k) for k in range(5)] + [np.full((48, 48), 7, np.uint8)])
    expected = [ndimage.laplace(i.astype(float), mode="mirror").var() / i.var() for i in images[:5]]
    np.testing.assert_allclose(sharpness(images), [*expected, 0], rtol=1e-5)


def test_blurred_images_are_sorted_and_low_contrast_is_no_blur() -> None:
    rng = np.random.default_rng(3)
    sharp = [rng.integers(0, 256, (48, 48), dtype=np.uint8) for _ in range(4)]
    faint = (sharp[0] // 12 + 100).astype(np.uint8)
    result = audit(
        make_faces([*sharp, cv2.GaussianBlur(sharp[1], (0, 0), 3), faint, cv2.GaussianBlur(sharp[2], (0, 0), 4)])
    )
    assert result.blurred == (6, 4)
    assert result.blank == ()


@pytest.mark.parametrize(("sigma", "flagged"), [(0.35, False), (0.4, True), (1.0, True)])
@pytest.mark.parametrize("blurred", [0, 1, 2])
def test_blurred_split_is_flagged(blurred: int, sigma: float, flagged: bool) -> None:
    images = [smooth(k) for k in range(60)]
    splits = [k % 3 for k in range(60)]
    assert audit(make_faces(images, splits=splits)).blurred_splits == ()
    softened = [cv2.GaussianBlur(i, (5, 5), sigma) if k == blurred else i for i, k in zip(images, splits, strict=True)]
    result = audit(make_faces(softened, splits=splits))
    assert result.blurred_splits == ((SPLITS[blurred],) if flagged else ())
    assert min(result.sharpness, key=result.sharpness.__getitem__) == SPLITS[blurred]


def test_classes_are_counted_per_split() -> None:
    result = audit(make_faces([smooth(k) for k in range(5)], ["sad", "sad", "happy", "sad", "fear"], [0, 0, 0, 2, 2]))
    assert list(result.balance) == ["Training", "PrivateTest"]
    assert {k: n for k, n in result.balance["Training"].items() if n} == {"sad": 2, "happy": 1}
    assert {k: n for k, n in result.balance["PrivateTest"].items() if n} == {"sad": 1, "fear": 1}


def test_labels_are_compared_with_ferplus_majority() -> None:
    faces = make_faces([smooth(k) for k in range(7)], ["sad"] * 6 + ["happy"])
    votes = np.zeros((7, 10), np.int16)
    votes[0, [3, 0]] = 6, 4  # sadness
    votes[1, [0, 3]] = 6, 4  # neutral
    votes[2, 0] = 10  # neutral, clearer
    votes[3, [0, 3]] = 5, 5  # no majority
    votes[4, 9] = 8  # not a face
    votes[6, 1] = 10  # happiness; 5 has no votes
    result = audit(replace(faces, votes=votes)).votes
    assert result is not None
    row = {"sad": 1, "neutral": 2, "no majority": 1, "NF": 1, "no votes": 1}
    assert {name: n for name, n in result.table["sad"].items() if n} == row
    assert result.share["sad"] == pytest.approx(3 / 4)
    assert result.share["happy"] == 0
    assert result.disagree == (2, 4, 1)
    assert result.seen == ("neutral", "NF", "neutral")
    assert result.agreement == pytest.approx((1, 1, 0.6))
    assert audit(faces).votes is None


BAD = {
    "test/sad/PublicTest_998.png": "96x96 pixels, not 48x48",
    "train/happy/Training_997.jpg": "32x64 pixels, not 48x48",
    "train/happy/Training_999.jpg": "the file is cut short; copy or download it again",
}


def spoil(kaggle: Path) -> None:
    cv2.imwrite(str(kaggle / "train/happy/Training_997.jpg"), np.zeros((64, 32), np.uint8))
    cv2.imwrite(str(kaggle / "test/sad/PublicTest_998.png"), np.zeros((96, 96), np.uint8))
    (kaggle / "train/happy/Training_999.jpg").write_bytes(b"\xff\xd8\xff")


def test_broken_and_wrong_size_files_are_findings(kaggle: Path, tmp_path: Path) -> None:
    before = audit_source(kaggle)
    assert before.unusable == {}
    spoil(kaggle)
    words = ["data", "audit", str(kaggle), "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    assert main.app(words, result_action="return_value") == 0
    result = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert result["unusable"] == BAD
    assert result["counts"]["images that are broken or of another size"] == 3
    assert result["images"] == len(before.faces) and result["balance"] == before.to_dict()["balance"]
    page = (tmp_path / "a.html").read_text("utf-8")
    assert all(name in page and reason.partition(" (")[0] in page for name, reason in BAD.items())


def test_bad_csv_rows_are_findings(tmp_path: Path) -> None:
    path = tmp_path / "fer2013.csv"
    rng = np.random.default_rng(0)
    rows = [
        f"{k % 7},{' '.join(map(str, rng.integers(0, 256, 2304)))},{split}"
        for k in range(7)
        for split in ("Training", "PublicTest", "PrivateTest")
    ]
    path.write_text("\n".join(["emotion,pixels,Usage", "3,1 2 3,Training", f"3,{'999 ' * 2304},Training", *rows]))
    result = audit_source(path)
    assert list(result.unusable) == ["line 2", "line 3"] and len(result.faces) == 21


def test_any_folder_of_classes_can_be_audited(tmp_path: Path) -> None:
    for label in ("calm", "tense"):
        (tmp_path / label).mkdir()
        for k in range(4):
            cv2.imwrite(str(tmp_path / label / f"{k}.png"), smooth(k + 10 * (label == "tense") * (k > 0)))
    (tmp_path / "calm" / "x.png").write_bytes(b"no picture")
    result = audit_source(tmp_path)
    assert result.faces.labels == ("calm", "tense")
    assert len(result.conflicts) == 1 and list(result.unusable) == ["calm/x.png"]


def test_audit_raises_other_loading_errors(kaggle: Path, tmp_path: Path) -> None:
    (kaggle / "train/happy").rename(kaggle / "train/joy")
    with pytest.raises(DataError, match="unknown class folder 'joy'"):
        audit_source(kaggle)
    with pytest.raises(DataError, match="does not exist"):
        audit_source(tmp_path / "nothing")


def test_audit_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    a = smooth(1)
    faces = make_faces(
        [a, a, cv2.add(a, 9), np.zeros((48, 48), np.uint8), smooth(2)], ["sad", "happy", "sad", "sad", "fear"]
    )
    votes = np.zeros((5, 10), np.int16)
    votes[:, 1] = 10
    names = np.array([f"<b>{k}&.png" for k in range(5)])
    write_html(audit(replace(faces, names=names, votes=votes)), tmp_path / "new" / "a.html", "<script>x</script>")
    page = (tmp_path / "new" / "a.html").read_text("utf-8")
    assert "&lt;script&gt;x" in page and page.count("<script") == 1  # the page's own
    assert "&lt;b&gt;0&amp;.png" in page and "<b>" not in page
    sources = re.findall(r'(?:src|href)="([^"#]*)"', page)
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    first = np.frombuffer(base64.b64decode(sources[0].partition(",")[2]), np.uint8)
    np.testing.assert_array_equal(cv2.imdecode(first, cv2.IMREAD_UNCHANGED), a)
    for heading in ("conflicting labels", "Near-duplicates", "Blank images", "against the FER+ majority"):
        assert re.search(f"<h2[^>]*>[^<]*{re.escape(heading)}", page)
    assert not re.search("<h2[^>]*>Blurred images", page)  # there are none
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["a.html"]


def test_audit_command_writes_table_json_and_page(
    kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = (kaggle / "test/sad").glob("PublicTest_*.jpg").__next__()
    (kaggle / "train/happy/Training_999.jpg").write_bytes(copy.read_bytes())
    words = ["data", "audit", str(kaggle), "--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    assert main.app(words, result_action="return_value") == 0
    assert "redundant copies" in capsys.readouterr().out
    report = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert report["images"] == 71
    assert report["leaks"] == ["train/happy/Training_999.jpg"]
    (group,) = report["conflicts"]
    assert [(i["name"], i["label"], i["split"]) for i in group["images"]] == [
        (copy.relative_to(kaggle).as_posix(), "sad", "PublicTest"),
        ("train/happy/Training_999.jpg", "happy", "Training"),
    ]
    assert report["counts"]["Training images identical to a test image"] == 1
    assert report["ferplus"] is None
    assert "Training_999.jpg" in (tmp_path / "a.html").read_text("utf-8")


def test_real_fer2013_audit_has_known_figures(fer2013: Path) -> None:
    result = audit_source(fer2013, SHARED / "data/ferplus_votes.csv")
    remarks = {what: (count, remark) for what, count, remark in result.findings()}
    assert remarks["Training images identical to a test image"] == (692, "539 of the five classes")
    assert remarks["redundant copies"][0] == 1839
    assert result.blurred_splits == ()
    assert len(result.blank) == 14
    assert all(p.correlation >= NEAR for p in result.near)
    known = np.corrcoef(*(result.faces.images[[result.near[-1].first, result.near[-1].second]].reshape(2, -1)))[0, 1]
    assert result.near[-1].mirrored or known == pytest.approx(result.near[-1].correlation, abs=1e-5)


def test_page_shows_all_labels_of_a_conflict_in_order(tmp_path: Path) -> None:
    labels = ["sad", *["angry"] * 9, "happy", "sad"]
    write_html(audit(make_faces([smooth(1)] * 12, labels)), tmp_path / "a.html", "t")
    page = (tmp_path / "a.html").read_text("utf-8")
    shown = re.findall(r">(\w+)<br>", page[page.index("conflicting labels</h2>") :])[:8]
    assert shown == [*["angry"] * 5, "happy", "sad", "sad"]
