"""What commands may write: nothing is lost, and what cannot be written is one line before the work."""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_cli import Bright

import mien
from mien import Pipeline
from mien.cli import main
from mien.errors import ConfigError, Error, OutputError
from mien.media.video_reader import VideoReader

Film = Callable[..., Path]
PORTRAIT = Path(mien.__file__).parent / "assets" / "portrait.jpg"
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


def run(*words: str | Path) -> int:
    code = main.app([*map(str, words)], result_action="return_value")
    assert isinstance(code, int)
    return code


def mien_process(*words: str | Path, shell: str = "", **options: str) -> subprocess.CompletedProcess[str]:
    """Run mien in a process of its own, in a shell if there is text to follow or go before the command."""
    command = [sys.executable, "-m", "mien", *map(str, words)]
    if shell:
        command = ["bash", "-c", shell.replace("MIEN", '"$@"'), "bash", *command]
    environment = {**ENVIRONMENT, **options}
    return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, env=environment)


def needs_torch(words: tuple[str, ...]) -> bool:
    """Whether a command imports PyTorch before it looks at its outputs."""
    return words[0] == "train" or "soft-labels" in words


def skip_without_torch(words: tuple[str, ...]) -> None:
    if needs_torch(words):
        pytest.importorskip("torch")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A detector that finds the same face everywhere."""
    monkeypatch.setattr(mien, "load", lambda **_: Pipeline(Bright(), Bright()))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail as soon as a model or a data set is loaded: refusals come before that."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr(mien, "load", fail)
    for place in (
        "mien.faces.models.load_classifier", "mien.data.registry.load_any", "mien.data.joint.load_sets",
        "mien.data.audit.audit_source",
    ):  # fmt: skip
        module, _, name = place.rpartition(".")
        monkeypatch.setattr(importlib.import_module(module), name, fail)


def image(path: Path, level: int = 9) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((20, 20, 3), level, np.uint8))
    return path


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if ".mien" in path.name or path.suffix in (".part", ".tmp"))


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
@pytest.mark.parametrize("flag", ["--save", "--crops"])
def test_predict_never_overwrites_its_sources(
    quick: None, tmp_path: Path, flag: str, link: Callable[[Path, Path], None] | None
) -> None:
    sources = [image(tmp_path / "holiday/a.jpg", 40), image(tmp_path / "holiday/sub/a.jpg", 80)]
    before = [path.read_bytes() for path in sources]
    out = tmp_path / "holiday"
    if link is os.symlink:
        out = tmp_path / "link"
        out.symlink_to("holiday")
    elif link is os.link:
        out = tmp_path / "other"
        out.mkdir()
        os.link(sources[0], out / "a.jpg")
    assert run("predict", tmp_path / "holiday", flag, out) == 0
    assert [path.read_bytes() for path in sources] == before
    made = {path.name for path in out.iterdir() if path.is_file()} - {"a.jpg"}
    assert made == ({"a_mien.jpg", "sub_a.jpg"} if flag == "--save" else {"a_mien_0_dark.png", "sub_a_0_dark.png"})


def test_image_sink_of_a_library_run_never_overwrites_a_later_source(tmp_path: Path) -> None:
    from mien.media.output_paths import OutputPaths
    from mien.runner import images
    from mien.sinks import Images, MultiSink

    folder = tmp_path / "holiday"
    sources = [image(folder / "x/b.jpg", 40), image(folder / "b.jpg", 80)]
    before = sources[1].read_bytes()
    sink = MultiSink([Images(folder, lambda result: result.frame.image)], OutputPaths(sources))
    for result in images(sources, Pipeline(Bright(), Bright())):
        sink.put(result)
    sink.close()
    assert sources[1].read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == ["b.jpg", "b_mien.jpg", "holiday_b.jpg", "x"]


def test_source_with_the_name_of_a_draft_is_refused(film: Film, tmp_path: Path, no_model: None) -> None:
    path = film(tmp_path / "talk.mp4.mien.part.mp4", [0.0, 0.1])
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="its draft would overwrite the input"):
        run("video", path, "--save", tmp_path / "talk.mp4")
    rows = image(tmp_path / "o.jsonl.mien.part.png").rename(tmp_path / "o.jsonl.mien.part")
    with pytest.raises(ConfigError, match="its draft would overwrite the input"):
        run("predict", rows, "--jsonl", tmp_path / "o.jsonl")
    assert path.read_bytes() == before and rows.exists()


def test_source_with_a_draft_name_of_earlier_versions_is_kept(quick: None, film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "talk.part.mp4", [0.0, 0.1])
    before = path.read_bytes()
    assert run("video", path, "--save", tmp_path / "talk.mp4") == 0
    assert path.read_bytes() == before and (tmp_path / "talk.mp4").exists()


def test_explain_never_overwrites_its_image(tmp_path: Path, no_model: None) -> None:
    path = image(tmp_path / "e.png")
    before = path.read_bytes()
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.png").symlink_to("e.png")
    for out in (path, tmp_path / "sub/../e.png", tmp_path / "link.png"):
        with pytest.raises(ConfigError, match="is an input and would be overwritten"):
            run("explain", path, "--out", out)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "words",
    [
        ("data", "audit", "DATA", "--json", "DATA"),
        ("data", "audit", "DATA", "--html", "DATA"),
        ("data", "audit", "DATA", "--votes", "VOTES", "--json", "VOTES"),
        ("data", "soft-labels", "DATA", "--model", "mien-s", "--out", "DATA"),
        ("data", "montage", "FOLDER", "--out", "FOLDER/calm/0.png"),
        ("data", "montage", "FOLDER", "--out", "FOLDER/montage.png"),
        ("evaluate", "--data", "DATA", "--json", "DATA"),
        ("evaluate", "--data", "DATA", "--votes", "VOTES", "--json", "VOTES"),
        ("evaluate", "--data", "DATA", "--model", "MODEL", "--json", "MODEL"),
        ("report", "--data", "DATA", "--out", "DATA"),
        ("train", "--data", "FOLDER", "--out", "FOLDER/run"),
        ("predict", "FOLDER/calm/0.png", "--model", "MODEL", "--csv", "MODEL"),
    ],
)
def test_commands_never_overwrite_their_data(tmp_path: Path, no_model: None, words: tuple[str, ...]) -> None:
    skip_without_torch(words)
    names = {"DATA": tmp_path / "fer.csv", "VOTES": tmp_path / "votes.csv", "MODEL": tmp_path / "my.onnx"}
    for path in names.values():
        path.write_text("emotion,pixels,Usage\n")
    folder = image(tmp_path / "set/calm/0.png").parents[1]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    given = [str(names[word]) if word in names else word.replace("FOLDER", str(folder)) for word in words]
    with pytest.raises(ConfigError, match=r"is an input|lies in an input folder"):
        run(*given)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_predict_refuses_to_resume_the_draft_of_another_run(quick: None, tmp_path: Path) -> None:
    done, stray = tmp_path / "faces.jsonl", tmp_path / "faces.jsonl.mien.part"
    done.write_text('{"name": "a.jpg", "faces": []}\n{"name": "bad.jpg", "error": "damaged"}\n')
    stray.write_text('{"name": "z.jpg", "faces": []}\n')
    before = done.read_bytes(), stray.read_bytes()
    path = image(tmp_path / "c.jpg")
    with pytest.raises(ConfigError, match="holds rows of another run"):
        run("predict", path, "--jsonl", done, "--resume")
    assert (done.read_bytes(), stray.read_bytes()) == before
    stray.write_text(
        '{"name": "a.jpg", "faces": []}\n{"name": "b.jpg", "faces": []}\n'
    )  # as a run with --retry leaves it
    run("predict", path, "--jsonl", done, "--resume", "--retry")
    assert [line.split('"')[3] for line in done.read_text().splitlines()] == ["a.jpg", "b.jpg", str(path)]
    assert not stray.exists()


@posix
def test_outputs_keep_links_and_modes(quick: None, tmp_path: Path) -> None:
    path = image(tmp_path / "a.jpg")
    (tmp_path / "rows.jsonl").write_text("old")
    (tmp_path / "link.jsonl").symlink_to("rows.jsonl")
    private = tmp_path / "private.csv"
    private.touch(0o600)
    private.chmod(0o600)
    assert run("predict", path, "--jsonl", tmp_path / "link.jsonl", "--csv", private) == 0
    assert (tmp_path / "link.jsonl").is_symlink() and str(path) in (tmp_path / "rows.jsonl").read_text()
    assert stat.S_IMODE(private.stat().st_mode) == 0o600 and str(path) in private.read_text()
    assert leftovers(tmp_path) == []


@posix
def test_outputs_are_written_to_pipes_and_devices(quick: None, tmp_path: Path) -> None:
    path, fifo = image(tmp_path / "a.jpg"), tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    assert run("predict", path, "--jsonl", fifo) == 0
    reader.join(60)
    assert str(path) in read[0] and fifo.is_fifo()
    with pytest.raises(ConfigError, match="a video cannot go there"):
        run("video", path, "--save", fifo.rename(tmp_path / "fifo.mp4"))
    node = tmp_path / "null"
    try:
        os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        return
    assert run("predict", path, "--csv", node) == 0 and stat.S_ISCHR(node.stat().st_mode)


@posix
def test_pipe_without_reader_is_refused(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    ticks = iter(range(1000))
    monkeypatch.setattr("mien.media.targets.time.monotonic", lambda: next(ticks))
    monkeypatch.setattr("mien.media.targets.time.sleep", lambda _: None)
    with pytest.raises(OutputError, match="no program reads this pipe"):
        run("predict", image(tmp_path / "a.jpg"), "--jsonl", tmp_path / "fifo")


@posix
@pytest.mark.parametrize("words", [("--jsonl", "-"), ("--csv", "/dev/stdout")])
def test_stdout_holds_only_the_rows_when_they_go_there(words: tuple[str, str]) -> None:
    done = mien_process("predict", PORTRAIT, *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == (1 if words[0] == "--jsonl" else 2) and "portrait.jpg" in lines[-1]
    assert "happy" in done.stderr


@posix
def test_rows_go_through_process_substitution(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    done = mien_process("predict", PORTRAIT, shell=f"MIEN --jsonl >(cat > '{copy}'); sleep 0.5")
    assert done.stderr == "" and "portrait.jpg" in copy.read_text()


HOLD = """
import sys
from mien.media.output_paths import OutputPaths
from mien.sinks import Csv, Images, Jsonl, Parquet

