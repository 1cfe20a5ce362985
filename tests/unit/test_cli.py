"""The real command in a process of its own: words, output, exit codes, and what it leaves behind."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from storemount.cli import INTERRUPTED, run
from storemount.errors import ExitCode
from tests.support.command import Storemount
from tests.support.mounting import temporary_home
from tests.support.readme import told
from tests.support.zenml_trees import zenml_tree

HEAVY = ("trio", "pyfuse3", "fsspec", "opendal", "asyncio", "s3fs", "botocore", "tomlkit", "prometheus_client")
SECRET = "wJalrXUtnFEMI-not-to-be-seen"


@pytest.fixture
def storemount(tmp_path: Path) -> Storemount:
    return Storemount(tmp_path)


def refused(storemount: Storemount, *words: str, code: ExitCode, says: str) -> None:
    """One line on standard error, this code, and nothing on standard output."""
    done = storemount.run(*words)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert re.fullmatch(r"storemount: [^\n]*\n", done.stderr) and re.search(says, done.stderr), done.stderr


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    program = f"import sys, storemount.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"


def test_every_exit_code_is_in_the_help(storemount: Storemount) -> None:
    text = storemount.must("--help")
    codes = {int(code) for code in re.findall(r"^ +(\d+)  \S", text, re.MULTILINE)}
    assert codes == {*ExitCode, INTERRUPTED}


@pytest.mark.parametrize(
    "command",
    [
        "",
        "mount",
        "unmount",
        "status",
        "ls-pending",
        "metrics",
        "log-level",
        "flush",
        "retry",
        "export",
        "uri",
        "doctor",
        "artifact-store",
        "store",
        *(f"artifact-store {verb}" for verb in ["register", "list", "describe", "update"]),
    ]
    + [
        f"artifact-store {verb}"
        for verb in (
            "remove-attribute",
            "rename",
            "delete",
            "import-zenml",
            "flavor",
            *(f"flavor {verb}" for verb in ("list", "describe", "register", "delete")),
        )
    ],
)
def test_every_command_has_help_with_an_example(storemount: Storemount, command: str) -> None:
    text = storemount.must(*command.split(), "--help")
    assert re.search(r"Examples?:\n +storemount ", text)
    assert storemount.must(*command.split(), "-h") == text


def test_the_version(storemount: Storemount) -> None:
    assert re.fullmatch(r"storemount \d+\.\d+\.\d+\n", storemount.must("--version"))


def test_without_a_word_it_shows_the_help(storemount: Storemount) -> None:
    done = storemount.run()
    assert done.returncode == ExitCode.USAGE
    assert "Exit codes:" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("statsu",), "did you mean status"),
        (("default",), "a mount needs a mountpoint"),
        (("unmount",), "Missing argument 'MOUNTPOINT'; see: storemount unmount --help"),
        (("default", "mnt", "--tll", "5"), "No such option.*--tll"),
        (("--read-only", "default"), "Missing argument 'MOUNTPOINT'"),
        (("default", "mnt", "-o", "tll=5"), "-o tll is not known.*did you mean ttl"),
        (("status", "--jsn"), "--jsn"),
        (("retry",), "give a PATH, or --all"),
        (("retry", "--all", "mnt"), "give a PATH, or --all"),
        (("export", "mnt"), "Missing argument 'DEST'"),
        (("default", "mnt", "--durability", "much"), "--durability"),
        (("default", "mnt", "--metrics-listen", "9100"), "'9100' is not an address; write HOST:PORT"),
        (("log-level", "loud"), "'loud' is not one of"),
        (("store", "registr", "x"), "registr"),
        (("store", "register", "x", "-f", "local", "--path", "/srv", "stray"), "'stray' is not an attribute"),
    ],
)
def test_a_slip_is_one_line(storemount: Storemount, words: tuple[str, ...], says: str) -> None:
    refused(storemount, *words, code=ExitCode.USAGE, says=says)


def test_a_slip_in_a_command_with_arguments_is_an_unknown_store(storemount: Storemount) -> None:
    refused(storemount, "unmout", "mnt", code=ExitCode.UNKNOWN_STORE, says="did you mean unmount")


def test_what_a_terminal_would_obey_is_spelled_out(storemount: Storemount, tmp_path: Path) -> None:
    refused(storemount, "warm", f"{tmp_path}/\x1b[2Jname", code=ExitCode.NOT_MOUNTED, says=r"^[^\x1b]*\\x1b\[2J[^\x1b]*$")


def test_a_password_on_the_command_line_is_refused_and_not_repeated(storemount: Storemount) -> None:
    refused(storemount, f"sftp://me:{SECRET}@host/x", "mnt", code=ExitCode.BAD_CONFIGURATION, says=f"^((?!{SECRET}).)*$")


def test_status_of_nothing(storemount: Storemount) -> None:
    refused(storemount, "status", "mnt", code=ExitCode.NOT_MOUNTED, says="mnt")
    assert json.loads(storemount.must("status", "--json"))["version"] == 1


def test_flush_and_retry_of_nothing(storemount: Storemount) -> None:
    refused(storemount, "flush", ".", code=ExitCode.NOT_MOUNTED, says="is not in a mounted store")
    assert storemount.must("flush") == ""
    assert storemount.must("retry", "--all").startswith("nothing was refused")


def test_what_nobody_foresaw_is_one_line_and_the_details_are_in_a_file() -> None:
    """A daemon that answers in another language."""
    with temporary_home() as home, socket.socket(socket.AF_UNIX) as listener:
        storemount = Storemount(home)
        (home / "run" / "storemount").mkdir()
        listener.bind(str(home / "run" / "storemount" / "odd.sock"))
        listener.listen()
        answering = threading.Thread(target=_answer_once, args=(listener, b"this is no JSON\n"))
        answering.start()
        log = home / "state/storemount/logs/failures.log"
        refused(storemount, "status", code=ExitCode.UNEXPECTED, says=f"unexpected JSONDecodeError.*{re.escape(str(log))}")
        answering.join()
        assert "Traceback" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600


def _answer_once(listener: socket.socket, answer: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(4096)
        connection.sendall(answer)


# the registry's words


def test_the_life_of_a_registered_store(storemount: Storemount) -> None:
    store = ("artifact-store",)
    said = storemount.must(
        *store, "register", "s3_store", "-f", "s3", "--path", "s3://my_bucket", "--region=eu-central-1", "--endpoint", "http://h:1"
    )
    assert said == "Successfully registered artifact_store `s3_store`.\n"
    assert re.search(r"^s3_store +s3 +s3://my_bucket +user$", storemount.must("store", "list"), re.MULTILINE)
    assert storemount.must("store", "update", "s3_store", "--region", "us-east-1") == "Successfully updated artifact store `s3_store`.\n"
    storemount.must(*store, "remove-attribute", "s3_store", "--endpoint")
    storemount.must(*store, "rename", "s3_store", "production")
    sheet = storemount.must(*store, "describe", "production")
    assert re.search(r"^REGION +us-east-1$", sheet, re.MULTILINE) and "ENDPOINT" not in sheet
    assert storemount.must(*store, "delete", "production") == "Deleted artifact store: production\n"
    assert "production" not in storemount.must(*store, "list")


def test_a_relative_path_is_registered_as_an_absolute_one(storemount: Storemount) -> None:
    storemount.register("here", "local", "folder", {})
    rows = json.loads(storemount.must("store", "list", "--json"))["stores"]
    assert {row["name"]: row["path"] for row in rows}["here"] == str(storemount.home / "folder")


def test_the_stores_of_zenml_are_listed_described_and_copied(storemount: Storemount) -> None:
    zenml_tree("new", storemount.home / "config/zenml")
    table = storemount.must("store", "list")
    assert re.search(r"^s3_plain +s3 +s3://bucket/models +zenml$", table, re.MULTILINE)
    assert re.search(r"^zenml://default +local ", table, re.MULTILINE)
    assert re.search(r"^SECRET +\*\*\*$", storemount.must("store", "describe", "s3_plain"), re.MULTILINE)
    said = storemount.must("store", "import-zenml", "folder", "s3_pair")
    assert said.startswith("Copied artifact_store `folder`: flavor, path.\nCopied artifact_store `s3_pair`: flavor, path.\n")
    assert "Not copied: secret, which ZenML keeps in its secret `pair`." in said
    assert re.search(r"^s3_pair +s3 +s3://bucket +user$", storemount.must("store", "list"), re.MULTILINE)
    refused(storemount, "store", "import-zenml", "folder", code=ExitCode.BAD_CONFIGURATION, says="not copied: .*already has a store")
    refused(storemount, "store", "import-zenml", "nothing", code=ExitCode.UNKNOWN_STORE, says="no artifact store named 'nothing'")
    assert "pair-secret" not in (storemount.home / "config/storemount/stores.toml").read_text()
    storemount.must("store", "delete", "s3_pair")
    assert "pair-secret" not in storemount.must("store", "import-zenml", "s3_pair", "--with-secrets")
    assert "pair-secret" in (storemount.home / "config/storemount/stores.toml").read_text()


def test_a_broken_zenml_does_not_spoil_a_list(storemount: Storemount) -> None:
    (storemount.home / "config/zenml").mkdir()
    (storemount.home / "config/zenml/config.yaml").write_text("- nonsense")
    done = storemount.run("store", "list")
    assert done.returncode == 0 and "default" in done.stdout
    assert re.fullmatch(r"storemount: ZenML's stores are not listed: .*config.yaml: [^\n]*\n", done.stderr)


def test_the_system_registry_is_written_only_when_asked(storemount: Storemount) -> None:
    storemount.must("store", "register", "shared", "-f", "local", "--path", "/srv", "--system")
    assert (storemount.home / "etc" / "stores.toml").exists()
    assert not (storemount.home / "config" / "storemount" / "stores.toml").exists()
    refused(storemount, "store", "delete", "shared", code=ExitCode.BAD_CONFIGURATION, says="add --system")
    storemount.must("store", "delete", "shared", "--system")


def test_flavors_are_listed_with_their_attributes(storemount: Storemount) -> None:
    text = storemount.must("artifact-store", "flavor", "list")
    assert all(re.search(rf"^{flavor} ", text, re.MULTILINE) for flavor in ("local", "s3", "custom"))
    assert "s3 --client_kwargs" in text


@pytest.mark.parametrize(("error", "code"), [(ValueError("a bug"), ExitCode.UNEXPECTED), (KeyboardInterrupt(), INTERRUPTED)])
def test_S16_what_nobody_foresaw_is_one_line_and_its_traceback_is_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr("storemount.cli.root.main", fails)
    assert run(["status"]) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    file = tmp_path / "storemount/logs/failures.log"
    if code == INTERRUPTED:
        assert said == "storemount: interrupted\n" and not file.exists()
    else:
        assert told("the details are in", said) and said.endswith(f" {file}\n")
        assert "ValueError: a bug" in file.read_text()


def test_a_secret_is_nowhere_but_in_the_private_file(storemount: Storemount) -> None:
    (storemount.home / "secret").write_text(SECRET)
    (storemount.home / "secret").chmod(0o600)
    said = storemount.must("store", "register", "v", "-f", "s3", "--path", "s3://b", "--key=k", "--secret=@secret")
    said += storemount.must("store", "register", "w", "-f", "s3", "--path", "s3://b", "--key=k", "--secret=env:VAULT")
    said += storemount.must("store", "list") + storemount.must("store", "list", "--json")
    said += storemount.must("store", "describe", "v") + storemount.must("store", "describe", "w")
    failed = storemount.run("store", "register", "x", "-f", "s3", "--path", "s3://b", f"--secret={SECRET}")
    assert failed.returncode == ExitCode.BAD_CONFIGURATION
    assert SECRET not in said + failed.stdout + failed.stderr
    assert "env:VAULT" in said
    holders = [path for path in storemount.home.rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert sorted(path.name for path in holders) == ["secret", "stores.toml"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in holders)
