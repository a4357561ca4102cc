"""Decide whether a path may be written. Nothing else in the package does.

A command names its inputs once, and asks for each output before any work:

    outputs = OutputPaths(images)
    rows = outputs.file("faces.jsonl", what="JSON lines", suffixes=(".jsonl", ".json"), keep=True, resumable=True)
    folder = outputs.folder("annotated", what="annotated images", file_suffixes=(".jpg", ".png"))
    rows.start(resume=True)

Files are compared by identity, not by name: links, hard links, relative paths, and names that differ only in case on a
file system that ignores it. The names of drafts count as outputs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from mien.errors import ConfigError
from mien.media import atomic, drafts
from mien.media.identity import PathLike, identity_of, is_file, name_key, packed
from mien.media.paths import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from mien.media.targets import Target, check_place, check_suffix, output_error, resolve, shown, writing

READS = (
    *sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES),
    *(".csv", ".txt", ".zip", ".npz", ".npy", ".parquet", ".pq", ".tar", ".gz", ".tgz"),
    *(".onnx", ".safetensors", ".yaml", ".yml"),
)
"""Suffixes of files that a run may read from an input folder."""


class OutputPaths:
    """The outputs of one run, kept apart from its inputs and from each other."""

    def __init__(self, inputs: Iterable[PathLike | None] = (), reads: Sequence[str] = READS) -> None:
        """Register the inputs.

        Args:
            inputs: all files that the run reads: sources, data, votes, models, recipes. A folder stands for everything
                inside it; give its files instead if they are known. None, URLs, camera numbers and missing files are
                ignored.
            reads: suffixes of input files. An input folder takes no output with such a suffix, because the next run
                would read it.
        """
        self._inputs = [path for path in inputs if path]
        self._reads = frozenset(reads)
        self._known: tuple[set[int], set[int]] | None = None
        self._claims: list[tuple[Path, Path, int | None]] = []  # real path, path as given, what an open file is
        self._drafts: list[Path] = []
        self.record = drafts.RunRecord()

    def file(
        self,
        path: PathLike,
        *,
        what: str = "this output",
        suffixes: Sequence[str] = (),
        draft_suffixes: Sequence[str] = ("",),
        draft_folder: bool = False,
        keep: bool = False,
        resumable: bool = False,
        stream: bool = True,
        stdout: bool = False,
        wait: float = 5.0,
    ) -> Output:
        """Check a file and return it as an output to start. Nothing is opened or changed yet.

        Args:
            path: the file; "-" is standard output.
            what: the output in words, for messages: "a CSV table".
            suffixes: allowed suffixes, "" for none; () allows all.
            draft_suffixes: see `drafts.draft_path`. The first is that of the draft, the rest are those of further files
                that the writer makes.
            draft_folder: the draft is a folder.
            keep: keep the draft when the run fails.
            resumable: a later run can continue the draft, so other runs never remove it.
            stream: a pipe or a device is allowed.
            stdout: standard output is allowed.
            wait: seconds to wait for the reader of a pipe.

        Raises:
            ConfigError: the path is an input, another output or a folder, or has a wrong suffix.
            OutputError: the path cannot be written: no permission, a full disk, or another run is writing it.
        """
        target = resolve(path)
        if target.kind in ("descriptor", "stream"):
            self._check_stream(target, what, stream, stdout)
            return Output(self, path, resumable, wait=wait)
        name = shown(path)
        if target.kind == "folder" or os.fspath(path).endswith(("/", os.sep)):
            example = Path(path, "name" + next((suffix for suffix in suffixes if suffix), ""))
            raise ConfigError(f"{name}: a folder, and {what} is a file; give a file, as in {example}")
        if target.kind == "other":
            raise ConfigError(f"{name}: a disk or a socket, where {what} does not go; give a file")
        names = [drafts.draft_path(target.real, suffix) for suffix in draft_suffixes]
        self._check_inputs(target, names)
        self._check_claims(target, [target.real, *names])
        check_suffix(target, what, suffixes)
        check_place(target, names[0].name)
        if drafts.is_locked(names[0]):
            raise drafts.busy(target.path)
        self._claims += [(real, target.path, None) for real in (target.real, *names)]
        self._drafts += names
        return Output(
            self,
            path,
            resumable,
            further=names[1:],
            suffix=draft_suffixes[0],
            folder=draft_folder,
            keep=keep,
            wait=wait,
        )

    def folder(
        self,
        path: PathLike,
        *,
        what: str = "this output",
        file_suffixes: Sequence[str] = READS,
        names: Sequence[str] = (),
        again: Sequence[str] = (),
    ) -> OutputFolder:
        """Check a folder for many files and return it as an output to start. Nothing is made yet.

        Args:
            path: the folder; `start` makes missing ones.
            what: the output in words, for messages: "annotated images".
            file_suffixes: the name of a new folder must not end in one of these: then a file is meant.
            names: files that will certainly be written in it.
            again: patterns of files that every run makes again, such as "*.jpg". `start` removes their drafts left by
                dead runs.

        Raises:
            ConfigError: the path is a file, an input or another output, or lies in an input folder.
            OutputError: the folder cannot be written.
        """
        target = resolve(path)
        if target.kind not in ("folder", "file") or str(target.path) == "-" or is_file(target.real):
            raise ConfigError(f"{shown(path)}: no folder, and {what} need one; give a folder")
        if target.kind == "file" and target.path.suffix.lower() in file_suffixes:
            raise ConfigError(
                f"{target.path}: the name of a file, and {what} need a folder; "
                f"give a folder, as in {target.path.with_suffix('')}"
            )
        if any(map(self._is_input_folder, (target.real, *target.real.parents))):
            raise ConfigError(f"{target.path}: lies in an input folder, whose files {what} would join; choose another")
        self._check_claims(target, [target.real])
        check_place(target)
        self._claims.append((target.real, target.path, None))
        folder = OutputFolder(self, target.path, target.real, again)
        for name in names:
            folder.check(name)
        return folder

    def is_input(self, path: PathLike) -> bool:
        """Tell whether a path is one of the input files."""
        identity = identity_of(path)
        return identity is not None and identity in self._identities()[0]

    def is_output(self, path: PathLike) -> bool:
        """Tell whether a path is another output of this run, or the draft of one."""
        return self._claimed([Path(os.path.realpath(path))]) is not None

    @property
    def drafts(self) -> tuple[Path, ...]:
        """All drafts of this run, begun or not."""
        return tuple(self._drafts)

    def _identities(self) -> tuple[set[int], set[int]]:
        """Return the identities of the input files and of the input folders."""
        if self._known is None:
            files: set[int] = set()
            folders: set[int] = set()
            for path in self._inputs:
                if (identity := identity_of(path)) is not None:
                    (folders if Path(path).is_dir() else files).add(identity)
            self._known = files, folders
        return self._known

    def _is_input_folder(self, path: Path) -> bool:
        return bool(self._identities()[1]) and identity_of(path) in self._identities()[1]

    def _check_inputs(self, target: Target, names: Sequence[Path]) -> None:
        if self.is_input(target.real):
            raise ConfigError(f"{target.path}: is an input and would be overwritten; choose another name")
        for name in names:
            if self.is_input(name):
                raise ConfigError(
                    f"{target.path}: its draft would overwrite the input {name.name}; choose another name"
                )
        if target.path.suffix.lower() in self._reads and any(map(self._is_input_folder, target.real.parents)):
            raise ConfigError(
                f"{target.path}: lies in an input folder, and the next run would read it; choose another place"
            )

    def _check_claims(self, target: Target, names: Sequence[Path]) -> None:
        if (other := self._claimed(names)) is not None:
            both = "named for two outputs" if other == target.path else f"would be the same file as {other}"
            raise ConfigError(f"{target.path}: {both}; give each output a name of its own")

    def _claimed(self, names: Sequence[Path]) -> Path | None:
        """Return the other output that has one of these names."""
        wanted = {name_key(name) for name in names}
        return next((path for real, path, state in self._claims if state is None and name_key(real) in wanted), None)

    def _check_stream(self, target: Target, what: str, stream: bool, stdout: bool) -> None:
        name = shown(target.path)
        is_standard = target.descriptor == 1
        if (is_standard and not stdout) or not stream:
            raise ConfigError(f"{name}: {what} cannot go there; give a file")
        try:
            state = os.fstat(target.descriptor) if target.kind == "descriptor" else target.path.stat()
        except OSError as error:
            raise output_error(name, error) from error
        identity = packed(state)
        if identity in self._identities()[0]:
            raise ConfigError(f"{name}: is an input; choose another name")
        if target.kind == "stream" and not target.path.is_fifo():
            return  # a device such as /dev/null takes any number of outputs
        if any(other == identity for *_, other in self._claims):
            raise ConfigError(f"{name}: named for two outputs; give each output a name of its own")
        self._claims.append((target.real, target.path, identity))


class Output(atomic.AtomicFile):
    """A file that `OutputPaths.file` has accepted; use it as an AtomicFile."""

    def __init__(
        self,
        paths: OutputPaths,
        path: PathLike,
        resumable: bool,
        *,
        further: Sequence[Path] = (),
        suffix: str = "",
        folder: bool = False,
        keep: bool = False,
        wait: float = 5.0,
    ) -> None:
        super().__init__(path, suffix=suffix, folder=folder, keep=keep, wait=wait)
        self._paths, self._resumable, self._further = paths, resumable, further

    def start(self, resume: bool = False, may_drop: Callable[[bytes], bool] | None = None) -> Self:
        """Open and lock the draft, see `AtomicFile.start`, and remove leftovers of a dead run with the same outputs."""
        super().start(resume, may_drop)
        if self.draft is not None:
            for path in self._further:
                drafts.remove(path)
            with suppress(OSError):
                drafts.clean_after(self.draft, self._paths.drafts, self._paths.is_input)
            self._paths.record.add(self.draft, self._resumable, self._further)
        return self

    def commit(self) -> None:
        """Rename the draft to its final name, see `AtomicFile.commit`."""
        try:
            super().commit()
        finally:
            self._forget()

    def discard(self) -> None:
        """End and remove the draft."""
        super().discard()
        for path in self._further:
            drafts.remove(path)
        self._forget()

    def _forget(self) -> None:
        if self.draft is not None and not self.started and drafts.state_of(self.draft, follow=False) is None:
            self._paths.record.drop(self.draft)


class OutputFolder:
    """A folder that `OutputPaths.folder` has accepted. Only one run at a time writes into it.

    Attributes:
        path: the folder.
    """

    def __init__(self, paths: OutputPaths, path: Path, real: Path, again: Sequence[str]) -> None:
        self.path = path
        self._paths, self._real, self._again = paths, real, again
        self._lock: drafts.FolderLock | None = None

    def start(self) -> Self:
        """Make and lock the folder, and remove drafts left by dead runs.

        Raises:
            OutputError: the folder cannot be made, or another run is writing into it.
        """
        with writing(self.path):
            self._real.mkdir(parents=True, exist_ok=True)
        self._lock = drafts.FolderLock(self.path)
        drafts.remove_dead_drafts(self._real, *self._again)
        return self

    def is_free(self, name: str) -> bool:
        """Tell whether a file may have this name: it is not an input, another output, a draft or a folder."""
        return self._taken(name) is None

    def check(self, name: str) -> Path:
        """Return the path of a file to write, or raise a ConfigError if it is an input or another output."""
        if (reason := self._taken(name)) is not None:
            raise ConfigError(f"{self.path / name}: is {reason} and would be overwritten; choose another folder")
        return self._real / name

    def write(self, name: str, data: bytes) -> Path:
        """Write one small file whole or not at all, after `check`."""
        path = self.check(name)
        atomic.write_bytes(path, data, sync=False)
        return path

    def _taken(self, name: str) -> str | None:
        for path in (self._real / name, drafts.draft_path(self._real / name)):
            if self._paths.is_input(path):
                return "an input"
            if self._paths.is_output(path):
                return "another output"
            if path.is_dir():
                return "a folder"
        return None

    def close(self) -> None:
        """Unlock the folder. A second call does nothing."""
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Self:
        return self if self._lock else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
