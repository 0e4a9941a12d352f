"""Servers on loopback in place of a PAC: WSGI applications, raw TCP, TLS; a limit of memory."""

from __future__ import annotations

import io
import ipaddress
import socket
import ssl
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


@dataclass
class PacServer:
    """A WSGI application that serves another one, which a test can replace.

    ``requests`` are the WSGI environments with the ``body``, ``connections`` the client ports.
    """

    app: WSGIApplication | None = None
    requests: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        environ["wsgi.input"] = io.BytesIO(body)
        self.requests.append({**environ, "body": body})
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
    content: bytes | str,
    media_type: str = "text/xml",
    status: int = 200,
    *,
    in_bytes: bool = False,
    **headers: str,
) -> WSGIApplication:
    """Return a WSGI application that gives this response, in chunks of a byte if ``in_bytes``."""
    body = content.encode() if isinstance(content, str) else content
    extra_headers = [(name.replace("_", "-"), value) for name, value in headers.items()]

    def app(_environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response(f"{status} X", [("Content-Type", media_type), *extra_headers])
        return [bytes([byte]) for byte in body] if in_bytes else [body]

    return app


@contextmanager
def memory_below(limit: int) -> Iterator[None]:
    """Let the memory in use grow by less than ``limit`` bytes."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limit


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
        return _server_context(folder, key, certificate)

    def own_context(self, folder: Path) -> ssl.SSLContext:
        """Return a server context with the authority's own, self-signed certificate."""
        return _server_context(folder, self.key, self.certificate)

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


def _server_context(
    folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
) -> ssl.SSLContext:
    pem = serialization.Encoding.PEM
    path = folder / f"{certificate.serial_number}.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
