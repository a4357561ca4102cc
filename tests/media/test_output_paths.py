"""No output takes the place of an input, of another output, or of another run's work."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mien.errors import ConfigError, OutputError
from mien.media.atomic import AtomicFile
from mien.media.drafts import draft_path
from mien.media.output_paths import OutputPaths

VIDEO: dict[str, Any] = {"what": "a video", "suffixes": (".mp4", ".mkv"), "draft_suffixes": (".mp4", ".whole.mp4")}
CSV: dict[str, Any] = {"what": "a CSV table", "suffixes": (".csv", ".txt", ""), "stdout": True}


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "a.jpg"
    path.parent.mkdir()
    path.write_text("a photo")
    return path


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[Path]:
    """A folder that belongs to the user of the tests, who is not root."""
    folder = Path(tempfile.mkdtemp())  # root's tmp_path is closed to others
    if os.geteuid() != 0:
        yield folder
    else:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)
    for each in folder.rglob("*"):
        each.chmod(0o700)
    shutil.rmtree(folder)


# --- inputs


def test_output_is_never_an_input(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By whatever name: relative, through links of files and folders, hard links."""
    soft, hard, folder = tmp_path / "soft.jpg", tmp_path / "hard.jpg", tmp_path / "folder"
    soft.symlink_to(photo)
    hard.hardlink_to(photo)
    folder.symlink_to(photo.parent)
    monkeypatch.chdir(photo.parent)
    outputs = OutputPaths(["https://example.org/a.jpg", "0", "missing.jpg", str(photo), "bad\0name"])
    names: list[str | Path] = [photo, "a.jpg", "./a.jpg", "../photos/a.jpg", soft, hard, folder / "a.jpg"]
    for name in names:
        with pytest.raises(ConfigError, match="is an input and would be overwritten; choose another name"):
            outputs.file(name)
    outputs = OutputPaths([soft])
    with pytest.raises(ConfigError, match="is an input"):
        outputs.file(photo)
    with pytest.raises(ConfigError, match="is an input"):
        outputs.file(soft)
    assert photo.read_text() == "a photo"


