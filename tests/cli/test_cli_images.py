"""`mien predict` on other people's folders: every file is read, a failure, or counted."""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fuzz_images import chunk, seeds
from PIL import Image as Pil
from PIL import features
from test_cli import PORTRAIT, Bright, run, run_process

import mien
from mien import ConfigError, Pipeline
from mien.cli import main


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def save(path: Path, image: Pil.Image, kind: str, **options: object) -> Path:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipeline that finds one face in any image."""
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright()))


def portrait(side: int = 320) -> Pil.Image:
    return Pil.open(PORTRAIT).convert("RGB").resize((side, side))


def test_predict_reads_images_of_every_kind_and_counts_the_other_files(tmp_path: Path) -> None:
    image, folder = portrait(), tmp_path / "in"
    folder.mkdir()
    kinds: dict[str, tuple[str, dict[str, object]]] = {
        "a.jfif": ("JPEG", {}), "b.jpg": ("JPEG", {}), "c.mpo": ("MPO", {}), "d.apng": ("PNG", {}),
        "e.dib": ("DIB", {}), "f.ppm": ("PPM", {}), "g.tif": ("TIFF", {"save_all": True, "append_images": [image]}),
        "h.gif": ("GIF", {}), "i.webp": ("WEBP", {}), "j.tga": ("TGA", {}),
    }  # fmt: skip
    if features.check("avif"):
        kinds["k.avif"] = "AVIF", {}
    if features.check("jpg_2000"):
        kinds["l.jp2"] = "JPEG2000", {}
    for name, (kind, options) in kinds.items():
        save(folder / name, image, kind, **options)
    width, height = image.size
    head = f"P7\nWIDTH {width}\nHEIGHT {height}\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n"
    (folder / "m.pam").write_bytes(head.encode() + image.tobytes())
    names = [*kinds, "m.pam"]
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.from_pillow(image).save(str(folder / "n.heic"))
        names.append("n.heic")
    for name in ("talk.mp4", "a.mov", "b.mov", "letter.pdf"):
        (folder / name).write_bytes(b"x")
    done = run("predict", folder, "--jsonl", tmp_path / "r.jsonl")
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path / "r.jsonl")
    wanted = sorted([*names, "g.tif, page 2"])
    assert [Path(str(row["name"])).name for row in found] == wanted
    assert {row["faces"][0]["emotion"] for row in found} == {"happy"}  # type: ignore[index]
    assert "skipped: 2 .mov (use mien video), 1 .mp4 (use mien video), 1 .pdf" in done.stderr.splitlines()


@pytest.mark.usefixtures("quick")
def test_predict_on_a_folder_without_images_says_what_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "talk.mp4").write_bytes(b"x")
    monkeypatch.setattr(sys, "argv", ["mien", "predict", str(tmp_path)])
    with pytest.raises(SystemExit, match="2"):
        main.main()
    assert "no images in this folder; skipped: 1 .mp4 (use mien video)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("quick")
def test_predict_names_the_extra_that_reads_heic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    size = b"\0\0\0\x14ispe\0\0\0\0" + (60).to_bytes(4, "big") + (40).to_bytes(4, "big")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x10ftypheic\0\0\0\0" + size)
    save(tmp_path / "b.png", Pil.new("RGB", (20, 20)), "PNG")
    words = ["predict", str(tmp_path), "--jsonl", str(tmp_path / "r.jsonl")]
    assert main.app(words, result_action="return_value") == 1
    failure, read = rows(tmp_path / "r.jsonl")
    assert "pip install 'mien[heif]'" in str(failure["error"]) and "faces" in read
    assert "pip install 'mien[heif]'" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("quick")
def test_predict_resumes_within_the_pages_of_a_tiff(tmp_path: Path) -> None:
    pages = [Pil.new("RGB", (20, 20), (k, k, k)) for k in range(3)]
    save(tmp_path / "a.tif", pages[0], "TIFF", save_all=True, append_images=pages[1:])
    lines = tmp_path / "r.jsonl"
    words = ["predict", str(tmp_path), "--jsonl", str(lines)]
    assert main.app(words, result_action="return_value") == 0
    whole = lines.read_text()
    assert len(whole.splitlines()) == 3
    lines.rename(tmp_path / "r.jsonl.part")
    (tmp_path / "r.jsonl.part").write_text("".join(whole.splitlines(keepends=True)[:2]))
    assert main.app([*words, "--resume"], result_action="return_value") == 0
    assert lines.read_text() == whole


def test_predict_goes_on_past_pipes_and_huge_sparse_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with (folder / "a.jpg").open("wb") as file:
        file.truncate(12_000_000_000)
    os.mkfifo(folder / "x.jpg")
    (folder / "y.jpg").symlink_to("nothing")
    (folder / "z.jpg").write_bytes(PORTRAIT.read_bytes())
    command = [sys.executable, "-m", "mien", "predict", str(folder), "--jsonl", str(tmp_path / "r.jsonl")]
    limit = 8_000_000_000  # of address space: less than the sparse file
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert done.returncode == 1, done.stderr
    found = {Path(str(row["name"])).name: row for row in rows(tmp_path / "r.jsonl")}
    assert "more than the limit of 256 MB" in str(found["a.jpg"]["error"])
    assert "a named pipe" in str(found["x.jpg"]["error"]) and "a broken link" in str(found["y.jpg"]["error"])
    assert found["z.jpg"]["faces"][0]["emotion"] == "happy"  # type: ignore[index]


@pytest.mark.usefixtures("quick")
def test_predict_has_a_row_for_a_folder_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("closed", "open"):
        (tmp_path / "in" / name).mkdir(parents=True)
        save(tmp_path / "in" / name / "a.png", Pil.new("RGB", (20, 20)), "PNG")
    scandir = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    words = ["predict", str(tmp_path / "in"), "--jsonl", str(tmp_path / "r.jsonl")]
    assert main.app(words, result_action="return_value") == 1
    closed, read = rows(tmp_path / "r.jsonl")
    assert "cannot be listed (Permission denied)" in str(closed["error"]) and "faces" in read
    assert "cannot be listed" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_predict_turns_images_with_transparency_upright(tmp_path: Path, kind: str) -> None:
    image = portrait().convert("RGBA").rotate(180)
    image.putpixel((0, 0), (0, 0, 0, 0))
    exif = Pil.Exif()
    exif[274] = 3
    options: dict[str, object] = {"tiffinfo": {274: 3}} if kind == "TIFF" else {"exif": exif}
    path = save(tmp_path / f"x.{kind.lower()}", image, kind, **options)
    (face,) = Pipeline()(path).faces
    assert face.emotion == "happy" and face.confidence > 0.9


def test_predict_turns_images_of_16_bits_upright(tmp_path: Path) -> None:
    gray = np.asarray(portrait().convert("L").rotate(180), np.uint16) * 257
    exif = Pil.Exif()
    exif[274] = 3
    path = save(tmp_path / "x.png", Pil.fromarray(gray), "PNG", exif=exif)
    done = run("predict", path, "--jsonl", tmp_path / "r.jsonl")
    assert done.returncode == 0, done.stderr
    (row,) = rows(tmp_path / "r.jsonl")
    assert [face["emotion"] for face in row["faces"]] == ["happy"]  # type: ignore[attr-defined]


def huge_chunk() -> bytes:
    size = chunk(b"IHDR", (48).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0")
    return b"\x89PNG\r\n\x1a\n" + size + b"\xff\xff\xff\xf0IDATIEND"


def many_scans() -> bytes:
    buffer = io.BytesIO()
    Pil.new("RGB", (5000, 5000), (90, 60, 30)).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    scan, end = data.rfind(b"\xff\xda"), data.rfind(b"\xff\xd9")
    return data[:end] + data[scan:end] * 3000 + data[end:]


def deep_pixels() -> bytes:
    size = (9950).to_bytes(4, "big") * 2 + b"\x10\x06\0\0\0"
    packer = zlib.compressobj(9, wbits=-15)
    rows = packer.compress(bytes(50 * (9950 * 8 + 1))) + packer.flush(zlib.Z_FULL_FLUSH)  # the same 199 times
    checksum = (9950 * (9950 * 8 + 1) % 65521 << 16 | 1).to_bytes(4, "big")  # Adler-32 of zeros
    parts = ((b"IHDR", size), (b"IDAT", b"\x78\x9c" + 199 * rows + b"\x03\0" + checksum), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, content) for kind, content in parts)


PEAK = """
import re, sys
from mien.cli import main

