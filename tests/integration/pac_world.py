"""What the tests of the PAC clients stand on: PACs on loopback, well-behaved and not."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from local.sandboxes.books import Books, demo_books
from local.sandboxes.control import Sandbox
from local.sandboxes.faults import parse_fault

from timbres.domain.account import PACS, Account
from timbres.domain.month import Month
from timbres.domain.rfc import Rfc
from timbres.errors import Kind, PacError

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
ACME = "Acme Timbrado"
CREDENTIALS = (KEY, OTHER_KEY, USERNAME, PASSWORD)


def books() -> Books:
    """Return the demo's books with the credentials of these tests."""
    return demo_books(
        TODAY,
        acme_api_key=KEY,
        norte_api_key=OTHER_KEY,
        username=USERNAME,
        password=PASSWORD,
    )


def reachcore_account(endpoint: str, api_key: str = KEY) -> Account:
    """Return an account at the Reachcore that stands there."""
    return Account("acme-rc", PACS["reachcore"], "sandbox", {"api_key": api_key}, endpoint)


def factible_account(
    endpoint: str, *, live_wsdl: bool = False, password: str = PASSWORD
) -> Account:
    """Return an account at the Solución Factible that stands there."""
    credentials = {"username": USERNAME, "password": password}
    return Account(
        "acme-sf",
        PACS["solucion-factible"],
        "sandbox",
        credentials,
        endpoint,
        live_wsdl=live_wsdl,
    )


@dataclass
class Stage:
    """A place on loopback where one application after the other is served.

    ``seen`` are the requests' environments, ``connections`` the client ports they came from.
    """

    app: WSGIApplication | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        self.seen.append(dict(environ))
        assert self.app is not None
        return self.app(environ, start_response)

    def play(self, app: WSGIApplication) -> None:
        """Serve this application from now on; forget the requests before."""
        self.app = app
        self.seen = []

    @property
    def connections(self) -> set[str]:
        """The connections that requests came over."""
        return {str(environ["REMOTE_PORT"]) for environ in self.seen}


def put(sandbox: Sandbox, operation: str, fault: str, **more: Any) -> None:
    """Make an operation suffer a fault, for ever unless told how often."""
    payload = {"operation": operation, "fault": fault, "times": -1, **more}
    sandbox.faults.put(parse_fault(payload, sandbox.rules))


def calls(sandbox: Sandbox, operation: str | None = None) -> list[dict[str, Any]]:
    """Return the calls that arrived, all or those of one operation."""
    return [call for call in sandbox.calls.as_json() if operation in (None, call["operation"])]


@contextmanager
def failing(code: str) -> Iterator[list[PacError]]:
    """Expect a PAC's error of this code, free of credentials; it is in the list afterwards."""
    found: list[PacError] = []
    with pytest.raises(PacError) as caught:
        yield found
    error = caught.value
    found.append(error)
    assert error.kind.code == code, error.detail
    assert error.detail.isprintable()
    shown = f"{error!s} {error!r} {error.pac_message}"
    assert not any(credential in shown for credential in CREDENTIALS)
    assert error.__suppress_context__ or error.__context__ is None
    assert error.__cause__ is None or not any(c in repr(error.__cause__) for c in CREDENTIALS)


def facts(kind: Kind) -> tuple[bool, bool]:
    """Return (may have taken effect, may be retried)."""
    return kind.may_have_taken_effect, kind.retry


# ---------------------------------------------------------------------- servers, but no PACs


@dataclass
class Odd:
    """A server that does as ``behave`` says with each connection; ``heard`` is what came."""

    behave: Callable[[Odd, socket.socket], None]
    url: str = ""
    heard: bytes = b""
    accepted: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    def hear(self, connection: socket.socket) -> None:
        """Read one request, head and body, as long as it is short."""
        request = b""
        while b"\r\n\r\n" not in request:
            if not (piece := connection.recv(65536)):
                return
            request += piece
            self.heard += piece
        head, _, body = request.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                wanted = int(line.partition(b":")[2])
                while len(body) < wanted and (piece := connection.recv(65536)):
                    body += piece
                    self.heard += piece


@contextmanager
def odd_server(behave: Callable[[Odd, socket.socket], None], scheme: str = "http") -> Iterator[Odd]:
    """Serve connections on loopback in an odd way."""
    odd = Odd(behave)
    listener = socket.create_server(("127.0.0.1", 0))
    odd.url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"

    def serve_one(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            behave(odd, connection)

    def accept() -> None:
        while not odd.over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            odd.accepted += 1
            threading.Thread(target=serve_one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield odd
    finally:
        odd.over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(2)


# --------------------------------------------------------------------------- certificates


@dataclass(frozen=True)
class Authority:
    """A certificate authority of our own; ``path`` is its certificate."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    path: Path

    def server(
        self, folder: Path, host: str = "127.0.0.1", *, days_ago: int = 1, days: int = 30
    ) -> ssl.SSLContext:
        """Return a server's context with a certificate for a host, of this authority."""
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

    def trusting(self) -> ssl.SSLContext:
        """Return a client's context that trusts this authority alone."""
        return ssl.create_default_context(cafile=str(self.path))


def authority(folder: Path, name: str = "Autoridad de pruebas") -> Authority:
    """Make a certificate authority."""
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


# Python 3.13 and later insist on key identifiers and on an authority's key usage.
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
