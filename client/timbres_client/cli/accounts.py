"""Commands for accounts: the API lists them, Secrets Manager stores their credentials."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.markup import escape

from timbres_client.cli.tables import plain
from timbres_client.cli.tool import Tool, app, command
from timbres_client.errors import InputError

# Environments and members of the secret of each PAC; the last member is secret.
PACS = {
    "reachcore": (("uat", "production", "sandbox"), ("api_key",)),
    "solucion-factible": (("testing", "production", "sandbox"), ("username", "password")),
}
_SECRETS = ("api_key", "password", "token")
_UTC_OFFSET_OF_MEXICO = timedelta(hours=-6)

Name = Annotated[str, typer.Argument(help="Name of the account, for example acme-sf.")]
Prefix = Annotated[
    str,
    typer.Option(
        envvar="TIMBRES_SECRET_PREFIX",
        help="The stack's parameter SecretPrefix.",
        show_default=True,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
_PREFIX = "timbres/accounts/"

account_group = typer.Typer(help="Add an account, replace its password, or remove it.")
app.add_typer(account_group, name="account", no_args_is_help=True)


def this_month() -> str:
    """Return the current month in Mexico City."""
    return f"{datetime.now(UTC) + _UTC_OFFSET_OF_MEXICO:%Y-%m}"


def last_month() -> str:
    """Return the previous month in Mexico City."""
    first = (datetime.now(UTC) + _UTC_OFFSET_OF_MEXICO).replace(day=1)
    return f"{first - timedelta(days=1):%Y-%m}"


@command(app, "timbres accounts")
def accounts(tool: Tool) -> None:
    """List the accounts, what each can do, and which cannot be used."""
    tool.show_list(
        tool.client.accounts(),
        {
            "Account": lambda a: a["name"],
            "PAC": lambda a: plain(a["pac"]),
            "Environment": lambda a: plain(a["environment"]),
            "Can": lambda a: ", ".join(a["can"]),
            "Error": lambda a: f"[red]{a['error']['code']}[/]" if "error" in a else "",
        },
        empty="No accounts: `timbres account add NAME` adds one.",
    )


@command(account_group, "timbres account add norte-sf")
def add(
    tool: Tool,
    name: Name,
    pac: Annotated[str | None, typer.Option(help=f"{' or '.join(PACS)}; else asked.")] = None,
    environment: Annotated[str | None, typer.Option(help="Environment at the PAC.")] = None,
    endpoint: Annotated[str | None, typer.Option(help="Address of a sandbox.")] = None,
    prefix: Prefix = _PREFIX,
) -> None:
    """Add an account: ask for its credentials, store them, test them with one read."""
    pac = pac or typer.prompt(f"PAC ({', '.join(PACS)})", err=True)
    if pac not in PACS:
        raise InputError("pac", f"{pac} is not supported: expected {' or '.join(PACS)}.")
    environments, members = PACS[pac]
    environment = environment or typer.prompt(f"Environment ({', '.join(environments)})", err=True)
    if environment not in environments:
        raise InputError("environment", f"Expected one of {', '.join(environments)}.")
    value = {"pac": pac, "environment": environment}
    if environment == "sandbox":
        value["endpoint"] = endpoint or typer.prompt("Endpoint", err=True)
    for member in members:
        value[member] = _ask(member, hide=member in _SECRETS)
    tool.client.connection.aws("secretsmanager").create_secret(
        Name=prefix + name, SecretString=json.dumps(value)
    )
    _test(tool, name)


@command(account_group, "timbres account password norte-sf")
def password(tool: Tool, name: Name, prefix: Prefix = _PREFIX) -> None:
    """Replace the password or API key of an account, and test it with one read."""
    secrets, secret_id = tool.client.connection.aws("secretsmanager"), prefix + name
    value = json.loads(secrets.get_secret_value(SecretId=secret_id)["SecretString"])
    member = next((member for member in _SECRETS if member in value), None)
    if member is None:
        raise InputError("secret", f"The secret {secret_id} has none of {', '.join(_SECRETS)}.")
    value[member] = _ask(f"New {member}", hide=True)
    secrets.put_secret_value(SecretId=secret_id, SecretString=json.dumps(value))
    _test(tool, name)


@command(account_group, "timbres account remove norte-sf")
def remove(tool: Tool, name: Name, prefix: Prefix = _PREFIX, yes: Yes = False) -> None:
    """Remove an account: AWS keeps its secret for 30 days, Timbres its contracts and counts."""
    tool.confirm(f"Remove the account {name}?", yes=yes)
    secret_id = prefix + name
    tool.client.connection.aws("secretsmanager").delete_secret(SecretId=secret_id)
    tool.show(
        {"name": name, "removed": True},
        lambda: (
            f"Removed. Within 30 days: aws secretsmanager restore-secret --secret-id {secret_id}"
        ),
    )


@command(app, "timbres completion bash > ~/.bash_completion.d/timbres")
def completion(
    _tool: Tool,
    shell: Annotated[str, typer.Argument(help="bash, zsh, fish or powershell.")] = "bash",
) -> None:
    """Print the completion script of a shell."""
    variables = {"_TIMBRES_COMPLETE": f"source_{shell}"}
    process = subprocess.run(
        [sys.executable, "-m", "timbres_client"], env=os.environ | variables, check=False
    )
    raise typer.Exit(process.returncode)


def _ask(label: str, *, hide: bool) -> str:
    """Ask for a value, hidden if it is secret; a pipe has one value per line."""
    text = label.replace("_", " ").capitalize()
    if sys.stdin.isatty():
        return str(typer.prompt(text, hide_input=hide, err=True))
    value = sys.stdin.readline().strip()
    if not value:
        raise InputError(label, f"{text} is missing: type it, or pipe it to standard input.")
    return value


def _test(tool: Tool, name: str) -> None:
    """Read once from the PAC. Raises the PAC's error, for example rejected credentials."""
    with tool.waiting("Testing the credentials with one read"):
        entry: Any = next((a for a in tool.client.accounts() if a["name"] == name), {})
        if "balance" in entry.get("can", ()):
            tool.client.balance(name, this_month())
        elif "stamps" in entry.get("can", ()):
            tool.client.account_stamps(name)
        else:
            error = entry.get("error", {"detail": "Timbres does not list the account."})
            raise InputError(str(error.get("code", "account")), str(error["detail"]))
    tool.show(entry, lambda: f"{escape(name)} is ready: the PAC accepted the credentials.")
