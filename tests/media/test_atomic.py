"""Files are there whole or not at all, and drafts are locked."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mien.errors import ConfigError, OutputError
from mien.media import atomic, drafts
from mien.media.atomic import AtomicFile, draft, write_bytes, write_text
from mien.media.drafts import draft_path, remove_dead_draft, remove_dead_drafts


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """No file of this process may become larger: the system refuses as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let the disk be full after so many bytes."""
    real, left = os.write, [after]

    def write(fd: int, data: bytes) -> int:
        if len(data) > left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= len(data)
        return real(fd, data)

    monkeypatch.setattr(os, "write", write)


class OtherRun:
    """A process that has begun to write a file."""

    def __init__(self, path: Path, text: str) -> None:
        code = (
            "import sys, time; from mien.media.atomic import AtomicFile\n"
            "file = AtomicFile(sys.argv[1], keep=True).start(); file.write(sys.argv[2].encode())\n"
            "print('ready', flush=True); time.sleep(60)"
        )
        self._process = subprocess.Popen([sys.executable, "-c", code, path, text], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@pytest.fixture
def other_run() -> Iterator[Callable[[Path, str], OtherRun]]:
    running: list[OtherRun] = []

    def begin(path: Path, text: str) -> OtherRun:
        running.append(OtherRun(path, text))
        return running[-1]

    yield begin
    for run in running:
        run.kill()


def test_file_takes_its_name_at_the_end_and_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with draft(path) as place:
        place.write_text("x")
        assert not path.exists()
    assert path.read_text() == "x"
    write_text(path, "é\udcff")
    assert path.read_bytes() == "é\\udcff".encode()
    write_bytes(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert list(path.parent.iterdir()) == [path]


def test_failure_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), draft(path) as place:
        place.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failure_keeps_a_draft_that_can_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(RuntimeError), AtomicFile(path, keep=True) as file:
        file.write(b"one\n")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == [draft_path(path)]
    with AtomicFile(path, keep=True).start(resume=True) as file:
        with file.read() as rows:
            assert rows.read() == b"one\n"
        file.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    assert list(tmp_path.iterdir()) == [path]


def test_drafts_of_names_that_differ_in_suffix_differ() -> None:
    assert draft_path("out.mp4", ".mp4") != draft_path("out.mkv", ".mp4")
    assert draft_path("a/out.mp4").name.startswith("out.mp4")


def test_link_is_written_at_its_target(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "real.csv"
    link, dangling = tmp_path / "link.csv", tmp_path / "dangling.csv"
    write_text(target, "old")
    link.symlink_to(target)
    dangling.symlink_to(target.parent / "new.csv")
    write_text(link, "new")
    write_text(dangling, "made")
    assert link.is_symlink() and dangling.is_symlink()
    assert target.read_text() == "new" and (target.parent / "new.csv").read_text() == "made"
    loop = tmp_path / "loop.csv"
    loop.symlink_to(loop)
    with pytest.raises(OutputError, match=r"loop\.csv: cannot be written"):
        write_text(loop, "x")


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_rights_of_an_existing_file_are_kept(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    path.chmod(mode)
    with AtomicFile(path) as file:
        assert file.draft is not None and stat.S_IMODE(file.draft.stat().st_mode) == mode
        file.write(b"new")
    with draft(path) as place:  # also when a program puts another file in the draft's place
        place.unlink()
        place.write_text("newer")
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_text() == "newer"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_of_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("old")
    os.chown(path, 65534, 65534)
    write_text(path, "new")
    assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)


def test_rights_of_a_new_file_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        (tmp_path / ("b" + drafts.MARK)).touch(0o600)  # of a dead run
        for name in "ab":
            write_text(tmp_path / name, "x")
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
    finally:
        os.umask(old)


def test_pipe_gets_the_bytes_as_they_come_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with AtomicFile(pipe) as file:
        file.write(b"one\n")
        file.write(b"two\n")
    reader.join()
    assert got == [b"one\ntwo\n"]
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with draft(pipe) as place:
        place.write_text("whole")
    reader.join()
    assert got[1] == b"whole"
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_pipe_with_a_slow_reader_gets_all(tmp_path: Path) -> None:
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    size = 1_000_000  # a pipe holds 64 kB
    with AtomicFile(pipe) as file:
        writer = threading.Thread(target=file.write, args=(bytes(size),))
        writer.start()
        while size > 0:
            size -= len(os.read(reader, 1000))
        writer.join()
    os.close(reader)


def test_pipe_without_reader_is_an_error_and_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    with pytest.raises(OutputError, match="no program reads this pipe"):
        AtomicFile(pipe, wait=0.05).start()


def test_pipe_whose_reader_ends_is_one_error(tmp_path: Path) -> None:
    pipe = tmp_path / "rows.jsonl"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    file = AtomicFile(pipe).start()
    os.close(reader)
    with pytest.raises(OutputError, match="its reader has ended"):
        file.write(b"x")
    file.abandon()
    assert pipe.is_fifo()


def test_device_is_written_to_and_stays(tmp_path: Path) -> None:
    null, full = tmp_path / "null", tmp_path / "full"
    try:
        os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(full, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        null.write_text("x")
    except OSError:
        pytest.skip("nodes of one's own need root")
    write_text(null, "x")
    with pytest.raises(OutputError, match="No space left"):
        write_text(full, "x")
    assert null.is_char_device() and full.is_char_device()
    assert sorted(tmp_path.iterdir()) == [full, null]


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1"])
def test_dash_is_standard_output(tmp_path: Path, name: str) -> None:
    code = "import sys; from mien.media.atomic import write_text; print('first'); write_text(sys.argv[1], 'second\\n')"
    command = [sys.executable, "-c", code, name]
    assert subprocess.run(command, capture_output=True, check=True, cwd=tmp_path).stdout == b"first\nsecond\n"
    redirected = tmp_path / "out.txt"
    redirected.write_text("before\n")
    with redirected.open("a") as out:
        subprocess.run(command, stdout=out, check=True, cwd=tmp_path)
    assert redirected.read_text() == "before\nfirst\nsecond\n"
    assert list(tmp_path.iterdir()) == [redirected]


def test_full_disk_is_known_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_disk(monkeypatch, 0)
    with pytest.raises(OutputError, match=r"a\.jsonl: cannot be written \(No space left on device\); free some space"):
        AtomicFile(tmp_path / "a.jsonl", keep=True).start()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [True, False])
def test_full_disk_in_the_middle_leaves_the_old_file(tmp_path: Path, keep: bool) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("old\n")
    with (
        largest_file(5000),
        pytest.raises(OutputError, match=r"a\.jsonl: cannot be written \(File too large\)"),
        AtomicFile(path, keep=keep) as file,
    ):
        while True:
            file.write(b"x" * 999 + b"\n")
    assert path.read_text() == "old\n"
    assert draft_path(path).exists() == keep
    if keep:
        draft_path(path).unlink()


def test_full_disk_while_a_library_writes_is_the_same_error(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with largest_file(5000), pytest.raises(OutputError, match="File too large"), draft(path) as place:
        place.write_bytes(bytes(10_000))
    assert list(tmp_path.iterdir()) == []


def test_full_disk_at_the_rename_keeps_what_was_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "replace", replace)
    for keep in (True, False):
        path = tmp_path / f"{keep}.csv"
        file = AtomicFile(path, keep=keep).start()
        file.write(b"row\n")
        with pytest.raises(OutputError, match="Read-only file system"):
            file.commit()
        assert draft_path(path).exists() == keep and not path.exists()


def test_resume_on_a_full_disk_loses_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    draft_path(path).write_text("one\n")
    fill_disk(monkeypatch, 0)
    with pytest.raises(OutputError, match="No space left"):
        AtomicFile(path, keep=True).start(resume=True)
    assert draft_path(path).read_text() == "one\n"


def test_parent_that_is_a_file_and_a_folder_as_file_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        write_text(tmp_path / "a" / "b.csv", "x")
    assert "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="it is a folder"):
        write_text(tmp_path, "x")


def test_two_runs_cannot_write_one_file(tmp_path: Path, other_run: Callable[[Path, str], OtherRun]) -> None:
    path = tmp_path / "a.jsonl"
    run = other_run(path, "of the other run\n")
    for resume in (False, True):
        with pytest.raises(OutputError, match="another run is writing it"):
            AtomicFile(path, keep=True).start(resume=resume)
    assert draft_path(path).read_text() == "of the other run\n"
    assert not remove_dead_draft(draft_path(path))
    run.kill()
    with AtomicFile(path).start() as file:
        file.write(b"mine\n")
    assert path.read_text() == "mine\n"
    assert list(tmp_path.iterdir()) == [path]


def test_lock_stays_while_other_parts_of_the_process_open_the_draft(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "a.mp4", suffix=".mp4").start()
    assert file.draft is not None
    file.draft.write_bytes(b"by an encoder")  # which opens, writes and closes
    with pytest.raises(OutputError, match="another run is writing it"):
        AtomicFile(tmp_path / "a.mp4", suffix=".mp4").start()
    file.commit()
    assert (tmp_path / "a.mp4").read_bytes() == b"by an encoder"


def test_run_that_waits_for_a_finished_one_writes_no_finished_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The draft takes its final name after it was opened here, and before it could be locked."""
    path = tmp_path / "a.jsonl"
    first = AtomicFile(path).start()
    first.write(b"first\n")
    real = drafts.lock

    def lock(fd: int) -> bool:
        monkeypatch.setattr(drafts, "lock", real)
        first.commit()
        return real(fd)

    monkeypatch.setattr(drafts, "lock", lock)
    second = AtomicFile(path).start()
    second.write(b"second, and not whole")
    assert path.read_bytes() == b"first\n"
    second.discard()
    assert list(tmp_path.iterdir()) == [path]


