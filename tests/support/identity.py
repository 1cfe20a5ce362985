"""Who asks: the machine's identity, as a managed identity of Azure has it; a service account of Google's; a server's certificate.

What it is: the local service that azure-identity asks for tokens (`IDENTITY_ENDPOINT`), whose tokens Azurite takes (it looks at who issued
them, for whom and until when, and at no signature); a service account's key, with the service that gives tokens for it; and a certificate
for the loopback that whoever is told to trust it trusts.
What it is not: Microsoft Entra, or Google.
Invariant: a service is ready when its context is entered, and gone when it is left.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.support.faults import faulty_server, response, told_as_json, whole


@dataclass
class Identity:
    """`lasts`: seconds after which whoever asked has to ask again. `issued`: how many tokens were given."""

    endpoint: str
    lasts: float
    issued: int = 0

    def token(self) -> dict[str, str]:
        self.issued += 1
        now = int(time.time())
        # A minute more than is told: on its way to the store a token does not expire.
        claims: dict[str, object] = {"iat": now - 60, "nbf": now - 60, "exp": now + 60 + self.lasts, "aud": "https://storage.azure.com"}
        claims["iss"] = "https://sts.windows.net/00000000-0000-0000-0000-000000000000/"
        told = ".".join(_segment(part) for part in ({"alg": "none", "typ": "JWT"}, claims)) + ".c2lnbmF0dXJl"
        return {"access_token": told, "expires_on": str(now + self.lasts), "resource": "https://storage.azure.com", "token_type": "Bearer"}

    def environ(self) -> dict[str, str]:
        return {"IDENTITY_ENDPOINT": self.endpoint, "IDENTITY_HEADER": "here", "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"}


def _segment(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


@contextmanager
def managed_identity(lasts: int) -> Iterator[Identity]:
    """The service that gives tokens which last so many seconds."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(identity.token()).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        identity = Identity(f"http://127.0.0.1:{server.server_port}/msi/token", lasts)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield identity
        finally:
            server.shutdown()
            serving.join()


@dataclass
class ServiceAccount:
    """Of Google's. `key` is the text of its key's file. `issued` tokens were given: t1, t2, ...; `revoked`: no more are."""

    key: str = field(repr=False)
    issued: int = 0
    revoked: bool = False

    def __call__(self, head: str) -> bytes:
        if self.revoked:
            told = {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
            return response("400 Bad Request", json.dumps(told).encode())
        self.issued += 1
        return told_as_json({"access_token": f"t{self.issued}", "expires_in": 3600, "token_type": "Bearer"})


@contextmanager
def service_account() -> Iterator[ServiceAccount]:
    """A service account, and the service that gives tokens for it."""
    made = ServiceAccount("")
    with faulty_server(whole(made)) as endpoint:
        told = {"type": "service_account", "client_email": "tester@example.org", "private_key": _rsa(), "token_uri": f"{endpoint}/token"}
        made.key = json.dumps(told)
        yield made


@cache
def _rsa() -> str:
    private = rsa.generate_private_key(65537, 2048)
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key: two files in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "certificate.pem", folder / "key.pem"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    text = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, text))
    return public, private