sys.argv[1:] = ["predict", *sys.argv[1:]]
try:
    main.main()
finally:
    print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is asked of /proc")
@pytest.mark.parametrize("bomb", [huge_chunk, many_scans, deep_pixels])
def test_predict_refuses_a_bomb_without_taking_memory(tmp_path: Path, bomb: Callable[[], bytes]) -> None:
    path = tmp_path / "bomb.img"
    path.write_bytes(bomb())
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=False)
    told = " ".join(done.stderr.split())
    assert done.returncode == 1 and "not read: " in told and "bomb.img: " in told
    assert int(done.stdout.split()[-1]) < 700_000  # kB; Python, OpenCV and ONNX Runtime take 150,000 of them


def test_predict_reads_and_writes_names_that_are_not_utf8(tmp_path: Path) -> None:
    here = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff"))
    (here / "in").mkdir(parents=True)
    (here / "in" / os.fsdecode(b"b\xfe.jpg")).write_bytes(PORTRAIT.read_bytes())
    (here / "in" / os.fsdecode(b"c\xfe\x1b.png")).write_bytes(b"no image")
    (here / os.fsdecode(b"b\xff.mp4")).write_bytes(b"x")
    outputs = ["--jsonl", "r.jsonl", "--csv", "r.csv", "--save", "s", "--crops", "c"]
    words = ["predict", "in", os.fsdecode(b"b\xff.mp4"), *outputs]
    done = subprocess.run([sys.executable, "-m", "mien", *words], cwd=here, capture_output=True, check=False)
    told = done.stderr.decode("utf-8")
    assert done.returncode == 1 and b"Traceback" not in done.stderr, told
    found = {os.fsencode(str(row["name"])): row for row in rows(here / "r.jsonl")}
    assert found[b"in/b\xfe.jpg"]["faces"][0]["emotion"] == "happy"  # type: ignore[index]
    assert "a video, not an image" in str(found[b"b\xff.mp4"]["error"])
    assert "c\\xfe\\x1b.png" in told and "\x1b" not in told
    assert len(list((here / "s").iterdir())) == len(list((here / "c").iterdir())) == 1
    # In a folder of its own with an absolute path, too.
    done = subprocess.run([sys.executable, "-m", "mien", "predict", here / "in"], capture_output=True, check=False)
    assert done.returncode == 1 and b"Traceback" not in done.stderr and b"happy" in done.stdout