kind = {"--jsonl": Jsonl, "--csv": Csv, "--parquet": Parquet, "--save": Images}[sys.argv[1]]
output = kind.ask(OutputPaths(), sys.argv[2])
output.start()
print("started", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(flag: str, path: Path) -> Iterator[None]:
    """Another run that is writing an output."""
    command = [sys.executable, "-c", HOLD, flag, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as other:
        assert other.stdout and other.stdout.readline() == "started\n"
        try:
            yield
        finally:
            other.kill()


@posix
@pytest.mark.parametrize(("flag", "name"), [("--jsonl", "o.jsonl"), ("--csv", "o.csv"), ("--save", "out")])
def test_second_run_into_one_output_is_refused(quick: None, tmp_path: Path, flag: str, name: str) -> None:
    path = image(tmp_path / "a.jpg")
    with held(flag, tmp_path / name), pytest.raises(OutputError, match="another run is writing i"):
        run("predict", path, flag, tmp_path / name)
    assert run("predict", path, flag, tmp_path / name) == 0
    assert leftovers(tmp_path) == []


@posix
def test_second_video_run_into_one_table_is_refused(quick: None, film: Film, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = film(tmp_path / "a.mp4", [0.0])
    with held("--parquet", tmp_path / "o.parquet"), pytest.raises(OutputError, match="another run is writing it"):
        run("video", path, "--parquet", tmp_path / "o.parquet")


def test_two_videos_of_one_stem_are_both_complete(film: Film, tmp_path: Path) -> None:
    from mien import runner

    source = film(tmp_path / "a.mp4", [0.0, 0.1, 0.2])
    outs = [tmp_path / "out.mp4", tmp_path / "out.mkv"]
    threads = [
        threading.Thread(target=runner.video, args=(source, Pipeline(Bright(), Bright()), (), out)) for out in outs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for out in outs:
        assert len(list(VideoReader(out))) == 3
    assert leftovers(tmp_path) == []


COMMANDS = {
    "predict --jsonl": ("predict", "IMAGE", "--jsonl", "OUT.jsonl"),
    "predict --csv": ("predict", "IMAGE", "--csv", "OUT.csv"),
    "predict --failures": ("predict", "IMAGE", "--failures", "OUT.csv"),
    "predict --save": ("predict", "IMAGE", "--save", "OUT"),
    "predict --crops": ("predict", "IMAGE", "--crops", "OUT"),
    "predict --save file": ("predict", "IMAGE", "--save", "OUT.jpg"),
    "video --save": ("video", "IMAGE", "--save", "OUT.mp4"),
    "video --jsonl": ("video", "IMAGE", "--jsonl", "OUT.jsonl"),
    "video --parquet": ("video", "IMAGE", "--parquet", "OUT.parquet"),
    "video --timeline": ("video", "IMAGE", "--timeline", "OUT.png"),
    "live --save": ("live", "IMAGE", "--headless", "--save", "OUT.mp4"),
    "evaluate --json": ("evaluate", "--data", "DATA", "--json", "OUT.json"),
    "evaluate --plots": ("evaluate", "--data", "DATA", "--plots", "OUT"),
    "report": ("report", "--data", "DATA", "--out", "OUT.html"),
    "explain": ("explain", "IMAGE", "--out", "OUT.png"),
    "train": ("train", "--data", "DATA", "--out", "OUT"),
    "soft-labels": ("data", "soft-labels", "DATA", "--model", "mien-s", "--out", "OUT.npz"),
    "audit --json": ("data", "audit", "DATA", "--json", "OUT.json"),
    "audit --html": ("data", "audit", "DATA", "--html", "OUT.html"),
    "montage": ("data", "montage", "DATA", "--out", "OUT.png"),
    "personalize": ("personalize", "IMAGE", "--headless", "--out", "OUT.json"),
}


@pytest.fixture
def work(tmp_path: Path) -> Callable[[str, Path], list[str]]:
    """Fill in a command of COMMANDS: its input, and an output in a folder."""
    picture, data = image(tmp_path / "in/a.png"), tmp_path / "fer.csv"
    data.write_text("emotion,pixels,Usage\n")

    def fill(name: str, folder: Path) -> list[str]:
        known = {"IMAGE": str(picture), "DATA": str(data)}
        return [known.get(word, word.replace("OUT", str(folder / "out"))) for word in COMMANDS[name]]

    return fill


@pytest.mark.parametrize("name", COMMANDS)
def test_impossible_output_is_an_error_before_the_work(
    name: str, work: Callable[[str, Path], list[str]], no_model: None, tmp_path: Path
) -> None:
    skip_without_torch(COMMANDS[name])
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        run(*work(name, tmp_path / "file"))
    if name in ("predict --save file", "video --save"):  # also write into a folder of that name
        return
    words = work(name, tmp_path)
    kind = "a folder, and" if Path(words[-1]).suffix else "no folder, and"
    Path(words[-1]).mkdir() if Path(words[-1]).suffix else Path(words[-1]).touch()
    with pytest.raises(Error, match=kind):
        run(*words)


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A file system of its own, where that is allowed."""
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@posix
@pytest.mark.parametrize(
    ("options", "reason"), [("ro", "Read-only file system"), ("size=4k,nr_inodes=4", "No space left on device")]
)
def test_full_or_read_only_disk_is_an_error_before_the_work(
    options: str, reason: str, work: Callable[[str, Path], list[str]], no_model: None, tmp_path: Path
) -> None:
    with mounted(tmp_path / "disk", options) as disk:
        if options != "ro":
            (disk / "full").write_bytes(bytes(4096))
        for name, words in COMMANDS.items():
            if needs_torch(words) and not importlib.util.find_spec("torch"):
                continue
            with pytest.raises(OutputError, match=reason):
                run(*work(name, disk))


@posix
@pytest.mark.parametrize("flag", ["--jsonl x.jsonl", "--csv x.csv", "--save out", "--failures x.txt"])
def test_output_that_fails_in_the_middle_is_one_line(flag: str, tmp_path: Path) -> None:
    flag, name = flag.split()
    image(tmp_path / "a.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    limit = "ulimit -f 0" if flag == "--save" else "ulimit -f 4"
    for k in range(60):
        image(tmp_path / f"many/{'long' * 30}-{k}.png")
        (tmp_path / f"many/bad-{'long' * 30}-{k}.png").write_bytes(b"no image")
    done = mien_process("predict", tmp_path / "many", flag, tmp_path / name, shell=f"{limit}; exec MIEN")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ") and "cannot be written (File too large)" in last
    assert not (tmp_path / "x.jsonl").exists() and not (tmp_path / "x.csv").exists()


@posix
def test_video_on_a_full_disk_keeps_its_draft_and_has_no_final_name(film: Film, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    noise = np.random.default_rng(0)
    for k in range(8):
        image(folder / f"{k}.png")
        cv2.imwrite(str(folder / f"{k}.png"), noise.integers(0, 256, (256, 256, 3), np.uint8))
    out = tmp_path / "out.mp4"
    done = mien_process("video", folder, "--save", out, shell="ulimit -f 16; exec MIEN")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot be written (File too large)" in done.stderr.splitlines()[-1]
    assert not out.exists() and (tmp_path / "out.mp4.mien.part.mp4").stat().st_size > 0


KILLED = """
import os, sys
import mien
from mien import Pipeline
from mien.cli.main import app
from mien.sinks import MultiSink
from test_cli import Bright

put = MultiSink.put
def once(self, item):
    put(self, item)
    if item.name == sys.argv[1] if hasattr(item, "reason") else item.frame.name == sys.argv[1]:
        os.kill(os.getpid(), 9)

MultiSink.put = once
mien.load = lambda **_: Pipeline(Bright(), Bright())
app(sys.argv[2:], result_action="return_value")
"""


@posix
def test_run_after_a_kill_leaves_no_drafts(quick: None, tmp_path: Path) -> None:
    paths = [image(tmp_path / f"in/{k}.png", k) for k in range(6)]
    out = tmp_path / "out"
    words = ["predict", str(tmp_path / "in"), "--jsonl", str(out / "o.jsonl"), "--failures", str(out / "f.csv")]
    words += ["--save", str(out / "annotated")]
    command = [sys.executable, "-c", KILLED, str(paths[3]), *words, "--csv", str(out / "o.csv")]
    assert subprocess.run(command, env=ENVIRONMENT, stderr=subprocess.DEVNULL).returncode == -signal.SIGKILL
    (out / "annotated" / "4.jpg.mien.part").write_bytes(b"half an image")
    assert {"o.jsonl.mien.part", "o.csv.mien.part", "f.csv.mien.part"} <= set(leftovers(out))
    assert run(*words, "--resume") == 0
    assert leftovers(out) == []
    assert len((out / "o.jsonl").read_text().splitlines()) == 6
    assert sorted(path.name for path in (out / "annotated").iterdir()) == [f"{k}.jpg" for k in range(6)]


def test_data_cache_of_a_killed_run_is_removed(kaggle: Path) -> None:
    draft = kaggle.parent / ".mien-fer-0123456789abcdef.npz.mien.part"
    draft.write_bytes(b"half a cache")
    assert run("data", "info", kaggle) == 0
    assert not draft.exists() and leftovers(kaggle.parent) != []
    assert all(name.endswith(".npz") for name in leftovers(kaggle.parent))


def test_video_draft_of_a_killed_run_is_replaced(quick: None, film: Film, tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [0.0, 0.1])
    (tmp_path / "out.mkv.mien.part.mkv").write_bytes(b"half a video")
    assert run("video", path, "--save", tmp_path / "out.mkv") == 0
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_predict_saves_one_image_as_a_file(quick: None, tmp_path: Path, suffix: str) -> None:
    path = image(tmp_path / "a.png")
    out = tmp_path / f"anno{suffix}"
    assert run("predict", path, "--save", out) == 0
    assert np.asarray(cv2.imread(str(out))).shape == (20, 20, 3)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    assert run("predict", bad, "--save", tmp_path / f"none{suffix}") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["a.png", out.name, "bad.png"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("predict", "a.png", "b.png", "--save", "anno.jpg"), "the name of a file, and annotated images need a folder"),
        (("predict", "a.png", "--save", "anno.gif"), r"must end in \.jpg, \.jpeg, \.png, \.webp"),
        (("predict", "a.png", "--csv", "x.xlsx"), r"must end in \.csv, \.txt"),
        (("predict", "a.png", "--jsonl", "x.csv"), r"must end in \.jsonl, \.json"),
        (("video", "a.png", "--save", "out.gif"), r"must end in \.mp4, \.m4v, \.mov, \.mkv"),
        (("video", "a.png", "--parquet", "x.csv"), r"must end in \.parquet, \.pq"),
        (("video", "a.png", "--timeline", "t.jpg"), r"must end in \.png, \.svg"),
        (("report", "--data", "fer.csv", "--out", "r.pdf"), r"must end in \.html, \.htm"),
        (("data", "montage", "fer.csv", "--out", "m.gif"), r"must end in \.png"),
        (("data", "soft-labels", "fer.csv", "--model", "mien-s", "--out", "s.csv"), r"must end in \.npz"),
    ],
)
def test_wrong_suffix_is_refused_with_the_possible_ones(
    words: tuple[str, ...], message: str, no_model: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_without_torch(words)
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png"):
        image(tmp_path / name)
    with pytest.raises(ConfigError, match=message):
        run(*words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]


@posix
def test_full_stdout_is_one_line(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    for words in (("predict", PORTRAIT), ("predict", PORTRAIT, "--jsonl", "-")):
        done = mien_process(*words, shell="MIEN > /dev/full")
        assert done.returncode == 2 and "Traceback" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert last.startswith("error: standard output: cannot be written (No space left on device)")
    assert mien_process("predict", PORTRAIT, shell="MIEN 2> /dev/full > /dev/full").returncode == 2


@posix
def test_names_that_the_terminal_cannot_show_are_escaped(tmp_path: Path) -> None:
    for name in ("日本.png", "\x1b[31mred.png"):
        image(tmp_path / name)
    (tmp_path / "bad\x1b]0;title\x07.png").write_bytes(b"no image")
    done = mien_process("predict", tmp_path, PYTHONIOENCODING="latin-1")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    words = " ".join((done.stdout + done.stderr).split())
    assert "\x1b" not in words and "\x07" not in words
    assert "bad\\x1b]0;title\\x07.png" in "".join(done.stderr.split())
    missing = mien_process("predict", tmp_path / "\x1b[2J\n.png")
    assert missing.returncode == 2 and "\x1b" not in missing.stderr and len(missing.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("cv2", "pip install opencv-python-headless"),
        ("av", "pip install av"),
        ("matplotlib.pyplot", "pip install 'mien[report]'"),
        ("pygame", "pip install 'mien[live]'"),
        ("ray", "pip install 'mien[batch]'"),
        ("yaml", "pip install 'mien[train]'"),
    ],
)
def test_missing_module_names_the_package_that_brings_it(
    module: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr(main, "app", missing)
    with pytest.raises(SystemExit, match="2"):
        main.main()
    assert capsys.readouterr().err.endswith(f"{advice}\n")


def test_readable_suffixes_are_those_of_sources() -> None:
    from mien.media.output_paths import READS
    from mien.media.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES

    assert set(READS) >= IMAGE_SUFFIXES | VIDEO_SUFFIXES
