"""Where temporary AWS credentials come from, as one small server on the loopback.

What it is: an HTTP server that answers as an instance's metadata service, as a container's, and as the portal of SSO do; and a treatment
for a proxy that lets only requests with the token of now pass.
What it is not: AWS's STS (moto has that).
Invariants: it gives the same keys until `rotate`; ready when its context is entered, gone when it is left.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.faults import Treatment, refusal
from tests.support.proxy import Proxy

_ROLES = "/latest/meta-data/iam/security-credentials/"
CONTAINER = "/container"


class Vault:
    """The keys of a role. `token` is what the store has to accept now; `given` counts how often keys were asked for."""

    def __init__(self, life: timedelta) -> None:
        self.life = life
        self.number = 1
        self.given = 0
        self.endpoint = ""

    @property
    def token(self) -> str:
        return f"token-{self.number}"

    def rotate(self) -> None:
        """Other keys from now on."""
        self.number += 1

    def answer(self, path: str) -> str:
        """What is told about this path; "" for one that nobody knows."""
        expires = datetime.now(UTC) + self.life
        keys = {"AccessKeyId": f"key-{self.number}", "SecretAccessKey": "role-secret", "Token": self.token}
        if path == "/latest/api/token":
            return "metadata-session"
        if path == _ROLES:
            return "worker"
        if path in (_ROLES + "worker", CONTAINER):
            self.given += 1
            return json.dumps({**keys, "Code": "Success", "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})
        if path.startswith("/federation/credentials"):
            self.given += 1
            role = {"accessKeyId": keys["AccessKeyId"], "secretAccessKey": "role-secret", "sessionToken": self.token}
            return json.dumps({"roleCredentials": {**role, "expiration": int(expires.timestamp() * 1000)}})
        return ""


@contextmanager
def vault(life: timedelta = timedelta(hours=1)) -> Iterator[Vault]:
    made = Vault(life)

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = made.answer(self.path).encode()
            self.send_response(200 if told else 404)
            self.send_header("Content-Length", str(len(told)))
            self.send_header("X-aws-ec2-metadata-token-ttl-seconds", "600")
            self.end_headers()
            self.wfile.write(told)

        do_PUT = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        made.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()


def only_with(proxy: Proxy, holder: Vault) -> Treatment:
    """Pass on what is signed with the token of now; anything else has an expired token."""
    return only_saying(proxy, lambda: f"x-amz-security-token: {holder.token}\r\n", _EXPIRED)


def only_saying(proxy: Proxy, word: Callable[[], str], otherwise: Treatment) -> Treatment:
    """Pass on connections whose first request has `word` in its head, in whatever letters; the others are treated `otherwise`."""

    def treat(connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head = connection.recv(1 << 16, socket.MSG_PEEK)
            if not head:
                return
        (proxy.forward if word().lower().encode() in head.lower() else otherwise)(connection)

    return treat


_EXPIRED = refusal("400 Bad Request", "ExpiredToken")


def nowhere(home: str) -> Mapping[str, str]:
    """An environment in which no credentials are found."""
    return {"HOME": home, "AWS_CONFIG_FILE": f"{home}/config", "AWS_SHARED_CREDENTIALS_FILE": f"{home}/credentials"}