def test_run_that_waits_for_a_finished_one_is_refused_when_a_third_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jsonl"
    first, third = AtomicFile(path).start(), AtomicFile(path)
    real = drafts.lock

    def lock(fd: int) -> bool:
        monkeypatch.setattr(drafts, "lock", real)
        first.commit()
        third.start()
        return real(fd)

    monkeypatch.setattr(drafts, "lock", lock)
    with pytest.raises(OutputError, match="another run is writing it"):
        AtomicFile(path).start()
    third.discard()


def test_resume_goes_on_with_a_copy_of_the_finished_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("one\n")
    path.chmod(0o600)
    file = AtomicFile(path, keep=True).start(resume=True)
    file.write(b"two\n")
    assert path.read_text() == "one\n"
    file.commit()
    assert path.read_text() == "one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("half", ["", "on", "one\n"])
def test_resume_repeats_a_copy_that_was_cut_off(tmp_path: Path, half: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("one\ntwo\n")
    draft_path(path).write_text(half)
    with AtomicFile(path, keep=True).start(resume=True) as file:
        file.write(b"three\n")
    assert path.read_text() == "one\ntwo\nthree\n"


def test_resume_goes_on_with_a_draft_that_has_more_than_the_finished_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("one\nerror\ntwo\n")
    draft_path(path).write_text("one\nerror\ntwo\nthree\n")
    AtomicFile(path, keep=True).start(resume=True).release()
    draft_path(path).write_text("one\ntwo\nthree\n")  # --retry takes errors out
    AtomicFile(path, keep=True).start(resume=True, may_drop=lambda line: line == b"error\n").commit()
    assert path.read_text() == "one\ntwo\nthree\n"


def test_resume_refuses_a_draft_of_another_run_beside_a_finished_file(tmp_path: Path) -> None:
    path = tmp_path / "faces.jsonl"
    path.write_text("finished\n")
    draft_path(path).write_text("stray\n")
    with pytest.raises(ConfigError, match="holds rows of another run; move one of the two away"):
        AtomicFile(path, keep=True).start(resume=True)
    assert path.read_text() == "finished\n"
    assert draft_path(path).read_text() == "stray\n"


def test_rows_are_taken_out_under_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    draft_path(path).write_text("one\nerror\n")
    file = AtomicFile(path, keep=True).start(resume=True)
    with file.read() as rows:
        file.replace(line for line in rows if line != b"error\n")
    file.write(b"two\n")
    with pytest.raises(OutputError, match="another run"):
        AtomicFile(path).start()
    file.truncate(4)
    file.write(b"three\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
        with pytest.raises(OutputError, match="broken"):
            file.replace([b"lost"])
    file.commit()
    assert path.read_text() == "one\nthree\n"
    assert list(tmp_path.iterdir()) == [path]


def test_draft_with_a_second_name_is_not_emptied(tmp_path: Path) -> None:
    path, kept = tmp_path / "a.csv", tmp_path / "kept.csv"
    kept.write_text("rescued\n")
    draft_path(path).hardlink_to(kept)
    write_text(path, "new")
    assert kept.read_text() == "rescued\n"


def test_draft_name_that_is_a_link_or_folder_is_refused(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_text("a photo")
    draft_path(tmp_path / "a.csv").symlink_to(photo)
    draft_path(tmp_path / "b.csv").mkdir()
    for name in ("a.csv", "b.csv"):
        with pytest.raises(OutputError, match="move that away"):
            write_text(tmp_path / name, "x")
    assert photo.read_text() == "a photo"


def test_folder_draft_is_locked_and_foreign_files_in_it_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    file = AtomicFile(path, folder=True, keep=True).start()
    assert file.draft is not None
    (file.draft / "000000.parquet").write_text("rows")
    (file.draft / "notes.txt").write_text("mine")
    (file.draft / ".whole").write_text("all rows")
    with pytest.raises(OutputError, match="another run"):
        AtomicFile(path, folder=True).start()
    file.complete = file.draft / ".whole"
    file.commit()
    assert path.read_text() == "all rows"
    assert [each.name for each in file.draft.iterdir()] == ["notes.txt"]


def test_drafts_of_dead_runs_are_removed_by_pattern(tmp_path: Path, other_run: Callable[[Path, str], OtherRun]) -> None:
    living, dead, table = (tmp_path / name for name in (".mien-b.npz", ".mien-a.npz", "faces.csv"))
    draft_path(dead).write_text("x")
    draft_path(table).write_text("rows")
    (tmp_path / ".mien-c.npz").write_text("a whole cache")
    (tmp_path / "talk.part.mp4").write_text("somebody's")
    run = other_run(living, "x")
    assert remove_dead_drafts(tmp_path, ".mien-*.npz") == [draft_path(dead)]
    run.kill()
    assert remove_dead_drafts(tmp_path, ".mien-*.npz", "*.png") == [draft_path(living)]
    names = {each.name for each in tmp_path.iterdir()}
    assert names == {".mien-c.npz", draft_path(table).name, "talk.part.mp4"}
    assert remove_dead_drafts(tmp_path / "missing", "*") == []


def test_only_drafts_are_ever_removed(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_text("a photo")
    assert not remove_dead_draft(photo)
    assert photo.exists()
    assert remove_dead_draft(tmp_path / "gone.jpg")


def test_record_of_a_run_lists_its_drafts_until_they_are_finished(tmp_path: Path) -> None:
    record = drafts.RunRecord()
    first, second = draft_path(tmp_path / "a.jsonl"), draft_path(tmp_path / "sub" / "a.csv")
    second.parent.mkdir()
    record.add(first, True)
    assert list(tmp_path.glob(".mien-run-*")) == []  # alone it needs none
    record.add(second, False)
    (noted,) = tmp_path.glob(".mien-run-*")
    assert json.loads(noted.read_text()) == [[first.name, True], [f"sub/{second.name}", False]]
    assert len(list(second.parent.glob(".mien-run-*"))) == 1
    record.drop(first)
    record.drop(second)
    assert list(tmp_path.rglob(".mien-run-*")) == []


def test_missing_sync_of_a_file_system_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.EINVAL, "no such call")))
    write_text(tmp_path / "a", "x")
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.EIO, "broken disk")))
    with pytest.raises(OutputError, match="broken disk"):
        write_text(tmp_path / "a", "y")
    assert (tmp_path / "a").read_text() == "x"
    assert atomic.draft_path(tmp_path / "a").exists() is False


def test_writing_after_the_end_is_an_error(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "a")
    file.commit()  # never started: nothing to finish
    assert not (tmp_path / "a").exists()
    with file:
        pass
    file.commit()
    with pytest.raises(OutputError, match="already closed"):
        file.write(b"x")
