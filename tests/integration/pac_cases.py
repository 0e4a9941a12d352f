"""Test cases of the PAC clients: the table of PACs, and misbehaving servers on loopback.

``PAC_CASES`` holds each PAC once. The suites that every PAC must pass are parametrized over it.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from local.fake_pacs import reachcore, solucion_factible
from local.fake_pacs.base import FakePac
from local.fake_pacs.fake_data import FakePacState, demo_state
from local.fake_pacs.faults import parse_fault
from tests.support import libre
from tests.support.libre.fake import TEXTS, LibreFake
from tests.unit.documented_codes import (
    AGREGAR_CONTRATO,
    EXPECTED,
    GET_TIMBRES,
    REJECTED_CREDENTIALS,
    REJECTED_REQUEST,
    SALDOS,
    STATEMENT,
    Meaning,
    documented,
)

# Imports zeep early, so that the first call does not wait for it.
import timbres.pacs.solucion_factible.client
from timbres.deadline import Deadline
from timbres.domain.account import Account
from timbres.domain.contract import Contract
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.domain.stamps import Stamps
from timbres.errors import PacError, ProblemType
from timbres.pacs.base import PacClient
from timbres.pacs.registry import PACS, create_client

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TODAY = date(2026, 11, 19)
MONTH = Month(2026, 10)
RFC = Rfc("A&D061009TY8")
RFC_N = Rfc("ÑAN840101AB1")
KEY = "llave-de-acme-0001"
OTHER_KEY = "llave-de-norte-0002"
USERNAME = "pruebas@acme.example"
PASSWORD = "contraseña & <secreta>"
WRONG = "equivocada-0001"
ACME = "Acme Timbrado"
CREDENTIALS = (KEY, OTHER_KEY, USERNAME, PASSWORD, WRONG)
WSDL = Path(timbres.pacs.solucion_factible.client.__file__).with_name("utilerias.wsdl")
# A contract with an unknown outcome, for the PAC to trace.
SENT_AT = datetime(2026, 11, 19, 9, 30, tzinfo=UTC)
SENT = Contract.create("acme", "login", RFC, 500, "caller", "pedido-1", SENT_AT).mark_sent(
    SENT_AT, Stamps(1000, 250, 750)
)
# Number of attempts of a read.
ATTEMPTS = 3


def fake_state() -> FakePacState:
    """Return the state of the fake PACs, with the credentials of these tests."""
    return demo_state(
        TODAY,
        acme_api_key=KEY,
        norte_api_key=OTHER_KEY,
        username=USERNAME,
        password=PASSWORD,
    )


def reachcore_account(endpoint: str, api_key: str = KEY) -> Account:
    """Return an account of the Reachcore at this endpoint."""
    return Account("acme-rc", PACS["reachcore"], "sandbox", {"api_key": api_key}, endpoint)


def factible_account(
    endpoint: str, *, live_wsdl: bool = False, password: str = PASSWORD
) -> Account:
    """Return an account of the Solución Factible at this endpoint."""
    credentials = {"username": USERNAME, "password": password}
    return Account(
        "acme-sf",
        PACS["solucion-factible"],
        "sandbox",
        credentials,
        endpoint,
        live_wsdl=live_wsdl,
    )


# ------------------------------------------------------------------------------- the table


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation of a PAC: a read or, if ``contracts`` is set, a contract.

    ``operation`` is the name that the fake PAC uses. ``messages`` are the PAC's messages and
    ``meanings`` the expected errors, by code. ``meanings`` is empty if the PAC rejects nothing.
    If ``has_codes`` is false, the PAC has no codes and the keys only name its messages.
    ``max_bytes`` is the limit of a response. After the faults ``unknown_after``, it returns unknown
    counts instead of an error. ``name`` distinguishes two cases of one operation.
    """

    pac: str
    operation: str
    account: Callable[..., Account]
    call: Callable[[PacClient, Deadline], Any]
    meanings: Mapping[str, Meaning]
    messages: Mapping[str, str]
    max_bytes: int
    contracts: bool = False
    has_codes: bool = True
    unknown_after: frozenset[str] = frozenset()
    name: str = ""

    def __call__(self, url: str, seconds: float = 0.9) -> Any:
        """Call the PAC at ``url`` with a new client and a deadline in seconds."""
        return self.call(create_client(self.account(url)), Deadline(seconds))

    def fake_pac(self) -> FakePac:
        """Return a new fake PAC."""
        return PAC_CASES[self.pac].fake_pac()

    def __repr__(self) -> str:
        return f"{self.pac}-{self.name or self.operation}"