def test_output_is_never_an_input_whose_name_differs_in_case(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system that takes a.jpg and A.JPG for one, which a link plays here."""
    (photo.parent / "A.JPG").hardlink_to(photo)
    with pytest.raises(ConfigError, match="is an input"):
        OutputPaths([photo]).file(photo.parent / "A.JPG")


def test_draft_is_never_an_input(tmp_path: Path) -> None:
    for suffix in (".mp4", ".whole.mp4"):
        source = draft_path(tmp_path / "talk.mp4", suffix)
        source.write_text("a video")
        with pytest.raises(ConfigError, match=rf"its draft would overwrite the input {source.name}"):
            OutputPaths([source]).file(tmp_path / "talk.mp4", **VIDEO)
        assert source.read_text() == "a video"


def test_draft_of_a_link_is_beside_its_target(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    source = draft_path(tmp_path / "there" / "talk.mp4", ".mp4")
    source.write_text("a video")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "there" / "talk.mp4")
    with pytest.raises(ConfigError, match="its draft would overwrite"):
        OutputPaths([source]).file(tmp_path / "link.mp4", **VIDEO)


def test_data_set_is_never_an_output(tmp_path: Path) -> None:
    data, votes = tmp_path / "fer.csv", tmp_path / "votes.csv"
    for path in (data, votes):
        path.write_text("pixels")
    outputs = OutputPaths([data, votes])
    for path in (data, votes):
        with pytest.raises(ConfigError, match="is an input"):
            outputs.file(path, what="figures")


def test_output_of_a_kind_that_is_read_does_not_go_into_an_input_folder(tmp_path: Path, photo: Path) -> None:
    (tmp_path / "link").symlink_to(photo.parent)
    outputs = OutputPaths([photo.parent])
    for name in ("photos/montage.png", "photos/sub/montage.png", "link/a.jpg", "photos/A.JPG"):
        with pytest.raises(ConfigError, match="lies in an input folder"):
            outputs.file(tmp_path / name, what="a montage")
    for name in ("photos", "photos/run", "link/run"):
        with pytest.raises(ConfigError, match="lies in an input folder"):
            outputs.folder(tmp_path / name, what="a run")
    outputs.file(photo.parent / "audit.html")
    outputs.file(tmp_path / "montage.png")
    outputs.folder(tmp_path / "run")


def test_file_of_a_folder_never_has_the_name_of_an_input(tmp_path: Path) -> None:
    """holiday/a.jpg and holiday/sub/a.jpg, whose annotated copies go to holiday."""
    holiday = tmp_path / "holiday"
    (holiday / "sub").mkdir(parents=True)
    sources = [holiday / "a.jpg", holiday / "sub" / "a.jpg"]
    for path in sources:
        path.write_text(str(path))
    with OutputPaths(sources).folder(holiday, what="annotated images") as folder:
        assert not folder.is_free("a.jpg") and folder.is_free("a_mien.jpg")
        with pytest.raises(ConfigError, match=r"a\.jpg: is an input and would be overwritten"):
            folder.write("a.jpg", b"annotated")
        folder.write("a_mien.jpg", b"annotated")
    assert [path.read_text() for path in sources] == [str(path) for path in sources]
    assert (holiday / "a_mien.jpg").read_bytes() == b"annotated"


def test_file_of_a_folder_never_has_the_name_of_another_output(tmp_path: Path, photo: Path) -> None:
    source = draft_path(tmp_path / "b.png")
    source.write_text("an image")
    outputs = OutputPaths([source])
    outputs.file(tmp_path / "a.png")
    folder = outputs.folder(tmp_path)
    (tmp_path / "c.png").mkdir()
    for name in ("a.png", "A.png", draft_path(Path("a.png")).name, "b.png", "c.png"):
        assert not folder.is_free(name)
    assert folder.is_free("d.png")


def test_files_that_a_folder_will_hold_are_known_before(tmp_path: Path) -> None:
    data = tmp_path / "log.csv"
    data.write_text("pixels")
    with pytest.raises(ConfigError, match=r"log\.csv: is an input"):
        OutputPaths([data]).folder(tmp_path, what="a run", names=("config.json", "log.csv"))


# --- outputs among each other


def test_two_outputs_are_never_one_file(tmp_path: Path) -> None:
    outputs = OutputPaths()
    outputs.file(tmp_path / "out.csv")
    (tmp_path / "link.csv").symlink_to(tmp_path / "out.csv")
    with pytest.raises(ConfigError, match="named for two outputs; give each output a name of its own"):
        outputs.file(tmp_path / "out.csv")
    for name in ("sub/../out.csv", "link.csv", "OUT.csv", draft_path(Path("out.csv")).name):
        with pytest.raises(ConfigError, match=r"same file as .*out\.csv"):
            outputs.file(tmp_path / name)
    outputs.file(draft_path(tmp_path / "later.csv"))
    with pytest.raises(ConfigError, match="same file"):
        outputs.file(tmp_path / "later.csv")
    (tmp_path / "x.csv").write_text("")
    (tmp_path / "y.csv").hardlink_to(tmp_path / "x.csv")
    outputs.file(tmp_path / "x.csv")
    with pytest.raises(ConfigError, match="same file"):
        outputs.file(tmp_path / "y.csv")


def test_two_outputs_stay_apart_when_the_first_is_begun_already(tmp_path: Path) -> None:
    outputs = OutputPaths()
    outputs.file(tmp_path / "out.csv").start().release()
    for name in ("out.csv", draft_path(Path("out.csv")).name):
        with pytest.raises(ConfigError, match="give each output a name of its own"):
            outputs.file(tmp_path / name)


def test_names_that_differ_in_suffix_have_drafts_of_their_own(tmp_path: Path) -> None:
    outputs = OutputPaths()
    files = [outputs.file(tmp_path / name, **VIDEO) for name in ("out.mp4", "out.mkv")]
    for number, file in enumerate(files):
        file.start().write(bytes([number]))
    for file in files:
        file.commit()
    assert [(tmp_path / name).read_bytes() for name in ("out.mp4", "out.mkv")] == [b"\0", b"\1"]


def test_two_outputs_are_never_one_folder_but_files_go_into_one(tmp_path: Path) -> None:
    outputs = OutputPaths()
    outputs.folder(tmp_path / "out")
    outputs.file(tmp_path / "out" / "faces.jsonl")
    with pytest.raises(ConfigError, match="two outputs"):
        outputs.folder(tmp_path / "out")
    with pytest.raises(ConfigError, match="two outputs"):
        outputs.file(tmp_path / "out")


def test_standard_output_is_for_one_table(tmp_path: Path) -> None:
    outputs = OutputPaths()
    outputs.file("-", **CSV)
    with pytest.raises(ConfigError, match="named for two outputs"):
        outputs.file("/dev/stdout", **CSV)
    with pytest.raises(ConfigError, match="standard output: a report cannot go there; give a file"):
        OutputPaths().file("-", what="a report")
    with pytest.raises(ConfigError, match="give a folder"):
        OutputPaths().folder("-", what="annotated images")


# --- places


def test_folder_for_a_file_and_file_for_a_folder_are_refused(tmp_path: Path, photo: Path) -> None:
    outputs = OutputPaths()
    with pytest.raises(ConfigError, match=r"a CSV table is a file; give a file, as in .*photos/name\.csv"):
        outputs.file(photo.parent, **CSV)
    with pytest.raises(ConfigError, match="is a file"):
        outputs.file(f"{tmp_path}/new/", **CSV)
    with pytest.raises(ConfigError, match="annotated images need one; give a folder"):
        outputs.folder(photo, what="annotated images")
    assert not (tmp_path / "new").exists()


def test_parent_that_is_a_file_is_refused(photo: Path) -> None:
    for ask in (OutputPaths().file, OutputPaths().folder):
        with pytest.raises(ConfigError, match=rf"{photo} is a file, not a folder; choose another place"):
            ask(photo / "sub" / "out")


@pytest.mark.parametrize(
    ("name", "kind", "known"),
    [("x.xlsx", CSV, ".csv, .txt"), ("out.gif", VIDEO, ".mp4, .mkv"), ("out", VIDEO, ".mp4, .mkv")],
)
def test_suffix_that_does_not_fit_is_refused(tmp_path: Path, name: str, kind: dict[str, Any], known: str) -> None:
    with pytest.raises(ConfigError, match=rf"the name of {kind['what']} must end in {known}$"):
        OutputPaths().file(tmp_path / name, **kind)


def test_suffix_that_fits_is_taken(tmp_path: Path) -> None:
    for name, kind in (("x.CSV", CSV), ("x", CSV), ("x.mkv", VIDEO)):
        OutputPaths().file(tmp_path / name, **kind)


def test_new_folder_with_the_name_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"anno\.jpg: the name of a file, and annotated images need a folder"):
        OutputPaths().folder(tmp_path / "anno.jpg", what="annotated images", file_suffixes=(".jpg",))
    assert not (tmp_path / "anno.jpg").exists()
    (tmp_path / "old.jpg").mkdir()
    OutputPaths().folder(tmp_path / "old.jpg", file_suffixes=(".jpg",))
    OutputPaths().folder(tmp_path / "v1.0", file_suffixes=(".jpg",))


def test_place_without_rights_is_refused(strangers: Path) -> None:
    closed = strangers / "closed"
    closed.mkdir()
    (closed / "old.csv").write_text("old")
    (closed / "sub").mkdir()
    closed.chmod(0o500)
    for path in (closed / "new.csv", closed / "old.csv", closed / "new" / "new.csv"):
        with pytest.raises(OutputError, match=r"no permission in .*closed\); change that"):
            OutputPaths().file(path)
    with pytest.raises(OutputError, match="no permission in"):
        OutputPaths().folder(closed / "new")
    closed.chmod(0o000)
    for path in (closed / "old.csv", closed / "sub" / "new.csv"):
        with pytest.raises(OutputError, match="no permission in"):
            OutputPaths().file(path)
    with pytest.raises(OutputError, match="cannot be written"):
        AtomicFile(closed / "new.csv").start()


def test_write_protected_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.csv"
    path.write_text("old")
    path.chmod(0o444)
    with pytest.raises(ConfigError, match="is write-protected; choose another name"):
        OutputPaths().file(path)


@pytest.mark.parametrize(("free", "flag", "reason"), [(0, 0, "No space left"), (1, os.ST_RDONLY, "Read-only")])
def test_full_and_read_only_disks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, flag: int, reason: str
) -> None:
    disk = SimpleNamespace(f_blocks=10, f_bfree=free, f_bavail=free, f_flag=flag)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    for ask in (OutputPaths().file, OutputPaths().folder):
        with pytest.raises(OutputError, match=rf"out: cannot be written \({reason}"):
            ask(tmp_path / "out")


def test_name_too_long_for_its_draft_is_refused(tmp_path: Path) -> None:
    for length in (250, 400):
        with pytest.raises((ConfigError, OutputError), match=r"too long|shorter name"):
            OutputPaths().file(tmp_path / ("x" * (length - 4) + ".csv"))


def test_odd_paths_are_one_line(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    door = socket.socket(socket.AF_UNIX)
    short = Path(tempfile.mkdtemp())  # names of sockets are short
    door.bind(str(short / "door"))
    try:
        for path in (loop, loop / "x.csv", "", "bad\0name", short / "door"):
            with pytest.raises((ConfigError, OutputError)) as caught:
                OutputPaths().file(path)
            assert "\n" not in str(caught.value)
    finally:
        door.close()
        shutil.rmtree(short)


def test_asking_changes_nothing(tmp_path: Path) -> None:
    outputs = OutputPaths()
    outputs.file(tmp_path / "new" / "a.csv")
    outputs.folder(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


# --- pipes and devices


def test_pipe_takes_rows_but_no_video(tmp_path: Path) -> None:
    pipe = tmp_path / "rows"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="a video cannot go there; give a file"):
        OutputPaths().file(pipe, stream=False, **VIDEO)
    with pytest.raises(ConfigError, match="is an input"):
        OutputPaths([pipe]).file(pipe)
    outputs = OutputPaths()
    file = outputs.file(pipe, what="a CSV table", suffixes=(".csv",), wait=0.05)
    with pytest.raises(OutputError, match="no program reads this pipe; start its reader first"):
        file.start()
    with pytest.raises(ConfigError, match="named for two outputs"):
        outputs.file(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with OutputPaths().file(pipe) as file:
        file.write(b"row\n")
    reader.join()
    assert got == [b"row\n"] and list(tmp_path.iterdir()) == [pipe]
    with pytest.raises(ConfigError, match="cannot be resumed"):
        OutputPaths().file(pipe).start(resume=True)


def test_device_takes_any_number_of_outputs(tmp_path: Path) -> None:
    null = tmp_path / "null"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        null.write_text("x")
    except OSError:
        pytest.skip("nodes of one's own need root")
    outputs = OutputPaths()
    for _ in range(2):
        with outputs.file(null, **CSV) as file:
            file.write(b"row\n")
    assert null.is_char_device() and list(tmp_path.iterdir()) == [null]


# --- other runs


def test_second_run_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    first = OutputPaths().file(path, keep=True).start()
    first.write(b"one\n")
    with pytest.raises(OutputError, match="another run is writing it; wait until it has ended"):
        OutputPaths().file(path)
    first.commit()
    OutputPaths().file(path)
    assert path.read_bytes() == b"one\n"


def test_second_run_into_one_folder_is_refused(tmp_path: Path) -> None:
    with OutputPaths().folder(tmp_path), pytest.raises(OutputError, match="another run is writing into it"):
        OutputPaths().folder(tmp_path).start()
    with OutputPaths().folder(tmp_path):
        pass


def _killed(tmp_path: Path, *names: str) -> None:
    """What a killed run leaves that wrote these files."""
    outputs = OutputPaths()
    files = [outputs.file(tmp_path / name, keep=True, resumable=name.endswith(".jsonl")) for name in names]
    for file in files:
        file.start().write(f"{file.path.name}\n".encode())
    for file in files:
        file.release()


def test_resume_removes_what_else_the_dead_run_left(tmp_path: Path) -> None:
    _killed(tmp_path, "o.jsonl", "o.csv", "sub/failed.csv")
    _killed(tmp_path, "other.csv", "other2.csv")
    assert len(list(tmp_path.rglob(".mien-run-*"))) == 3
    with OutputPaths().file(tmp_path / "o.jsonl", keep=True, resumable=True).start(resume=True) as file:
        file.write(b"more\n")
    assert (tmp_path / "o.jsonl").read_text() == "o.jsonl\nmore\n"
    left = {each.name for each in tmp_path.rglob("*") if each.is_file() and not each.name.startswith(".mien-run-")}
    assert left == {"o.jsonl", draft_path(Path("other.csv")).name, draft_path(Path("other2.csv")).name}
    assert len(list(tmp_path.rglob(".mien-run-*"))) == 1


def test_next_run_never_removes_a_draft_that_can_be_resumed(tmp_path: Path) -> None:
    _killed(tmp_path, "o.jsonl", "o.csv", "failed.csv")
    with OutputPaths().file(tmp_path / "o.csv").start():
        pass
    assert draft_path(tmp_path / "o.jsonl").read_text() == "o.jsonl\n"
    assert not draft_path(tmp_path / "failed.csv").exists()
    with OutputPaths().file(tmp_path / "o.jsonl", keep=True, resumable=True).start(resume=True) as file:
        assert not file._closed
    assert (tmp_path / "o.jsonl").read_text() == "o.jsonl\n"
    assert {each.name for each in tmp_path.iterdir()} == {"o.jsonl", "o.csv"}


def test_next_run_removes_no_draft_that_is_an_input_or_its_own(tmp_path: Path) -> None:
    _killed(tmp_path, "o.jsonl", "talk.mp4", "o.csv")
    outputs = OutputPaths([draft_path(tmp_path / "talk.mp4")])
    rows = outputs.file(tmp_path / "o.jsonl", keep=True, resumable=True)
    table = outputs.file(tmp_path / "o.csv", keep=True)
    table.start()
    rows.start(resume=True)
    assert draft_path(tmp_path / "talk.mp4").read_text() == "talk.mp4\n"
    rows.commit()
    table.commit()
    assert draft_path(tmp_path / "talk.mp4").exists()


def test_further_files_of_a_dead_run_go_with_its_draft(tmp_path: Path) -> None:
    """An encoder that was killed while it put sound and images together."""
    further = draft_path(tmp_path / "talk.mp4", ".whole.mp4")
    for other in ("talk.mp4", "o.csv"):
        outputs = OutputPaths()
        files = [outputs.file(tmp_path / "talk.mp4", keep=True, **VIDEO), outputs.file(tmp_path / "o.csv", keep=True)]
        for file in files:
            file.start()
        further.write_text("half")
        for file in files:
            file.release()
        kind = VIDEO if other == "talk.mp4" else CSV
        with OutputPaths().file(tmp_path / other, **kind).start():
            assert not further.exists()
        assert [path.name for path in tmp_path.iterdir()] == [other]
        (tmp_path / other).unlink()
    outputs = OutputPaths()
    file = outputs.file(tmp_path / "talk.mp4", **VIDEO).start()
    further.write_text("half")
    file.abandon()
    assert list(tmp_path.iterdir()) == []


def test_record_of_a_dead_run_removes_nothing_but_drafts(tmp_path: Path, photo: Path) -> None:
    draft = draft_path(tmp_path / "o.jsonl")
    (tmp_path / ".mien-run-1-x").write_text(f'[["{draft.name}", true], ["photos/a.jpg", false], ["../../x", false]]')
    (tmp_path / ".mien-run-2-x").write_text("{")
    (tmp_path / ".mien-run-3-x").write_text("[1, 2]")
    with OutputPaths().file(tmp_path / "o.jsonl").start():
        pass
    assert photo.read_text() == "a photo"


def test_stopped_run_leaves_drafts_and_a_finished_one_nothing(tmp_path: Path) -> None:
    for finish in (False, True):
        outputs = OutputPaths()
        files = [outputs.file(tmp_path / name, keep=True).start() for name in ("a.jsonl", "b.csv")]
        for file in files:
            file.commit() if finish else file.abandon()
    assert {each.name for each in tmp_path.iterdir()} == {"a.jsonl", "b.csv"}


def test_folder_loses_drafts_of_images_that_are_made_again(tmp_path: Path) -> None:
    image, table = draft_path(tmp_path / "a.jpg"), draft_path(tmp_path / "faces.csv")
    for each in (image, table):
        each.write_text("half")
    with OutputPaths().folder(tmp_path, again=("*.jpg", "*.png")):
        assert not image.exists() and table.exists()


def test_resume_beside_a_stray_draft_keeps_both(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    path.write_text("finished\n")
    draft_path(path).write_text("stray\n")
    with pytest.raises(ConfigError, match="rows of another run"):
        OutputPaths().file(path, keep=True, resumable=True).start(resume=True)
    assert path.read_text() == "finished\n" and draft_path(path).read_text() == "stray\n"


def test_full_disk_keeps_a_video_under_its_drafts_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = OutputPaths().file(tmp_path / "out.mp4", keep=True, **VIDEO).start()
    file.write(b"some frames")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError, match=r"out\.mp4: cannot be written \(No space left on device\)"), file:
        file.write(b"more")
    assert [each.name for each in tmp_path.iterdir()] == [draft_path(tmp_path / "out.mp4", ".mp4").name]
