"""Run a PAC that answers getTimbres over TLS after a fixed latency, in its own process.

It does little work, so that the benchmark measures the caller. ``python -m bench.pac <seconds>
<folder>`` writes the CA's certificate into the folder, prints the port, and exits when its
standard input closes.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_NAMESPACE = "http://utilerias.timbrado.ws.cfdi.solucionfactible.com"
_REPLY = f"""<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>
<ns:getTimbresResponse xmlns:ns="{_NAMESPACE}"><ns:return xmlns:ax="{_NAMESPACE}/xsd">
<ax:contratados>1000</ax:contratados><ax:disponibles>750</ax:disponibles>
<ax:mensaje>La transaccion ha sido completada satisfactoriamente.</ax:mensaje>
<ax:status>200</ax:status><ax:usados>250</ax:usados>
</ns:return></ns:getTimbresResponse></soapenv:Body></soapenv:Envelope>""".encode()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: "
_RESPONSE = _HEAD + str(len(_REPLY)).encode() + b"\r\n\r\n" + _REPLY


@dataclass(frozen=True)
class Pac:
    """The PAC's URL and the file with the certificate of its CA."""

    url: str
    ca: Path


@contextmanager
def running_pac(latency: float) -> Iterator[Pac]:
    """Run the PAC; each response takes ``latency`` seconds."""
    with tempfile.TemporaryDirectory(prefix="timbres-bench-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.pac", str(latency), folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield Pac(f"https://127.0.0.1:{port}", Path(folder) / "ca.pem")
        finally:
            process.kill()
            process.wait()


class _Connection(asyncio.Protocol):
    """A keep-alive connection with sequential requests, each answered after the latency."""

    latency = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < _length(head):
            return
        self._received = body[_length(head) :]
        asyncio.get_running_loop().call_later(self.latency, self._respond)

    def _respond(self) -> None:
        if isinstance(self._transport, asyncio.Transport) and not self._transport.is_closing():
            self._transport.write(_RESPONSE)


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _certificate(folder: Path) -> ssl.SSLContext:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark PAC")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (folder / "both.pem").write_bytes(secret + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


async def _serve(latency: float, folder: Path) -> None:
    _Connection.latency = latency
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        _Connection, "127.0.0.1", 0, ssl=_certificate(folder), backlog=256
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1]), Path(sys.argv[2])))