@dataclass(frozen=True)
class PacCase:
    """A PAC: its fake, a valid account, an account with wrong credentials, and its operations.

    ``read_issuer`` reads the data of one issuer. ``shortened`` maps full names of constants to
    the seconds that the tests set.
    """

    fake_pac: Callable[[], FakePac]
    account: Callable[[str], Account]
    rejected_account: Callable[[str], Account]
    operations: tuple[Operation, ...]
    read_issuer: Callable[[PacClient, Rfc, Deadline], Any]
    shortened: Mapping[str, float] = field(default_factory=dict)


def _balance(client: PacClient, deadline: Deadline, rfc: Rfc | None = None) -> Any:
    with client.balance(MONTH, rfc, deadline) as month:
        return list(month.movements())


def _statement(client: PacClient, form: str, deadline: Deadline) -> bytes:
    with client.statement(MONTH, form, deadline).file as file:
        return file.read()


def _meanings(page: str) -> dict[str, Meaning]:
    return {code: EXPECTED[page][code] for code in sorted(documented(page))}


_RC, _SF = "reachcore", "solucion-factible"
_SALDOS_MESSAGES = {code: message for code, (_, message) in reachcore.ERRORS.items()}
_STATEMENT_MESSAGES = _SALDOS_MESSAGES | {"400-002": reachcore.RFC_NOT_NEEDED}
_SF_MESSAGES = solucion_factible.MESSAGES
_MIB = 1024 * 1024

BALANCE = Operation(
    _RC, "saldos", reachcore_account, _balance, _meanings(SALDOS), _SALDOS_MESSAGES, 256 * _MIB
)
CSV, PDF = (
    Operation(
        _RC,
        form,
        reachcore_account,
        lambda client, deadline, form=form: _statement(client, form, deadline),
        _meanings(STATEMENT),
        _STATEMENT_MESSAGES,
        256 * _MIB,
    )
    for form in ("csv", "pdf")
)
COUNT = Operation(
    _SF,
    "getTimbres",
    factible_account,
    lambda client, deadline: client.stamps(RFC, deadline),
    _meanings(GET_TIMBRES),
    _SF_MESSAGES,
    256 * 1024,
)
TRACE = replace(COUNT, call=lambda client, deadline: client.trace(SENT, deadline), name="trace")
ACCOUNT_COUNT = replace(
    COUNT,
    operation="getTimbresImplementacion",
    call=lambda client, deadline: client.account_stamps(deadline),
    # 630 states that no stamps are left, so it is a count.
    meanings={code: meaning for code, meaning in COUNT.meanings.items() if code != "630"},
    unknown_after=frozenset({"soap-fault", "missing-fields", "empty-fields", "nil-fields"}),
)
CONTRACT = Operation(
    _SF,
    "agregarContrato",
    factible_account,
    lambda client, deadline: client.create_contract(RFC, 500, deadline),
    _meanings(AGREGAR_CONTRATO),
    _SF_MESSAGES,
    256 * 1024,
    contracts=True,
)
LIVE_WSDL = Operation(
    _SF, "wsdl", partial(factible_account, live_wsdl=True), COUNT.call, {}, {}, _MIB
)

