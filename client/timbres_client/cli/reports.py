"""Commands for reports, their mails and mailed links."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from timbres_client.cli.accounts import Yes, last_month
from timbres_client.cli.tables import number
from timbres_client.cli.tool import Tool, app, command
from timbres_client.errors import InputError


@command(app, "timbres report 2026-10 --account acme-rc --kind statement --format pdf")
def report(
    tool: Tool,
    month: Annotated[str, typer.Argument(help="YYYY-MM, or a year; by default last month.")] = "",
    account: Annotated[str, typer.Option(help="An account, or all.")] = "all",
    kind: Annotated[str, typer.Option(help="consumption, or statement (the PAC's).")] = (
        "consumption"
    ),
    file_format: Annotated[str, typer.Option("--format", help="csv, xlsx, pdf or html.")] = "xlsx",
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder of the file.")] = Path(),
    open_file: Annotated[bool, typer.Option("--open", help="Open the file.")] = False,
) -> None:
    """Generate a report, wait for it, and save it."""
    month = month or last_month()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = tool.status_console
    hidden = not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as progress:
        bar = progress.add_task("Generating", total=None)
        ready = tool.client.report(account, month, kind, file_format)
        progress.update(bar, description="Downloading", total=ready["bytes"])
        out.mkdir(parents=True, exist_ok=True)
        path = tool.client.download(
            ready,
            out / f"{account}-{month}-{kind}.{file_format}",
            lambda count: progress.update(bar, completed=count),
        )
    size = number(path.stat().st_size)
    tool.show({"file": str(path), **ready, "url": None}, lambda: f"{path} ({size} bytes)")
    if open_file:
        typer.launch(str(path))


@command(app, "timbres revoke --month 2026-10")
def revoke(
    tool: Tool,
    link: Annotated[
        str | None, typer.Argument(help="Any link of a mail: revokes all links of that mail.")
    ] = None,
    month: Annotated[str | None, typer.Option(help="Revoke every link of this month.")] = None,
    yes: Yes = False,
) -> None:
    """Revoke mailed links: those of one mail, or of a month."""
    if (link is None) == (month is None):
        raise InputError("link", "Expected a link, or --month YYYY-MM.")
    what = "all links of the mail" if link else f"all mailed links of {month}"
    tool.confirm(f"Revoke {what}? The recipients can no longer open them.", yes=yes)
    result = tool.client.revoke(link=link, month=month)
    tool.show(result, lambda: f"Revoked links: {number(result['revoked'])}")


@command(app, "timbres mail 2026-10")
def mail(
    tool: Tool,
    month: Annotated[str, typer.Argument(help="YYYY-MM; by default last month.")] = "",
    yes: Yes = False,
) -> None:
    """Send the monthly mail again, with new links."""
    month = month or last_month()
    tool.confirm(f"Send the mail of {month} again?", yes=yes)
    result = tool.client.mail(month)
    tool.show(
        result,
        lambda: f"The mail of {month} with {number(result['reports'])} reports is on its way.",
    )
