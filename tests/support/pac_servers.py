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
class Certificate:
    """A certificate with its key; ``path`` is a file with both."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    path: Path

    def server_context(self) -> ssl.SSLContext:
        """Return the context of a server with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context


def create_certificate(
    folder: Path,
    name: str = "127.0.0.1",
    issuer: Certificate | None = None,
    *,
    days_ago: int = 1,
    days: int = 30,
) -> Certificate:
    """Create a certificate for a host; without an issuer, of an authority, self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_key = issuer.key if issuer else key
    begin = datetime.now(UTC) - timedelta(days=days_ago)
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=issuer is None, path_length=None), True),
        (x509.SubjectAlternativeName([_general_name(name)]), False),
        # Python 3.13 and later require key identifiers, and the key usage of an authority.
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),
    ]
    if issuer is None:
        extensions.append((_SIGNS, True))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(begin + timedelta(days=days))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(issuer_key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    path = folder / f"{certificate.serial_number}.pem"
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    return Certificate(key, certificate, path)


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


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