_LIBRE_MEANINGS = {
    "login": REJECTED_CREDENTIALS,
    "busy": Meaning("pac-unavailable", 503, retry=True, wait=True),
    "other": REJECTED_REQUEST,
}


def libre_account(endpoint: str, token: str = KEY) -> Account:
    """Return an account of the Libre at this endpoint."""
    credentials = {"user": USERNAME, "token": token}
    return Account("acme-libre", libre.PAC, "sandbox", credentials, endpoint)


LIBRE_STAMPS, LIBRE_TRACE, LIBRE_CONTRACT = (
    Operation(
        libre.PAC.name,
        operation,
        libre_account,
        do,
        _LIBRE_MEANINGS,
        TEXTS,
        64 * 1024,
        contracts=contracts,
        has_codes=False,
        name=name,
    )
    for operation, name, do, contracts in (
        ("stamps", "", COUNT.call, False),
        ("stamps", "trace", TRACE.call, False),
        ("contracts", "", CONTRACT.call, True),
    )
)

PAC_CASES = {
    libre.PAC.name: PacCase(
        fake_pac=lambda: LibreFake(USERNAME, KEY),
        account=libre_account,
        rejected_account=partial(libre_account, token=WRONG),
        operations=(LIBRE_STAMPS, LIBRE_TRACE, LIBRE_CONTRACT),
        read_issuer=lambda client, rfc, deadline: client.stamps(rfc, deadline),
    ),
    _RC: PacCase(
        fake_pac=lambda: reachcore.FakeReachcore(fake_state().reachcore),
        account=reachcore_account,
        rejected_account=partial(reachcore_account, api_key=WRONG),
        operations=(BALANCE, CSV, PDF),
        read_issuer=lambda client, rfc, deadline: _balance(client, deadline, rfc),
    ),
    _SF: PacCase(
        fake_pac=lambda: solucion_factible.FakeSolucionFactible(
            fake_state().solucion_factible, wsdl=WSDL
        ),
        account=factible_account,
        rejected_account=partial(factible_account, password=WRONG),
        operations=(COUNT, TRACE, ACCOUNT_COUNT, CONTRACT, LIVE_WSDL),
        read_issuer=lambda client, rfc, deadline: client.stamps(rfc, deadline),
        shortened={"timbres.pacs.solucion_factible.client._MIN_CONTRACT_SECONDS": 0.5},
    ),
}
OPERATIONS = tuple(operation for pac in PAC_CASES.values() for operation in pac.operations)
READS = tuple(operation for operation in OPERATIONS if not operation.contracts)
CONTRACTS = tuple(operation for operation in OPERATIONS if operation.contracts)
every_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
every_read = pytest.mark.parametrize("operation", READS, ids=repr)
every_contract = pytest.mark.parametrize("operation", CONTRACTS, ids=repr)
every_pac = pytest.mark.parametrize("pac", PAC_CASES)


