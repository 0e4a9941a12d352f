"""The command `timbres`."""

from __future__ import annotations

import typer

from timbres_client.cli import accounts, contracts, reports, stamps

app = typer.Typer(
    name="timbres",
    help="Monitor, contract and report the CFDI stamps of your accounts at PACs.",
    epilog="Exit codes: 0 done, 1 other, 2 input, 3 access, 4 not found, 5 state or rejected "
    "contract, 6 PAC, 7 try again, 8 contract not decided.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
accounts.register(app)
stamps.register(app)
contracts.register(app)
reports.register(app)


def main() -> None:
    """Run the command."""
    app(prog_name="timbres")
