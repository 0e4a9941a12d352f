"""Commands for contracts: create one, read the journal, settle what needs a person."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from timbres_client.cli.accounts import Yes
from timbres_client.cli.stamps import AccountName, All
from timbres_client.cli.tables import change, minute, number, plain, state
from timbres_client.cli.tool import Tool, app, command
from timbres_client.errors import ContractUndecidedError, NotFoundError


@command(app, "timbres contract acme-sf 'A&D061009TY8' 500 --key erp-4711")
def contract(
    tool: Tool,
    account: AccountName,
    rfc: Annotated[str, typer.Argument(help="The issuer.")],
    stamps: Annotated[int, typer.Argument(help="Number of stamps.", min=1)],
    key: Annotated[
        str, typer.Option(help="Your number of this request: the same key never contracts twice.")
    ],
    reference: Annotated[str | None, typer.Option(help="Your note, for example an order.")] = None,
    new_issuer: Annotated[
        bool, typer.Option("--new-issuer", help="The PAC does not know the RFC yet.")
    ] = False,
    wait: Annotated[int, typer.Option(help="Seconds to wait for the outcome.")] = 600,
    yes: Yes = False,
) -> None:
    """Contract stamps for an issuer, exactly once per key: show the effect, ask, contract."""
    if not tool.curl and not yes:
        tool.print(_effect(tool, account, rfc, stamps))
        tool.confirm(f"Contract {number(stamps)} stamps for {rfc} at {account}?", yes=yes)
    try:
        with tool.waiting(f"Contracting {number(stamps)} stamps") as update:
            created: Any = tool.client.contract(
                account,
                rfc,
                stamps,
                key,
                reference=reference,
                new_issuer=new_issuer,
                timeout=wait,
                on_wait=lambda reason, seconds: update(f"{reason} Next try in {seconds:g} s."),
            )
    except KeyboardInterrupt:
        text = "You stopped waiting; the contract may exist."
        raise ContractUndecidedError("contract-open", text) from None
    tool.show(created, lambda: _describe(created))


def _effect(tool: Tool, account: str, rfc: str, stamps: int) -> str:
    """Return what a contract would change, from the PAC's current counts."""
    try:
        issuer = tool.client.stamps(account, rfc)
    except NotFoundError:
        return f"[yellow]The PAC does not know {escape(rfc)} yet.[/]"
    rows = [f"[bold]{escape(issuer['rfc'])}[/] at {account}"]
    counts = {"contracted": issuer["contracted"], "available": issuer["available"]}
    for name, value in counts.items():
        after = None if value is None else value + stamps
        rows.append(f"  {name:10} {number(value):>12} → {number(after)}")
    left = tool.client.account_stamps(account)["available"]
    if left is not None:
        warning = " [red](fewer than the contract)[/]" if left < stamps else ""
        rows.append(f"  the account has {number(left)} stamps left{warning}")
    return "\n".join(rows)


@command(app, "timbres contracts --status needs-review")
def contracts(
    tool: Tool,
    account: Annotated[str, typer.Argument(help="An account, or all.")] = "all",
    contract_id: Annotated[str | None, typer.Argument(help="One contract: its history.")] = None,
    rfc: Annotated[str | None, typer.Option(help="Only of this issuer.")] = None,
    status: Annotated[
        str | None, typer.Option(help="pending, confirmed, rejected, unknown or needs-review.")
    ] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day, YYYY-MM-DD.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day, YYYY-MM-DD.")] = None,
    reference: Annotated[str | None, typer.Option(help="Only with this reference.")] = None,
    key: Annotated[str | None, typer.Option(help="Only with this key.")] = None,
    show_all: All = False,
) -> None:
    """List contracts, or show the history of one."""
    if contract_id is not None:
        found: Any = tool.client.get_contract(account, contract_id)
        return tool.show(found, lambda: "\n".join([_describe(found), *_steps(found)]))
    tool.show_list(
        tool.client.contracts(
            account, rfc=rfc, status=status, first=first, last=last, reference=reference, key=key
        ),
        {
            "Created": lambda c: minute(c["created_at"]),
            **({"Account": lambda c: c["account"]} if account == "all" else {}),
            "RFC": lambda c: plain(c["rfc"]),
            "Stamps": lambda c: number(c["stamps"]),
            "State": lambda c: state(c["status"]),
            "Key": lambda c: plain(c["idempotency_key"]),
        },
        show_all=show_all,
        empty="No contracts.",
        right=("Stamps",),
    )
    return None


@command(app, "timbres review")
def review(tool: Tool) -> None:
    """Step through the contracts whose outcome a person has to decide."""
    waiting = list(tool.client.contracts(status="needs-review"))
    if tool.as_json or not waiting:
        return tool.show(waiting, lambda: "No contract needs a review.")
    for place, listed in enumerate(waiting, 1):
        found: Any = tool.client.get_contract(listed["account"], listed["id"])
        tool.print(f"\n[bold]{place} of {len(waiting)}[/]  {_describe(found)}")
        tool.print("\n".join(_steps(found)))
        tool.print("Look it up in the PAC's portal. Does the PAC have this contract?")
        answer = typer.prompt("[y]es, [n]o, [s]kip", default="s", err=True).strip().lower()[:1]
        if answer not in ("y", "n"):
            continue
        reason = typer.prompt("Reason (10 to 500 characters; the journal keeps it)", err=True)
        outcome = "confirmed" if answer == "y" else "rejected"
        settled: Any = tool.client.settle(found["account"], found["id"], outcome, reason)
        tool.print(f"Settled: {state(settled['status'])}")
    return None


def _describe(contract: dict[str, Any]) -> str:
    what = f"{number(contract['stamps'])} stamps for [bold]{escape(contract['rfc'])}[/]"
    before, after = number(contract["available_before"]), number(contract["available_after"])
    key, reference = plain(contract["idempotency_key"]), plain(contract["reference"])
    lines = [
        f"{what} at {contract['account']}: {state(contract['status'])}",
        f"contracted {change(contract)}, available {before} → {after}",
        f"key {key}, reference {reference}",
        f"id {contract['id']}",
    ]
    if contract["warning"]:
        lines.append(f"[yellow]{escape(contract['warning'])}[/]")
    if contract["error"]:
        lines.append(escape(f"{contract['error']['code']}: {contract['error']['detail']}"))
    return "\n".join(lines)


def _steps(contract: dict[str, Any]) -> list[str]:
    return [
        escape(f"  {minute(step['at'])}  {step['step']:16} {step.get('note') or ''}".rstrip())
        for step in contract["history"]
    ]
