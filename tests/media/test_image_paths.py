"""Walking folders: every file is an image, a failure or a number in the closing line."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pil

from mien.errors import SourceError
from mien.media.image import decode
from mien.media.paths import display, list_images, read_file, skipped_line
from mien.types import Failure


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_images_of_all_suffixes_come_sorted_and_the_rest_is_counted(tmp_path: Path) -> None:
    wanted = [
        touch(tmp_path / name)
        for name in (
            "B.JPG",
            "a.jfif",
            "a/deep/x.png",
            "a/y.HEIC",
            "c.avif",
            "d.mpo",
            "e.pam",
            "f.jp2",
            "g.dib",
            "h.pbm",
        )
    ]
    for name in ("talk.mp4", "a/more.MOV", "b.mov", "notes.pdf", "README", ".hidden.jpg", ".DS_Store", "._a.jpg"):
        touch(tmp_path / name)
    skipped: Counter[str] = Counter()
    assert list(list_images(tmp_path, skipped=skipped)) == sorted(wanted)
    assert skipped == {".mov": 2, ".mp4": 1, ".pdf": 1, "": 1, "hidden": 1}


def test_without_recursion_folders_are_counted(tmp_path: Path) -> None:
    top = touch(tmp_path / "a.png")
    touch(tmp_path / "sub/b.png")
    skipped: Counter[str] = Counter()
    assert list(list_images(tmp_path, recursive=False, skipped=skipped)) == [top]
    assert skipped_line(skipped) == "skipped: 1 folder"


def test_the_closing_line_names_suffixes_and_what_to_do() -> None:
    skipped = Counter({".mov": 12, ".pdf": 3, "": 2, "link to a folder": 1, ".nef": 1, ".\x1bx": 1})
    line = skipped_line(skipped)
    assert line.startswith("skipped: 12 .mov (use mien video), 3 .pdf, 2 without a suffix, ")
    assert "1 .nef (camera raw; export as JPEG)" in line and "1 link to a folder" in line
    assert "\x1b" not in line and line.isprintable()
    assert skipped_line(Counter()) == ""
    assert skipped_line(Counter({f".{k}": 1 for k in range(20)})).endswith(", 12 of other kinds")


def test_what_is_no_regular_file_is_a_failure_and_never_opened(tmp_path: Path) -> None:
    good = touch(tmp_path / "z.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "broken.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
        found = list(list_images(tmp_path))
    failures = {Path(item.name).name: item.reason for item in found if isinstance(item, Failure)}
    assert [item for item in found if isinstance(item, Path)] == [good]
    assert sorted(failures) == ["broken.jpg", "loop.jpg", "null.jpg", "pipe.jpg", "socket.jpg"]
    assert "a broken link" in failures["broken.jpg"] and "a named pipe" in failures["pipe.jpg"]
    assert "a device" in failures["null.jpg"] and "a socket" in failures["socket.jpg"]
    assert all(reason.startswith(str(tmp_path)) for reason in failures.values())


def test_links_to_files_are_read_and_links_to_folders_are_counted(tmp_path: Path) -> None:
    target = touch(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to(target)
    skipped: Counter[str] = Counter()
    assert list(list_images(tmp_path, skipped=skipped)) == [tmp_path / "link.png", target]
    assert skipped_line(skipped) == "skipped: 1 link to a folder"


def test_a_folder_that_cannot_be_listed_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = touch(tmp_path / "z" / "b.png")
    touch(tmp_path / "closed" / "a.png")
    scandir = os.scandir

    def refused(path: Path) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    closed, found = list_images(tmp_path)
    assert isinstance(closed, Failure)
    assert "closed: cannot be listed (Permission denied)" in closed.reason
    assert found == good


def test_a_missing_folder_is_a_failure(tmp_path: Path) -> None:
    (missing,) = list_images(tmp_path / "none")
    assert isinstance(missing, Failure) and "none" in missing.reason


def test_names_that_are_not_utf8_are_read_and_shown(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/a\xff"
    Path(os.fsdecode(folder)).mkdir()
    Pil.fromarray(np.full((6, 8, 3), 50, np.uint8)).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(os.fsdecode(folder + b"/b\xfe\x1b.png"))
    (path,) = list_images(tmp_path)
    assert isinstance(path, Path)
    assert decode(read_file(path), display(path)).shape == (6, 8, 3)
    assert display(path) == str(tmp_path) + "/a\\xff/b\\xfe\\x1b.png"
    path.write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"a\\xff/b\\xfe\\x1b\.png: not an image") as raised:
        decode(read_file(path), display(path))
    str(raised.value).encode("utf-8")


@pytest.mark.parametrize("name", ["日本.jpg", "a b.png", "Größe.tif"])
def test_ordinary_names_are_shown_as_they_are(name: str) -> None:
    assert display(name) == name


def test_a_huge_sparse_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as file:
        file.truncate(12_000_000_000)
    with pytest.raises(SourceError, match=r"a\.jpg: 12000 MB is more than the limit of 256 MB"):
        read_file(path)


def test_reading_a_pipe_a_folder_or_nothing_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, reason in (
        (tmp_path / "pipe", "a named pipe"), (tmp_path, "a folder"), (tmp_path / "none", "does not exist"),
        (Path("/dev/zero"), "a device"), (Path("a\0b"), "cannot be read"),
    ):  # fmt: skip
        with pytest.raises(SourceError, match=reason):
            read_file(path)


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    path = touch(tmp_path / "a", b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(SourceError, match="more than the limit"):
        read_file(path, 4)


def test_little_memory_makes_a_failure_of_one_image_alone(tmp_path: Path) -> None:
    """Under a limit on memory a large image fails with a SourceError, and the next one is read."""
    Pil.new("RGB", (9000, 9000)).save(tmp_path / "large.png", compress_level=1)
    Pil.new("RGB", (9, 9)).save(tmp_path / "small.png")
    code = (
        "import json, pathlib, resource, sys\n"
        "from mien.media.image import decode\n"
        "from mien.media.paths import list_images, read_file\n"
        "from mien.errors import SourceError\n"
        "decode(pathlib.Path(sys.argv[1], 'small.png').read_bytes(), 'first')\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + 200_000_000,) * 2)\n"
        "out = []\n"
        "for path in list_images(pathlib.Path(sys.argv[1])):\n"
        "    try:\n"
        "        out.append(list(decode(read_file(path), path.name).shape))\n"
        "    except SourceError as error:\n"
        "        out.append(str(error))\n"
        "print(json.dumps(out))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    large, small = json.loads(done.stdout)
    assert "large.png: not enough memory to decode 9000 x 9000 pixels" in large
    assert small == [9, 9, 3]
