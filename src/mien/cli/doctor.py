"""The command `doctor`."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Column, Table

from mien.cli.console import out


def doctor() -> int:
    """Check installation, model files, cameras and screen, with advice where something is missing."""
    from mien.doctor import examine

    checks = examine()
    table = Table(Column(""), Column("what", no_wrap=True), Column("found", overflow="fold"), box=None)
    for check in checks:
        mark = "[green]ok[/green]" if check.ok else "[red]FAIL[/red]" if check.essential else "[yellow]--[/yellow]"
        advice = f"\n[bold]{escape(check.advice)}[/bold]" if check.advice else ""
        table.add_row(mark, escape(check.name), escape(check.detail) + advice)
    out.print(table, highlight=False)
    broken = [check.name for check in checks if check.essential and not check.ok]
    out.print(f"mien does not work: see {', '.join(broken)}" if broken else "mien works here", highlight=False)
    return 1 if broken else 0
