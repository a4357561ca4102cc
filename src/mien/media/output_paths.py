"""Decide whether a path may be written: the only place that does.

A command names its inputs once, and asks for each output before any work:

    outputs = OutputPaths(images)
    rows = outputs.file("faces.jsonl", what="JSON lines", suffixes=(".jsonl", ".json"), keep=True, resumable=True)
    folder = outputs.folder("annotated", what="annotated images", file_suffixes=(".jpg", ".png"))
    rows.start(resume=True)

Files are compared by what they are, not by their names: through links, hard links, relative paths, and file systems
that take A.jpg and a.jpg for the same. The names of drafts count as outputs.
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
"""Suffixes that an input folder's own files may have."""


class OutputPaths:
    """The outputs of one run, kept apart from its inputs and from each other."""

    def __init__(self, inputs: Iterable[PathLike | None] = (), reads: Sequence[str] = READS) -> None:
        """Name the inputs.

        Args:
            inputs: all files that the run reads: sources, data, votes, models, recipes. A folder stands for all that
                lies in it; give the files instead where they are known. None, URLs, camera numbers and names of nothing
                are passed over.
            reads: suffixes of files that an input folder may hold. No output of such a kind may lie in it, since the
                next run would take it for an input.
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
        """Decide on a file; nothing is opened or changed yet.

        Args:
            path: of the file; "-" for standard output.
            what: the output in words, for messages: "a CSV table".
            suffixes: that its name may have, with "" for none; () takes all.
            draft_suffixes: see `drafts.draft_path`. The first is the draft's, the others those of further files that
                its writer makes.
            draft_folder: its draft is a folder.
            keep: keep its draft when the run fails.
            resumable: a later run can go on with its draft; such a draft is never removed by others.
            stream: it can be written to a pipe or a device.
            stdout: it can be written to standard output.
            wait: seconds to wait for the reader of a pipe.

        Returns:
            The output, to be started.

        Raises:
            ConfigError: the path is an input, another output, a folder, or has a suffix that does not fit.
            OutputError: it cannot be written: missing rights, a full disk, another run that is writing it.
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
        """Decide on a folder for many files; nothing is made yet.

        Args:
            path: of the folder; missing ones are made at the start.
            what: the output in words, for messages: "annotated images".
            file_suffixes: a new folder's name must not end in one of them: then a file is meant.
            names: of files that will surely be written in it.
            again: patterns of files that a run makes again, such as "*.jpg"; their drafts of dead runs are removed at
                the start.

        Raises:
            ConfigError: the path is a file, an input, lies in an input folder, or is another output.
            OutputError: it cannot be written.
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
        """What the input files and the input folders are."""
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
            raise ConfigError(f"{target.path}: is an input, and would be written over; choose another name")
        for name in names:
            if self.is_input(name):
                raise ConfigError(
                    f"{target.path}: its draft would be written over the input {name.name}; choose another name"
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
    """A file that `OutputPaths.file` has decided on; use it as an AtomicFile."""

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
        """Open and lock the draft, see `AtomicFile.start`, and remove what a dead run of the same outputs left."""
        super().start(resume, may_drop)
        if self.draft is not None:
            for path in self._further:
                drafts.remove(path)
            with suppress(OSError):
                drafts.clean_after(self.draft, self._paths.drafts, self._paths.is_input)
            self._paths.record.add(self.draft, self._resumable, self._further)
        return self

    def commit(self) -> None:
        """Give the file its name, see `AtomicFile.commit`."""
        try:
            super().commit()
        finally:
            self._forget()

    def discard(self) -> None:
        """End, and remove the draft."""
        super().discard()
        for path in self._further:
            drafts.remove(path)
        self._forget()

    def _forget(self) -> None:
        if self.draft is not None and not self.started and drafts.state_of(self.draft, follow=False) is None:
            self._paths.record.drop(self.draft)


class OutputFolder:
    """A folder that `OutputPaths.folder` has decided on. One run at a time writes into it.

    Attributes:
        path: the folder.
    """

    def __init__(self, paths: OutputPaths, path: Path, real: Path, again: Sequence[str]) -> None:
        self.path = path
        self._paths, self._real, self._again = paths, real, again
        self._lock: drafts.FolderLock | None = None

    def start(self) -> Self:
        """Make and lock the folder, and remove drafts that dead runs left in it.

        Raises:
            OutputError: it cannot be made, or another run is writing into it.
        """
        with writing(self.path):
            self._real.mkdir(parents=True, exist_ok=True)
        self._lock = drafts.FolderLock(self.path)
        drafts.remove_dead_drafts(self._real, *self._again)
        return self

    def is_free(self, name: str) -> bool:
        """Tell whether a file may have this name: it is no input, no other output, no draft of one, no folder."""
        return self._taken(name) is None

    def check(self, name: str) -> Path:
        """Return the path of a file in the folder that is to be written.

        Raises:
            ConfigError: the name is an input or another output.
        """
        if (reason := self._taken(name)) is not None:
            raise ConfigError(f"{self.path / name}: is {reason}, and would be written over; choose another folder")
        return self._real / name

    def write(self, name: str, data: bytes) -> Path:
        """Write one small file whole or not at all.

        Raises:
            ConfigError: the name is an input or another output.
            OutputError: it cannot be written.
        """
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
        """Let other runs write into the folder; calling it twice does no harm."""
        if self._lock:
            self._lock.release()

    def __enter__(self) -> Self:
        return self if self._lock else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
