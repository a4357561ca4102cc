"""docs/speed.md: speed.md.jinja, filled with the tables that the figures of results/ give.

Measure first: frame_profile.py, folder.py, video.py and session_options.py. What each step brought is read from the
repository's history (history.py), where it is there, and kept in results/history.json. A test holds the page to the
figures.

Usage: python benchmarks/speed_page.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jinja2

import folder
import frame_profile
import history
import session_options
import video
from mien import files

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"


def main() -> None:
    history.renew()
    files.write_text(PAGE, page())
    print(f"wrote {PAGE.name}")


def page(results: Path = HERE / "results") -> str:
    """The page as text.

    Args:
        results: folder of `frame_profile.json`, `folder.json`, `video.json`, `session_options.json` and `history.json`.
    """
    names = ("frame_profile", "folder", "video", "session_options", "history")
    figures = {name: read(results / f"{name}.json") for name in names}
    profile, options = figures["frame_profile"], figures["session_options"]
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    template = environment.from_string((HERE / "speed.md.jinja").read_text("utf-8"))
    return template.render(
        profile=profile, options=options, levels=", ".join(session_options.LEVELS),
        steps=frame_profile.markdown(profile), video=video.markdown(figures["video"]),
        folder=folder.markdown(figures["folder"]), sessions=session_options.markdown(options),
        same=all(session_options.is_default(row) for row in options["best"]),
        history=history.markdown(figures["history"]),
    )  # fmt: skip


def read(path: Path) -> Any:
    if not path.exists():
        raise SystemExit(f"{path} is missing: run benchmarks/{path.stem}.py first")
    return json.loads(path.read_text("utf-8"))


if __name__ == "__main__":
    main()