def test_predict_loads_a_model_from_a_folder_whose_name_is_not_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/m\xff"))
    folder.mkdir()
    (folder / "own.onnx").write_bytes((PORTRAIT.parent / "mien-s.onnx").read_bytes())
    done = run("predict", PORTRAIT, "--model", folder / "own.onnx")
    assert done.returncode == 0 and "happy" in done.stdout, done.stderr


def test_no_format_needs_opencvs_own_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV's differ from release to release: 4.10 reads no GIF and takes sound WebP files for damaged."""
    from mien.media import image

    monkeypatch.delattr("cv2.imdecode")
    monkeypatch.delattr("cv2.imread")
    for name, data in seeds().items():
        assert image.decode(data, "x.tga" if "tga" in name else "x").shape[2] == 3


def test_predict_writes_nothing_but_its_own_lines_about_damaged_images(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    files = {name: data for name, data in seeds().items() if name.split()[0] in ("jpeg", "png", "tiff", "webp", "gif")}
    for number, (name, data) in enumerate(files.items()):
        suffix = name.split()[0]
        broken = bytearray(data)
        for at in range(len(data) // 2, len(data) - 20, 7):
            broken[at] ^= 0x5A
        (folder / f"{number}.{suffix}").write_bytes(broken)
        (folder / f"{number}-cut.{suffix}").write_bytes(data[: len(data) * 2 // 3])
    done = run_process("predict", folder, "--failures", tmp_path / "f.jsonl")
    assert done.returncode == 1
    lines = " ".join(done.stderr.split()).split("not read: ")
    assert lines[0] == "" or lines[0].startswith("images ")  # the progress bar
    wanted = {str(row["name"]): str(row["reason"]) for row in rows(tmp_path / "f.jsonl")}
    for line, (name, reason) in zip(lines[1:], wanted.items(), strict=True):
        assert line.replace(" ", "") == f"{name}: {reason.removeprefix(f'{name}: ')}".replace(" ", "")


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_predict_finds_faces_of_turned_photos(tmp_path: Path, degrees: int) -> None:
    Pil.open(PORTRAIT).rotate(degrees, expand=True).save(tmp_path / "x.png")
    Pil.open(PORTRAIT).save(tmp_path / "y.png")
    done = run("predict", tmp_path, "--jsonl", tmp_path / "r.jsonl")
    assert done.returncode == 0, done.stderr
    turned, upright = (row["faces"] for row in rows(tmp_path / "r.jsonl"))
    assert [face["probabilities"] for face in turned] == [face["probabilities"] for face in upright]  # type: ignore[attr-defined]


def test_the_lowest_score_of_a_face_is_an_option(tmp_path: Path) -> None:
    def scores(*more: str) -> list[float]:
        done = run("predict", PORTRAIT, "--jsonl", tmp_path / "r.jsonl", *more)
        assert done.returncode == 0, done.stderr
        return [face["score"] for face in rows(tmp_path / "r.jsonl")[0]["faces"]]  # type: ignore[attr-defined]

    (usual,) = scores()
    assert 0.7 < usual < 0.95
    assert scores("--min-score", "0.95") == []
    assert usual in scores("--min-score", "0.3")


@pytest.mark.parametrize(("more", "reason"), [(["--detector", "haar"], "no scores"), ([], "between 0 and 1")])
def test_a_lowest_score_that_cannot_be_is_refused(more: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        main.app(
            ["predict", str(PORTRAIT), "--min-score", "7" if not more else "0.5", *more], result_action="return_value"
        )


@pytest.mark.parametrize("command", ["predict", "video", "live", "batch", "serve", "explain", "personalize"])
def test_every_command_that_detects_faces_takes_a_lowest_score(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main.app([command, "--help"], result_action="return_value")
    assert "--min-score" in capsys.readouterr().out
