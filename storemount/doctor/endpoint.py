"""The server of a store, and what time it is there.

What it is: the address behind a description, and one plain HTTP request that needs no credentials: whatever is answered has a Date.
What it is not: a request to the store (`access`).
Invariant: nothing secret is sent, and no redirection is followed.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from storemount.doctor.finding import Finding, fail, ok, warn
from storemount.errors import StoreMountError
from storemount.stores.flavors import StoreSpec, json_attribute

REFUSED = 15 * 60.0
"""Seconds of difference from which S3 and Azure refuse every signed request."""

NOTICED = 30.0
"""Seconds of difference that matter to times of files and short-lived tokens."""

PATIENCE = 10.0

REMEDY = "set the clock of this machine (timedatectl set-ntp true, or chrony)"


class _NoRedirection(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def endpoint_of(spec: StoreSpec, environ: Mapping[str, str]) -> str | None:
    """The URL of the server that this store is at; None where it has none that one could ask."""
    if spec.flavor == "s3":
        inner = json_attribute(spec, "client_kwargs").get("endpoint_url")
        region = spec.attributes.get("region") or "us-east-1"
        named = spec.attributes.get("endpoint") or inner or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        return str(named or f"https://s3.{region}.amazonaws.com")
    if spec.flavor == "gcp":
        from storemount.stores.gcssettings import GcsSettings

        return GcsSettings.of(spec.path, spec.attributes).endpoint
    if spec.flavor == "azure":
        from storemount.stores.azuresettings import AzureSettings

        try:
            return AzureSettings.of(spec.path, spec.attributes, environ).endpoint
        except StoreMountError:
            return None  # It does not say which account it is, which opening it will tell.
    return None


def skew(url: str, patience: float = PATIENCE) -> float | None:
    """Seconds that this machine's clock is ahead of the server's (to a second); None when no answer with a date came."""
    # A certificate that is not valid yet is how a wrong clock shows, and nothing is sent that anybody could read.
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    opener = build_opener(_NoRedirection, HTTPSHandler(context=anybody))
    asked = time.time()
    try:
        with opener.open(Request(url, method="HEAD"), timeout=patience) as answer:
            told = answer.headers.get("Date")
    except HTTPError as error:
        with error:
            told = error.headers.get("Date")
    except (OSError, HTTPException, ValueError):
        return None
    try:
        there = parsedate_to_datetime(told or "").timestamp()
    except ValueError:
        return None
    # A date is cut to whole seconds; within the time of the request the server's clock may be anywhere.
    ahead, behind = asked - (there + 1), time.time() - there
    return ahead if ahead > 0 else min(behind, 0.0)


def clock(ahead: float) -> Finding:
    """What a difference of so many seconds means."""
    said = f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the server's"
    if abs(ahead) >= REFUSED:
        return fail("clock", f"{said}, and signed requests are refused from {REFUSED / 60:.0f} minutes on", REMEDY)
    if abs(ahead) >= NOTICED:
        return warn("clock", said, REMEDY)
    return ok("clock", "agrees with the server's")
