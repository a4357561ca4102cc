"""Grid: rows that become a table, a list on a narrow terminal, or plain lines where there is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from mien.cli.console import echo, out, printable, wrap
from mien.cli.names import cut, fit

_FIRST = 12  # columns that the first cell of a row has at least
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Label:
    """A class, with a dot in its colour; gray where the answer is uncertain."""

    name: str
    uncertain: bool = False
    note: str = ""

    def __str__(self) -> str:
        return f"{self.name}?{self.note}" if self.uncertain else f"{self.name}{self.note}"


Cell = str | Label


@dataclass(frozen=True, slots=True)
class Row:
    """A row; `items` replaces its cells after the first one in a list."""

    cells: Sequence[Cell]
    items: Sequence[Cell] = ()


@dataclass(slots=True)
class Grid:
    """Rows with the names of their columns; the first cell names the row, and a row of one cell is a heading."""

    columns: Sequence[str]
    rows: list[Row] = field(default_factory=list)
    title: str = ""
    caption: str = ""
    left: frozenset[int] = frozenset({0})  # columns that begin at the left
    files: bool = False  # the first cells are names of files, which may be cut

    def add(self, *cells: Cell, items: Sequence[Cell] = ()) -> None:
        self.rows.append(Row(cells, items))

    def print(self, screen: Console = out) -> None:
        """Print the rows: as a table if it fits the terminal, else as a list; without a terminal a row is a line."""
        if self.title:
            echo(self.title, screen)
        if not screen.is_terminal:
            for line in self._plain():
                echo(line, screen)
        else:
            utf8 = screen.encoding.lower().startswith("utf")
            for text in self._table(screen.width, utf8) or self._list(screen.width, utf8):
                screen.print(text, highlight=False, soft_wrap=True)
        if self.caption:
            echo(self.caption, screen)

    def _plain(self) -> Iterable[str]:
        for row in self.rows:
            first, *cells = map(str, row.cells)
            pairs = ", ".join(f"{name} {cell}".strip() for name, cell in self._pairs(cells))
            yield f"{first}: {pairs}" if pairs else first

    def _pairs(self, cells: Sequence[str]) -> list[tuple[str, str]]:
        return [(name, cell) for name, cell in zip(self.columns[1:], cells, strict=False) if cell]

    def _table(self, width: int, utf8: bool) -> list[Text] | None:
        """Return the lines of a table, or None where they do not fit."""
        cells = [[dotted(cell, utf8) for cell in row.cells] for row in self.rows]
        heads = [Text(printable(name)) for name in self.columns]
        widths = [
            max([heads[k].cell_len, *(line[k].cell_len for line in cells if k < len(line) > 1)])
            for k in range(len(self.columns))
        ]
        room = width - sum(widths[1:]) - len(_GAP) * (len(widths) - 1)
        widths[0] = min(max([heads[0].cell_len, *(line[0].cell_len for line in cells)]), room)
        names = [line[0].plain for line in cells]
        longest = max(map(cell_len, [heads[0].plain, *names]))
        if room < (min(_FIRST, longest) if self.files else longest):
            return None
        short = fit(names, widths[0], _ellipsis(utf8))
        if len(set(short)) < len(set(names)):
            return None
        for line, name in zip(cells, short, strict=True):
            if line[0].plain != name:
                line[0] = Text(name)
        rule = Text(("─" if utf8 else "-") * (sum(widths) + len(_GAP) * (len(widths) - 1)), style="dim")
        return [self._line(heads, widths, "bold"), rule, *(self._line(line, widths) for line in cells)]

    def _line(self, cells: Sequence[Text], widths: Sequence[int], style: str = "") -> Text:
        line = Text(style=style)
        for k, (cell, width) in enumerate(zip(cells, widths, strict=False)):
            space = " " * (width - cell.cell_len)
            parts = (cell, space) if k in self.left else (space, cell)
            line = Text.assemble(line, _GAP if k else "", *parts, style=style)
        line.rstrip()
        return line

    def _list(self, width: int, utf8: bool) -> list[Text]:
        """Return the name of each row, and below it what the others hold, broken between the items."""
        lines = []
        names = [printable(str(row.cells[0])) for row in self.rows]
        if self.files:
            names = fit(names, width, _ellipsis(utf8))
        for name, group in groupby(zip(names, self.rows, strict=True), key=lambda pair: pair[0]):
            lines.append(Text(name, style="bold"))
            for _, row in group:
                items = row.items or [
                    f"{head} {cell}".strip() for head, cell in self._pairs(list(map(str, row.cells[1:])))
                ]
                lines += _flow([dotted(item, utf8) for item in items], width, utf8)
        return lines


def dotted(cell: Cell, utf8: bool) -> Text:
    """Return a cell for a terminal: before a label stands a dot in the colour of the emotion."""
    if isinstance(cell, str):
        return Text(printable(cell))
    from mien.draw.palette import COLOURS, MUTED

    blue, green, red = MUTED if cell.uncertain else COLOURS.get(cell.name, MUTED)
    return Text.assemble(("● " if utf8 else "* ", f"rgb({red},{green},{blue})"), printable(str(cell)))


def _flow(items: Sequence[Text], width: int, utf8: bool) -> list[Text]:
    """Join items to lines with an indent; a word that is too long is cut."""
    plain = [" ".join(cut(word, width - 5, _ellipsis(utf8)) for word in item.plain.split(" ")) for item in items]
    lines = [Text("  " + line) for line in wrap(plain, width - 2)]
    if items and items[0].spans:  # only the first item has a dot
        lines[0].stylize(items[0].spans[0].style, 2, 3)
    return lines


def _ellipsis(utf8: bool) -> str:
    return "…" if utf8 else "..."
