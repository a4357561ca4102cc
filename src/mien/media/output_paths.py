"""Where outputs may be written: never over an input or another output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mien.errors import ConfigError
from mien.media import paths
from mien.media.paths import unique_names
from mien.media.video_writer import FORMATS


class OutputPaths:
    """Checks that no output takes the place of an input or of another output."""

    def __init__(self, inputs: Sequence[str | Path]) -> None:
        self._inputs = tuple(inputs)
        self._written: set[Path] = set()

    def check(self, *outputs: Path | None) -> None:
        """Take note of outputs; None is an output not wanted.

        Raises:
            ConfigError: one would be written over an input or another output.
        """
        for each in filter(None, outputs):
            if (there := _identity(each)) and any(_identity(read) == there for read in self._inputs):
                raise ConfigError(
                    f"{each}: is one of the files to look at and would be written over; choose another name"
                )
            if each.resolve() in self._written:
                raise ConfigError(f"{each}: named for two outputs; give each a file of its own")
            self._written.add(each.resolve())


def _identity(path: str | Path) -> tuple[int, int] | None:
    """What two names of one file have in common, or None where there is no file: a source may be a URL."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def annotated_paths(videos: Sequence[str], save: Path) -> list[Path]:
    """Where the annotated copy of each video goes.

    Args:
        videos: the videos.
        save: a video file, or a folder for `<stem>.mp4` each; there `_mien` is added to a name that is taken by one of
            the videos themselves.

    Raises:
        ConfigError: one file for several videos.
    """
    if save.suffix.lower() in paths.VIDEO_SUFFIXES.union(FORMATS) and not save.is_dir():
        if len(videos) > 1:
            raise ConfigError(f"{save}: one file for {len(videos)} videos; give a folder, as in --save annotated")
        return [save]
    taken = {Path(each).resolve() for each in videos}
    found: list[Path] = []
    for name in unique_names(videos):
        path = save / f"{name}.mp4"
        while path.resolve() in taken:
            path = path.with_stem(f"{path.stem}_mien")
        taken.add(path.resolve())
        found.append(path)
    return found
