"""The README's example, as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from tests.support.command import CHECKOUT, Storemount
from tests.support.servers import S3Server


def test_the_example_works(storemount: Storemount, s3_server: S3Server, tmp_path: Path) -> None:
    found = re.search(r"^## From Python\n\n((?:    .*\n|\n)+)", (CHECKOUT / "README.md").read_text(), re.MULTILINE)
    assert found is not None
    program = dedent(found[1]).replace("/tmp/notes.txt", str(tmp_path / "notes.txt"))
    with s3_server.client("my-bucket") as bucket:
        bucket.create()
        storemount.register("s3_store", "s3", f"{bucket.uri}/models", s3_server.attributes())
        done = subprocess.run([sys.executable, "-c", program], env=storemount.environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr, done.stdout) == (0, "", "['notes.txt'] 16\nexample artifact\n")
        assert bucket.list() == {"models/run-8/": 0, "models/run-8/notes.txt": 16}
    assert (tmp_path / "notes.txt").read_text() == "example artifact"
