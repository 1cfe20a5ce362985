"""A real ZenML in a virtual environment of its own, as its pins clash with ours, and a user who has it and storemount."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Storemount
from tests.support.mounting import temporary_home
from tests.support.servers import BucketClient, S3Server, moto_server

PACKAGES = ("zenml[local]", "s3fs", "aws-profile-manager", "kubernetes")
"""ZenML with its local database, and what its s3 flavor and its AWS connector import. (boto3 comes with the third; named here, it makes
pip try its versions one by one for a minute.)"""

INSIDE = Path(__file__).with_name("inside.py")


@pytest.fixture(scope="session")
def zenml_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once for the run; takes about twenty seconds."""
    folder = tmp_path_factory.mktemp("zenml-venv")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    subprocess.run([folder / "bin/python", "-m", "pip", "install", "--quiet", *PACKAGES], check=True, timeout=240)
    return folder / "bin/python"


@dataclass(frozen=True)
class User:
    """Somebody with ZenML, storemount, and an empty bucket."""

    storemount: Storemount
    python: Path
    bucket: BucketClient

    @property
    def home(self) -> Path:
        return self.storemount.home

    def zenml(self, verb: str, **arguments: str) -> Any:
        """What `inside` answers."""
        done = subprocess.run(
            [self.python, INSIDE, verb, json.dumps(arguments)],
            env=self.storemount.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def server() -> Iterator[S3Server]:
    with moto_server() as running:
        yield running


@pytest.fixture(scope="session")
def user(zenml_python: Path, server: S3Server) -> Iterator[User]:
    """Has registered `folder`, `s3_store`, `s3_secret` and `s3_connected` with ZenML, and nothing with storemount."""
    with temporary_home() as home, server.client("artifacts") as bucket:
        storemount = Storemount(home)
        storemount.environment |= {
            "PATH": f"{zenml_python.parent}:{storemount.environment['PATH']}",
            "ZENML_ANALYTICS_OPT_IN": "false",
            "ZENML_LOGGING_VERBOSITY": "WARNING",
            "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        there = User(storemount, zenml_python, bucket.create())
        (home / "store").mkdir()
        there.zenml(
            "register", folder=str(home / "store"), bucket=bucket.uri, endpoint=server.endpoint, key=server.key, secret=server.secret
        )
        yield there
