"""What every command shares: options, output for people and for pipes, exit codes."""

from __future__ import annotations

import functools
import inspect
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import Annotated, Any, NoReturn

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from timbres_client.client import Client
from timbres_client.connection import Connection
from timbres_client.errors import InputError, TimbresError

app = typer.Typer(
    name="timbres",
    help="Monitor, contract and report the CFDI stamps of your accounts at PACs.",
    epilog="Exit codes: 0 done, 1 other, 2 input, 3 access, 4 not found, 5 state or rejected "
    "contract, 6 PAC, 7 try again, 8 contract not decided.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# What to do after an error, by its code.
HINTS = {
    "access-denied": "An administrator attaches the policy reader, reporter or contract manager.",
    "account-unknown": "`timbres accounts` lists the accounts.",
    "contract-in-flight": "`timbres contracts ACCOUNT` shows it; repeat this command later.",
    "contract-open": "Repeat this command with the same key; never use another key for it.",
    "idempotency-key-reused": "Use a new key for another contract.",
    "issuer-new": "If the RFC is right, add --new-issuer and use a new key.",
    "needs-review": "`timbres review` shows and settles it.",
    "pac-credentials-rejected": "`timbres account password ACCOUNT` stores the right password.",
    "signature-expired": "Renew the keys, for example with `aws sso login`; check the clock.",
}

_STACK = Annotated[
    str | None,
    typer.Option("--stack", help="CloudFormation stack whose output has the address of the API."),
]
_JSON = Annotated[bool, typer.Option("--json", help="Print JSON, for pipes.")]
_CURL = Annotated[
    bool, typer.Option("--curl", help="Print the request as a curl command; do not send it.")
]
_SHARED = tuple(
    inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
    for name, default, option in (
        *(("stack", None, _STACK), ("json", False, _JSON), ("curl", False, _CURL)),
    )
)

# Rows of a list without --all.
_ROWS = 20
# Columns of texts without a limit.
_WRAPPED = {"Can", "Error", "Failed", "Key", "Name", "Problem", "Reason"}


class _CurlPrintedError(Exception):
    """The request was printed and not sent."""


class CurlClient(Client):
    """A client that prints its first request as a curl command and sends nothing."""

    def before_request(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]
    ) -> NoReturn:
        """Print the request; the shell inserts the keys from its variables."""
        lines = [
            f'curl --aws-sigv4 "aws:amz:{self.connection.region}:execute-api"',
            '--user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"',
        ]
        credentials = self.connection.session.get_credentials()
        if credentials is not None and credentials.token:
            lines.append('--header "x-amz-security-token: $AWS_SESSION_TOKEN"')
        if method != "GET":
            lines.append(f"--request {method}")
        lines += [f"--header {shlex.quote(f'{k}: {v}')}" for k, v in headers.items()]
        if body is not None:
            lines.append(f"--data {shlex.quote(body.decode())}")
        typer.echo(" \\\n  ".join([*lines, shlex.quote(url)]))
        raise _CurlPrintedError


class Tool:
    """The client and the output of one command."""

    def __init__(self, stack: str | None, *, as_json: bool, curl: bool) -> None:
        self.as_json = as_json
        self.curl = curl
        self._stack = stack
        # For people; results of --json are alone on standard output.
        self.console = Console(stderr=as_json, highlight=False, soft_wrap=False)
        self.status_console = Console(stderr=True, highlight=False)

    @functools.cached_property
    def client(self) -> Client:
        """The client of the API."""
        connection = Connection.find(self._stack)
        return CurlClient(connection) if self.curl else Client(connection)

    def print(self, text: str) -> None:
        """Print a sentence; with --json on standard error."""
        self.console.print(text)

    def show(self, value: Any, draw: Callable[[], Any]) -> None:
        """Print JSON, or what ``draw`` prints or returns for people."""
        if self.as_json:
            typer.echo(json.dumps(value, ensure_ascii=False))
        elif (drawn := draw()) is not None:
            self.console.print(drawn)

    def show_list(
        self,
        items: Iterable[Mapping[str, Any]],
        columns: Mapping[str, Callable[[Any], str]],
        *,
        show_all: bool = True,
        empty: str = "None.",
        right: Sequence[str] = (),
    ) -> int:
        """Print a list as JSON or as a table with ``columns``; return the number of items.

        Without ``show_all``, a hint follows the first rows. ``right`` are the columns of numbers.
        """
        rows = iter(items)
        listed = list(rows if show_all else islice(rows, _ROWS))
        if self.as_json:
            typer.echo(json.dumps(listed, ensure_ascii=False))
        elif listed:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for name in columns:
                justify: JustifyMethod = "right" if name in right else "left"
                table.add_column(
                    name, justify=justify, overflow="fold", no_wrap=name not in _WRAPPED
                )
            for item in listed:
                table.add_row(*(draw(item) for draw in columns.values()))
            self.console.print(table)
        else:
            self.print(empty)
        if next(rows, None) is not None:
            self.status_console.print(f"These are the first {_ROWS}; --all lists all.")
        return len(listed)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask; exit with 1 after no. Without a terminal, ``yes`` is required."""
        if yes:
            return
        try:
            confirmed = typer.confirm(question, err=True)
        except typer.Abort:
            if sys.stdin.isatty():
                raise
            raise InputError("confirmation", "Nobody can be asked here: add --yes.") from None
        if not confirmed:
            self.print("Nothing was changed.")
            raise typer.Exit(1)

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show ``text`` with a spinner on standard error; yields a function that changes it."""
        with self.status_console.status(text) as status:
            yield lambda changed: status.update(escape(changed))

    def fail(self, error: TimbresError) -> NoReturn:
        """Print an error on standard error and exit with the code of its kind."""
        if self.as_json:
            problem = error.problem or {"code": error.code, "detail": error.detail}
            typer.echo(json.dumps(problem, ensure_ascii=False), err=True)
        else:
            self.status_console.print(f"[bold red]Error:[/] {escape(error.detail)} ({error.code})")
            if hint := HINTS.get(error.code):
                self.status_console.print(escape(hint))
            for row in error.problem.get("rejected", ())[:20]:
                line = f"  line {row['line']}: {row['field']}: {row['detail']}"
                self.status_console.print(escape(line))
        raise typer.Exit(error.exit_code)


def command(
    app: typer.Typer, example: str, name: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a command whose first argument is its ``Tool``; ``example`` ends its help.

    Adds the shared options, and turns errors into messages and exit codes.
    """

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(*args: Any, stack: str | None, json: bool, curl: bool, **kwargs: Any) -> None:
            tool = Tool(stack, as_json=json, curl=curl)
            try:
                function(tool, *args, **kwargs)
            except _CurlPrintedError:
                return
            except TimbresError as error:
                tool.fail(error)
            except (BotoCoreError, ClientError) as error:
                tool.fail(TimbresError("aws", str(error)))

        _, *own = inspect.signature(function, eval_str=True).parameters.values()
        parameters = list(chain(own, _SHARED))
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {item.name: item.annotation for item in parameters}
        app.command(name, epilog=f"Example: {example}", no_args_is_help=False)(run)
        return function

    return register