def shorten_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waiting times of the PAC clients."""
    monkeypatch.setattr("timbres.pacs.http._BACKOFF_SECONDS", 0.001)
    for pac in PAC_CASES.values():
        for name, seconds in pac.shortened.items():
            monkeypatch.setattr(name, seconds)


@dataclass
class PacServer:
    """A WSGI application that serves another one, which a test can replace.

    ``requests`` are the WSGI environments, ``connections`` the client ports.
    """

    app: WSGIApplication | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.requests.append(dict(environ))
        assert self.app is not None
        return self.app(environ, start_response)

    def serve_app(self, app: WSGIApplication) -> None:
        """Serve this application from now on, and clear the requests."""
        self.app = app
        self.requests = []

    @property
    def connections(self) -> set[str]:
        """The client ports of the requests."""
        return {str(environ["REMOTE_PORT"]) for environ in self.requests}


def inject_fault(fake_pac: FakePac, operation: str, fault: str, **options: Any) -> None:
    """Inject a fault into an operation, permanently unless ``times`` is given."""
    payload = {"operation": operation, "fault": fault, "times": -1, **options}
    fake_pac.faults.put(parse_fault(payload, fake_pac.rules))


def calls(fake_pac: FakePac, operation: str | None = None) -> list[dict[str, Any]]:
    """Return the received calls, of one operation if it is given."""
    return [call for call in fake_pac.calls.as_json() if operation in (None, call["operation"])]


@contextmanager
def expect_pac_error(code: str) -> Iterator[list[PacError]]:
    """Expect a PAC error of this code without credentials. The yielded list receives the error."""
    errors: list[PacError] = []
    with pytest.raises(PacError) as caught:
        yield errors
    error = caught.value
    errors.append(error)
    assert error.problem_type.code == code, error.detail
    assert error.detail.isprintable()
    text = f"{error!s} {error!r} {error.pac_message}"
    assert not any(credential in text for credential in CREDENTIALS)
    assert error.__suppress_context__ or error.__context__ is None
    assert error.__cause__ is None or not any(c in repr(error.__cause__) for c in CREDENTIALS)


def error_attributes(problem_type: ProblemType) -> tuple[bool, bool]:
    """Return (may have taken effect, retryable)."""
    return problem_type.may_have_taken_effect, problem_type.retryable


# ------------------------------------------------------------------------- raw TCP servers


@dataclass
class RawServer:
    """A TCP server that calls ``behave`` with each connection. ``received`` are the bytes read."""

    behave: Callable[[RawServer, socket.socket], None]
    url: str = ""
    received: bytes = b""
    accepted: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def read_request(self, connection: socket.socket) -> None:
        """Read one short request, head and body."""
        request = b""
        while b"\r\n\r\n" not in request:
            if not (piece := connection.recv(65536)):
                return
            request += piece
            self.received += piece
        head, _, body = request.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
                while len(body) < length and (piece := connection.recv(65536)):
                    body += piece
                    self.received += piece


@contextmanager
def raw_server(
    behave: Callable[[RawServer, socket.socket], None], scheme: str = "http"
) -> Iterator[RawServer]:
    """Run a raw TCP server on loopback."""
    server = RawServer(behave)
    listener = socket.create_server(("127.0.0.1", 0))
    server.url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"

    def serve_connection(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behave(server, connection)

    def accept() -> None:
        while not server.stopped.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            server.accepted += 1
            threading.Thread(target=serve_connection, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(2)


def respond_with(
    content: bytes | str, media_type: str = "text/xml", status: int = 200, **headers: str
) -> WSGIApplication:
    """Return a WSGI application that gives this response to every request."""
    body = content.encode() if isinstance(content, str) else content
    extra_headers = [(name.replace("_", "-"), value) for name, value in headers.items()]

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response(f"{status} X", [("Content-Type", media_type), *extra_headers])
        return [body]

    return app


# --------------------------------------------------------------------------- certificates


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the tests. ``path`` is the certificate file."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    path: Path

    def server_context(
        self, folder: Path, host: str = "127.0.0.1", *, days_ago: int = 1, days: int = 30
    ) -> ssl.SSLContext:
        """Return a server context with a certificate of this authority for a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(host, days_ago, days)
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName([_name(host)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        path = folder / f"{host}-{days_ago}-{certificate.serial_number}.pem"
        path.write_bytes(_private(key) + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a client context that trusts only this authority."""
        return ssl.create_default_context(cafile=str(self.path))


def create_authority(folder: Path, name: str = "Autoridad de pruebas") -> Authority:
    """Create a certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(name, 2, 60)
        .issuer_name(subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Authority(key, certificate, path)


# Python 3.13 and later require key identifiers and the key usage of an authority.
_SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _builder(name: str, days_ago: int, days: int) -> x509.CertificateBuilder:
    begin = datetime.now(UTC) - timedelta(days=days_ago)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
    )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
