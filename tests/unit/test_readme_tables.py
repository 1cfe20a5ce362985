"""The README's tables of exit codes and of troubleshooting: nothing is missing, nothing has grown old, and a test produces each row (S16).

That a test produces a row is what it says itself: with `told("words of the message", what it heard)`, which looks the message up in the
README (`tests.support.readme`); with `ExitCode.NAME` compared to how a command ended; or, where a row has no message, by being named here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from storemount.cli import INTERRUPTED
from storemount.errors import ExitCode
from tests.support.command import CHECKOUT
from tests.support.readme import exit_codes, fragments, troubleshooting

SEEN = "a program of another machine's is not executable here, times are those of the upload"
WITHOUT_A_MESSAGE = {
    'others get "Permission denied" on the mountpoint': "mount/test_access.py::test_without_allow_other_another_user_is_not_let_in",
    "a new object of another machine is not seen": "mount/test_freshness.py::test_S3_a_new_object",
    SEEN: "mount/test_remounts.py::test_S12_metadata_survives_remounts_on_every_machine",
}
"""Rows whose symptom is all there is to see, and the test that sees it."""

NOT_OURS = {
    "No route to host",
    "Connection timed out",
    "Stale file handle",
    "failed to open /etc/mtab",
    "credentials: Error loading SSO Token: ...",
    "... invalid peer certificate: UnknownIssuer",
    "... certificate verify failed",
}
"""Words of the kernel, of fusermount3 and of client libraries, as they come through."""

COMPOSED = {
    "there is no /dev/fuse; ...",
    "the bucket is in the region eu-central-1; set the attribute region=eu-central-1",
    "request without an answer yet verb=... about=... seconds=...",
    "slow request ...",
    "slow operation ...",
}
"""Words that stand in no string of the product, as a value is among them."""

PLAIN = {
    "%s failed: %s: %s": "of the errors only EIO is logged, and the failures behind it are many (verbs)",
    "%s: %s": "what a store cannot do, with the promise that it concerns (arrival)",
    "%s: %r": "what asyncio complains of, in its own words (bridge)",
    "%s": "an error that says all, and has a row under its own words (worker)",
    "a client got no answer: %s": "as it says; the client has said so, too",
    "the layers of %s could not be made one: %s": "nothing is wrong with the file, which takes more room; the error is the disk's",
    "%s of %r stays where it was staged: %s": "as it says; the refusal before it has a row",
    "what is left may not survive a power cut: %s": "as it says; the error is the disk's",
}
"""Warnings that need no row, and why."""


def trees(folder: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((CHECKOUT / folder).rglob("*.py")):
        yield path, ast.parse(path.read_text())


def text_of(node: ast.expr) -> str | None:
    """The text of a string, with `...` for what is put in; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(\.\d)?[a-z]", "...", node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
    return None


@cache
def product() -> list[str]:
    """Every string of the product."""
    nodes = (node for _, tree in trees("storemount") for node in ast.walk(tree) if isinstance(node, ast.expr))
    return [text for node in nodes if (text := text_of(node))]


@cache
def heard() -> frozenset[str]:
    """The words that tests hand to `told`."""
    calls = (node for _, tree in trees("tests") for node in ast.walk(tree) if isinstance(node, ast.Call))
    named = (call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "told")
    return frozenset(node.value for node in named if isinstance(node, ast.Constant))


def longest(message: str) -> str:
    """The longest part that is always the same: names of failures and of keys are not."""
    parts = (part.strip(" :;,'()") for fragment in fragments(message) for part in re.split(r"\b[A-Z]\w+\b|['()]", fragment))
    return max(parts, key=len)


def messages() -> list[str]:
    return [message for row in troubleshooting() for message in row.messages]


# exit codes


def test_the_readme_has_every_exit_code_and_no_other() -> None:
    assert set(exit_codes()) == {*ExitCode, INTERRUPTED}


def test_every_exit_code_is_that_of_a_command_in_a_test() -> None:
    """Of the real command: the suites that have one."""
    names = set()
    for folder in ("mount", "unit/test_cli.py"):
        for path in [CHECKOUT / "tests" / folder] if folder.endswith(".py") else (CHECKOUT / "tests" / folder).glob("*.py"):
            names |= set(re.findall(r"ExitCode\.(\w+)", path.read_text()))
    assert {code.name for code in ExitCode} - names == set()


# troubleshooting


def test_no_message_of_the_readme_has_grown_old() -> None:
    asked = [message for message in messages() if message not in NOT_OURS | COMPOSED]
    assert [message for message in asked if not any(longest(message) in text for text in product())] == []


def test_every_message_of_the_readme_is_told_in_a_test() -> None:
    assert {words: len(found) for words in heard() if len(found := [each for each in messages() if words in each]) != 1} == {}
    assert [message for message in messages() if not any(words in message for words in heard())] == []


def test_every_row_without_a_message_has_its_test() -> None:
    assert {row.symptom for row in troubleshooting() if not row.messages} == set(WITHOUT_A_MESSAGE)
    for test in WITHOUT_A_MESSAGE.values():
        file, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\b", (CHECKOUT / "tests" / file).read_text(), re.MULTILINE), test


def warnings() -> Iterator[tuple[str, str]]:
    """Where the product warns, and with what words, as they stand there."""
    for path, tree in trees("storemount"):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "log":
                words = node.args[0] if node.func.attr in {"warning", "error", "critical", "exception"} else None
                if isinstance(words, ast.Constant):
                    yield f"{path.name}:{node.lineno}", str(words.value)


def test_every_warning_has_a_row_or_a_reason_to_have_none() -> None:
    known = [longest(message) for message in messages()]
    rows = {where: words for where, words in warnings() if not any(part in words.replace("%s", "...") for part in known if len(part) > 6)}
    assert {where: words for where, words in rows.items() if words not in PLAIN} == {}
    assert set(PLAIN) <= {words for _, words in warnings()}
