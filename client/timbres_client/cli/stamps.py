"""Commands for stamps: balances, counts, issuers and daily runs."""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from timbres_client.cli.accounts import Yes, this_month
from timbres_client.cli.tables import available, minute, number, plain, state
from timbres_client.cli.tool import Tool, app, command
from timbres_client.errors import InputError
from timbres_client.types import Run, StampCount

_MAX_REMOVED = 100

AccountName = Annotated[str, typer.Argument(help="An account of `timbres accounts`.")]
All = Annotated[bool, typer.Option("--all", help="Show all, not the first 20.")]

issuer_group = typer.Typer(help="The list of issuers that Timbres monitors.")
app.add_typer(issuer_group, name="issuers", no_args_is_help=True)


@command(app, "timbres balance acme-rc 2026-10")
def balance(
    tool: Tool,
    account: AccountName,
    month: Annotated[str, typer.Argument(help="YYYY-MM; by default this month.")] = "",
    to: Annotated[str | None, typer.Option(help="Last of several months, up to 13.")] = None,
    rfc: Annotated[str | None, typer.Option(help="Only this issuer.")] = None,
    show_all: All = False,
) -> None:
    """Show what each issuer consumed in a month, or in several."""
    month = month or this_month()
    if to is not None:
        months = tool.client.balances(account, month, to)["months"]
        tool.show_list(
            months,
            {
                "Month": lambda m: m["month"],
                "Stamps": lambda m: number(m["transactions"]),
                "Issuers": lambda m: number(len(m["by_issuer"])),
                "As of": lambda m: minute(m["as_of"]),
            },
            right=("Stamps", "Issuers"),
        )
        return
    found = tool.client.balance(account, month, rfc)
    if tool.as_json:
        tool.show(found, lambda: None)
        return
    head = f"{account} {month}: [bold]{number(found['transactions'])}[/] stamps"
    tool.print(f"{head} (as of {minute(found['as_of'])})")
    if found["consistent"] is False:
        tool.print("[red]The PAC's total and its movements differ: use neither figure.[/]")
    tool.show_list(
        sorted(found["by_issuer"], key=lambda line: -line["amount"]),
        {"RFC": lambda line: plain(line["rfc"]), "Stamps": lambda line: number(line["amount"])},
        show_all=show_all,
        right=("Stamps",),
    )


@command(app, "timbres stamps --low")
def stamps(
    tool: Tool,
    account: Annotated[str | None, typer.Argument(help="An account; without: all.")] = None,
    rfc: Annotated[str | None, typer.Argument(help="One issuer: ask the PAC now.")] = None,
    low: Annotated[bool, typer.Option("--low", help="Only low or exhausted issuers.")] = False,
    own: Annotated[
        bool, typer.Option("--account", help="The account's own stamps, which all issuers use.")
    ] = False,
    show_all: All = False,
) -> None:
    """Show the stamps left: the most urgent issuers, one issuer, or the account itself."""
    if own and account:
        found = tool.client.account_stamps(account)
        line = "contracted {contracted}, used {used}, available [bold]{available}[/]"
        counts = {k: number(found[k]) for k in ("contracted", "used", "available")}
        return tool.show(found, lambda: f"{account}: {line.format(**counts)}")
    if account and rfc:
        issuer = tool.client.stamps(account, rfc)
        return tool.show(issuer, lambda: _describe(issuer))
    alerts = (None,) if account and not low else ("exhausted", "low")
    items = (line for alert in alerts for line in tool.client.issuers(account or "all", alert))
    tool.show_list(
        items,
        {
            **({} if account else {"Account": lambda i: i["account"]}),
            "RFC": lambda i: plain(i["rfc"]),
            "Available": available,
            "Per day": lambda i: number(max(i["burn_7"] or 0.0, i["burn_30"] or 0.0)),
            "Days left": lambda i: number(i["days_left"]),
            "State": lambda i: state(i["alert"]),
            "Counted": lambda i: plain((i["as_of"] or "")[:10]),
        },
        show_all=show_all,
        empty="No issuer is low." if low or not account else "No issuers are known yet.",
        right=("Available", "Per day", "Days left"),
    )
    return None


@command(app, "timbres history acme-sf 'A&D061009TY8'")
def history(
    tool: Tool,
    account: AccountName,
    rfc: Annotated[str, typer.Argument(help="The issuer.")],
    first: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day, YYYY-MM-DD.")] = None,
) -> None:
    """Show the daily counts of an issuer, by default of the last 30 days."""
    tool.show_list(
        tool.client.history(account, rfc, first, last),
        {
            "Day": lambda s: s["date"],
            "Contracted": lambda s: number(s["contracted"]),
            "Used": lambda s: number(s["used"]),
            "Available": available,
            "Since the day before": lambda s: number(s["consumed"]),
        },
        empty="No daily run has counted this issuer in these days.",
        right=("Contracted", "Used", "Available", "Since the day before"),
    )


