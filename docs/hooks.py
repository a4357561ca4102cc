"""Hooks of the site's build: pages that are made from other files, and Markdown as GitHub reads it.

mkdocs.yml names this file; `make docs` builds the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

COPIES = {
    "MODEL_CARD.md": "model-card.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/results/robustness-PublicTest.png": "assets/robustness.png",
}
"""File of the repository outside of docs/ -> its place in the site."""


def commands() -> str:
    """Return the reference of all commands and flags as Markdown, from the command line itself."""
    from mien.cli import flags
    from mien.cli.examples import EXAMPLES
    from mien.cli.main import app

    text = app.generate_docs(output_format="markdown")
    body = text[text.index("\n## mien ", text.index("## Table of Contents")) :]
    body = body.replace(" *[default: False]*", "").replace("```console", "```text")
    body = re.sub(r", --(?:empty|no)-[\w-]+(?=`)", "", body)  # flags that empty a list; nobody needs them
    body = re.sub(r"^\* ", "- ", body, flags=re.MULTILINE)
    for command, lines in EXAMPLES.items():
        usage = re.search(rf"```text\nmien {command}( .*)?\n```\n", body)
        if command and usage:
            body = body.replace(usage[0], usage[0] + "\nExamples:\n\n```text\n" + "\n".join(lines) + "\n```\n", 1)
    return (
        "# Commands\n\nWritten from the commands themselves; `mien COMMAND --help` shows the same. Exit codes: 0; 1 if "
        "something could not be read; 2 if the run was not possible; 130 after Ctrl-C.\n\n"
        "`mien --install-completion` installs completion with Tab for bash, zsh, fish or PowerShell (the shell that is "
        "running, or `--shell bash`), and prints what to do next. The last line of a command counts what it did. On a "
        "terminal results are tables, or lists where it is narrow; elsewhere each result is one line. `--quiet` leaves "
        "out all but warnings and errors, and colours obey `NO_COLOR`.\n\n"
        "## Flags of several commands\n\nOne flag means the same everywhere.\n\n" + flags.table(app) + body
    )


def examples() -> str:
    """Return the list of the examples and, below it, the code of each script."""
    folder = ROOT / "examples"
    text = (folder / "README.md").read_text("utf-8")
    scripts = re.findall(r"^- `(\w+\.py)`:", text, re.MULTILINE)
    return text + "".join(f"\n## {name}\n\n```python\n{(folder / name).read_text('utf-8')}```\n" for name in scripts)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    for name, place in COPIES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "cli.md", content=commands()))
    files.append(File.generated(config, "examples.md", content=examples()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with links that hold in the site, and with the blank lines that Python-Markdown needs."""
    source = next((name for name, place in COPIES.items() if place == page.file.src_uri), f"docs/{page.file.src_uri}")
    return blank_lines(links(markdown, source, page.file.src_uri))


def links(markdown: str, source: str, place: str) -> str:
    """Point links between files of the repository to their places in the site; others become plain text.

    `source` is the page's path in the repository, `place` its path in the site.
    """

    def link(match: re.Match[str]) -> str:
        mark, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        if re.match(r"\w+:|#", target):
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in COPIES:
            goal = COPIES[path]
        elif path == "examples/README.md":
            goal = "examples.md"
        elif path.startswith("docs/"):
            goal = path.removeprefix("docs/")
        else:
            return text
        return f"{mark}[{text}]({posixpath.relpath(goal, posixpath.dirname(place) or '.')}{anchor})"

    return re.sub(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s]+)(#[^)\s]*)?\)", link, markdown)


def blank_lines(markdown: str) -> str:
    """Put a blank line before each list, fence and table that follows a line of text, as GitHub reads them without."""
    lines: list[str] = []
    fence = False
    for line in markdown.splitlines():
        before = lines[-1] if lines else ""
        if not fence and before.strip():
            item = re.match(r"([-*]|\d+\.) ", line) and not re.match(r"\s|([-*]|\d+\.) ", before)
            table = line.startswith("|") and not before.startswith("|")
            if item or table or line.startswith("```"):
                lines.append("")
        if line.lstrip().startswith("```"):
            fence = not fence
        lines.append(line)
    return "\n".join(lines) + "\n"


def on_config(config: MkDocsConfig) -> Any:
    """Show the package's version beside the name."""
    text = (ROOT / "src/mien/__init__.py").read_text("utf-8")
    version = re.search(r'__version__ = "(.*?)"', text)
    config.extra["version_text"] = version[1] if version else ""
    return config