@command(app, "timbres runs --watch")
def runs(
    tool: Tool,
    run_id: Annotated[str | None, typer.Argument(help="A run; without: the newest runs.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow a run to its end.")] = False,
    failures: Annotated[
        bool, typer.Option("--failures", help="List the issuers that were not counted.")
    ] = False,
    show_all: All = False,
) -> None:
    """Show the daily runs, or the progress of one."""
    if watch or (failures and run_id is None):
        newest = next(tool.client.runs(), None)
        if newest is None and run_id is None:
            raise InputError("run", "No run has started yet.")
        run_id = run_id or (newest or {"id": ""})["id"]
    if run_id is None:
        tool.show_list(
            tool.client.runs(),
            {
                "Run": lambda r: r["id"],
                "State": lambda r: state(r["status"]),
                "Started": lambda r: minute(r["started_at"]),
                "Finished": lambda r: minute(r["finished_at"]),
                "Low": lambda r: number(r["low"]),
                "Exhausted": lambda r: number(r["exhausted"]),
            },
            show_all=show_all,
            empty="No run has started yet; the scheduler starts one at 05:00.",
            right=("Low", "Exhausted"),
        )
        return
    if failures:
        tool.show_list(
            tool.client.run_failures(run_id),
            {
                "Account": lambda f: f["account"],
                "RFC": lambda f: plain(f.get("rfc")),
                "Reason": lambda f: plain(f.get("code")),
            },
            show_all=show_all,
            empty="Every issuer was counted.",
        )
        return
    run = _watch(tool, run_id) if watch else tool.client.run(run_id)
    if tool.as_json:
        tool.show(run, lambda: None)
        return
    failed = sum(run["failed"].values())
    tool.print(
        f"{run['id']}: {state(run['status'])}, {number(run['done'])} of "
        f"{number(run['expected'])} counted, {number(failed)} failed, "
        f"{number(run['low'])} low, {number(run['exhausted'])} exhausted"
    )
    if run["expected_end"]:
        rate = number(run["per_minute"])
        tool.print(f"{rate} per minute, expected end {minute(run['expected_end'])}")
    tool.show_list(
        run["accounts"],
        {
            "Account": lambda a: a["account"],
            "Counted": lambda a: f"{number(a['done'])} of {number(a['expected'])}",
            "Failed": lambda a: ", ".join(f"{n} {code}" for code, n in a["failed"].items()),
            "Problem": lambda a: plain(a["problem"]),
        },
    )


def _watch(tool: Tool, run_id: str) -> Run:
    """Show a bar until a run is finished; return it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=tool.status_console) as progress:
        bar = progress.add_task(run_id, total=None)
        while True:
            run = tool.client.run(run_id)
            end = run["expected_end"]
            text = f"{run_id}, until {datetime.fromisoformat(end):%H:%M}" if end else run_id
            counted = run["done"] + sum(run["failed"].values())
            progress.update(bar, completed=counted, total=run["expected"], description=text)
            if run["status"] == "finished":
                return run
            time.sleep(1)


@command(issuer_group, "timbres issuers list acme-sf", "list")
def list_issuers(tool: Tool, account: AccountName, show_all: All = False) -> None:
    """List the monitored issuers with their own thresholds."""
    tool.show_list(
        tool.client.list_issuers(account),
        {
            "RFC": lambda i: plain(i["rfc"]),
            "Name": lambda i: plain(i.get("name")),
            "Low below": lambda i: number(i["low_stamps"]),
        },
        show_all=show_all,
        empty="No issuers: `timbres issuers import` adds them; contracts and balances do, too.",
        right=("Low below",),
    )


@command(issuer_group, "timbres issuers import acme-sf issuers.csv", "import")
def import_issuers(
    tool: Tool,
    account: AccountName,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV or JSON.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Remove the issuers that are not in the file.")
    ] = False,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Import the valid rows if others are invalid.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Import issuers from a CSV file (column rfc, optionally low_stamps) or a JSON list."""
    content = file.read_bytes()
    if file.suffix.lower() == ".json":
        content = json.loads(content)
    if replace:
        tool.confirm(f"Remove the issuers of {account} that are not in {file.name}?", yes=yes)
    result = tool.client.import_issuers(
        account, content, replace=replace, skip_invalid=skip_invalid
    )
    removed = f", {number(result['removed'])} removed" if replace else ""
    skipped = f", {len(result['rejected'])} rows skipped" if result["rejected"] else ""
    tool.show(result, lambda: f"{number(result['kept'])} imported{removed}{skipped}.")


@command(issuer_group, "timbres issuers remove acme-sf EKU9003173C9", "remove")
def remove_issuers(
    tool: Tool,
    account: AccountName,
    rfcs: Annotated[list[str], typer.Argument(help="The RFCs to remove, up to 100.")],
) -> None:
    """Remove issuers from the list; their counts stay."""
    if len(rfcs) > _MAX_REMOVED:
        raise InputError("rfc", f"Expected at most {_MAX_REMOVED} RFCs.")
    result = tool.client.remove_issuers(account, rfcs)
    unknown = f" Not in the list: {', '.join(result['unknown'])}." if result["unknown"] else ""
    tool.show(result, lambda: escape(f"{len(result['rfcs'])} removed.{unknown}"))


def _describe(issuer: StampCount) -> str:
    lines = [
        f"[bold]{escape(issuer['rfc'])}[/] at {issuer['account']}: {state(issuer['alert'])}",
        f"available {available(issuer)}, contracted {number(issuer['contracted'])}",
    ]
    if issuer["days_left"] is not None:
        rate = max(issuer["burn_7"] or 0.0, issuer["burn_30"] or 0.0)
        lines.append(f"enough for {number(issuer['days_left'])} days at {number(rate)} per day")
    if issuer["expires_on"]:
        count = number(issuer["expiring_stamps"])
        lines.append(f"{count} contracted stamps expire on {issuer['expires_on']}")
    return "\n".join(lines)
