"""The daemon's log: one line an event, no flood, no secret, and nothing lost when the file is moved away."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from storemount.insight.dumps import dump
from storemount.insight.floods import FIRST, WINDOW, Floods
from storemount.insight.logs import LogFile, OneLine, fields, log_from, log_level, start_log
from storemount.insight.redaction import Redaction
from storemount.insight.slow import SlowLog
from storemount.kernel.verbs import Unasked
from storemount.stores.flavors import StoreSpec


class Lines(logging.Handler):
    """What was told, each as its line."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(OneLine())
        self.lines: list[str] = []
        self.closed = False

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record).split(": ", 1)[1])

    def close(self) -> None:
        self.closed = True
        super().close()


def event(words: str, *values: object, level: int = logging.WARNING, **told: object) -> logging.LogRecord:
    record = logging.LogRecord("storemount.test", level, __file__, 1, words, values, None)
    for name, value in fields(**told).items():
        setattr(record, name, value)
    return record


# lines


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({}, "it happened"),
        ({"key": "a/b", "seconds": 0.5}, "it happened key=a/b seconds=0.5"),
        ({"key": "a b"}, 'it happened key="a b"'),
        ({"key": 'a"b='}, r'it happened key="a\"b="'),
        ({"key": ""}, 'it happened key=""'),
        ({"key": "a\nb"}, r'it happened key="a\nb"'),
    ],
)
def test_a_line_has_its_fields(told: dict[str, object], line: str) -> None:
    said = OneLine().format(event("it %s", "happened", **told))
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING storemount\.test: " + re.escape(line), said)


def test_an_event_of_several_lines_is_one() -> None:
    assert OneLine().format(event("<a>\n <b>\r\n</a>")).endswith(": <a>  <b> </a>")


# floods


class Clock:
    """Seconds that a test lets pass, and what is to be called in them."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waiting: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.waiting.append((self.now + seconds, call))

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        due, self.waiting = [row for row in self.waiting if row[0] <= self.now], [row for row in self.waiting if row[0] > self.now]
        for _, call in due:
            call()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def floods(clock: Clock, lines: Lines) -> Iterator[Floods]:
    made = Floods(lines, clock, clock.later)
    yield made
    made.close()


def test_a_flood_is_counted(floods: Floods, lines: Lines, clock: Clock) -> None:
    """Whatever the values are; others come through meanwhile; afterwards it begins anew."""
    for number in range(1244):
        floods.handle(event("upload of %r failed", f"key-{number}"))
    floods.handle(event("something else"))
    assert lines.lines == [*(f"upload of 'key-{number}' failed" for number in range(FIRST)), "something else"]
    clock.pass_by(WINDOW)
    assert lines.lines[-1] == "\N{HORIZONTAL ELLIPSIS} repeated 1234 times in 10 s, last: upload of 'key-1243' failed"
    floods.handle(event("upload of %r failed", "again"))
    assert lines.lines[-1] == "upload of 'again' failed"
    assert not clock.waiting


def test_what_is_rare_is_never_held_back(floods: Floods, lines: Lines, clock: Clock) -> None:
    for _ in range(50):
        floods.handle(event("tick"))
        clock.pass_by(WINDOW / FIRST)
    assert lines.lines == ["tick"] * 50


def test_who_asked_for_everything_gets_everything(floods: Floods, lines: Lines) -> None:
    for _ in range(100):
        floods.handle(event("detail", level=logging.DEBUG))
    assert len(lines.lines) == 100


def test_the_end_of_the_log_tells_what_was_held_back(floods: Floods, lines: Lines) -> None:
    for _ in range(FIRST + 2):
        floods.handle(event("the end"))
    floods.close()
    assert lines.lines[-1] == "\N{HORIZONTAL ELLIPSIS} repeated 2 times in 10 s, last: the end"
    assert lines.closed


# secrets

SECRET = "wJalr/XUtn+FEMI=K7MDENG"


@pytest.mark.parametrize(
    "spec",
    [
        StoreSpec("s", "s3", "s3://b", {"key": "AKIAEXAMPLE", "secret": SECRET}),
        StoreSpec("s", "s3", "s3://b", {"client_kwargs": json.dumps({"aws_secret_access_key": SECRET, "region_name": "somewhere"})}),
        StoreSpec("s", "azure", "abfs://c", {"account_name": "a", "account_key": SECRET}),
        StoreSpec("s", "azure", "abfs://c", {"connection_string": f"AccountName=a;AccountKey={SECRET};EndpointSuffix=core.windows.net"}),
        StoreSpec("s", "azure", "abfs://c", {"account_name": "a", "sas_token": f"?sv=2024&sig={SECRET}&se=2030"}),
        StoreSpec("s", "gcp", "gs://b", {"token": json.dumps({"type": "service_account", "private_key": f"-----BEGIN\n{SECRET}\n"})}),
        StoreSpec("s", "custom", "sftp://host/x", {"options": json.dumps({"password": SECRET, "port": 22})}),
        StoreSpec("s", "custom", f"sftp://me:{SECRET.replace('/', '%2F')}@host/x"),
    ],
)
def test_no_credential_of_a_store_passes(spec: StoreSpec) -> None:
    redaction = Redaction()
    redaction.learn(spec)
    quoted = SECRET.replace("/", "%2F")
    texts = [f"GET /x?sig={quoted}", quoted] if "@" in spec.path else [f"Authorization: {SECRET}", json.dumps({"x": SECRET}), repr(SECRET)]
    for text in texts:
        assert SECRET not in redaction.fit(text) and quoted not in redaction.fit(text) and "***" in redaction.fit(text)
    for text in ("somewhere", "port 22", "https://a.blob.core.windows.net", "service_account", "BEGIN"):
        assert redaction.fit(text) == text


def test_no_credential_passes_in_the_quoting_of_a_url() -> None:
    redaction = Redaction()
    redaction.learn(StoreSpec("s", "s3", "s3://b", {"key": "AKIAEXAMPLE", "secret": SECRET}))
    assert redaction.fit("x-amz=wJalr%2FXUtn%2BFEMI%3DK7MDENG&key=AKIAEXAMPLE") == "x-amz=***&key=***"


def test_later_credentials_are_known_too_and_a_files_name_is_none() -> None:
    redaction = Redaction()
    redaction.learn(StoreSpec("s", "s3", "s3://b", {"token": "file:/run/token", "key": "abcd", "secret": "efghi"}))
    redaction.learn(StoreSpec("s", "s3", "s3://b", {"key": "ijkl", "secret": "mnopq"}))
    assert redaction.fit("efghi mnopq /run/token") == "*** *** /run/token"


def test_a_traceback_shows_no_credential() -> None:
    redaction = Redaction()
    redaction.learn(StoreSpec("s", "s3", "s3://b", {"key": "AKIAEXAMPLE", "secret": SECRET}))
    try:
        raise ValueError(f"the server said {SECRET}")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 1, "failed", (), (type(error), error, error.__traceback__))
    said = OneLine(redaction.fit).format(record)
    assert "ValueError: the server said ***" in said and SECRET not in said


# the file


def test_a_log_that_is_moved_away_is_made_anew(tmp_path: Path) -> None:
    target = LogFile(str(tmp_path / "log"))
    target.setFormatter(OneLine())
    target.handle(event("one"))
    (tmp_path / "log").rename(tmp_path / "log.1")
    target.handle(event("two"))
    target.close()
    assert (tmp_path / "log.1").read_text().endswith("one\n")
    assert (tmp_path / "log").read_text().endswith("two\n") and "one" not in (tmp_path / "log").read_text()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_S16_a_log_whose_folder_has_gone_ends_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    target = LogFile(str(tmp_path / "logs/log"))
    target.setFormatter(OneLine())
    target.handle(event("one"))
    shutil.rmtree(tmp_path / "logs")
    for _ in range(2):
        target.handle(event("two"))
    assert "FileNotFoundError" in capsys.readouterr().err
    (tmp_path / "logs").mkdir()
    target.handle(event("three"))
    target.close()
    assert (tmp_path / "logs/log").read_text().endswith("three\n")


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="absent"):
        start_log("warning", str(tmp_path / "absent" / "log"))


@pytest.mark.parametrize(
    ("level", "error", "told"),
    [
        ("info", "No such file or directory", []),
        ("info", "No space left on device", ["ERROR"]),
        ("debug", "No such file or directory", ["DEBUG"]),
    ],
)
def test_an_answer_that_nobody_waits_for_is_no_error(level: str, error: str, told: list[str]) -> None:
    lines, before = Lines(), log_level()
    logger = logging.Logger("pyfuse3")
    logger.addHandler(lines)
    logger.addFilter(Unasked())
    lines.setFormatter(logging.Formatter(": %(levelname)s"))
    log_from(level)
    try:
        logger.error("fuse_release(): fuse_reply_* failed with %s", error)
    finally:
        log_from(before)
    assert lines.lines == told


# what is slow, and what hangs


async def test_what_is_slow_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with SlowLog("request", 0.0).watch("stat", "a b"):
        pass
    with SlowLog("request", 1000.0).watch("stat", "quick"):
        pass
    (record,) = caplog.records
    assert re.search(r': slow request verb=stat about="a b" seconds=0\.\d{3}$', OneLine().format(record))


async def test_S14_what_hangs_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    slow = SlowLog("operation", 0.0, lambda verb, subjects: f"/path/{subjects[0]}")
    running = slow.begin("read", 7)
    slow.tell_hanging()
    slow.tell_hanging()
    (record,) = caplog.records
    assert ": operation without an answer yet verb=read about=/path/7 " in OneLine().format(record)
    slow.end(running)
    slow.tell_hanging()
    assert [record.getMessage() for record in caplog.records] == ["operation without an answer yet", "slow operation"]


async def test_nothing_is_watched_for_without_a_threshold() -> None:
    await SlowLog("request", float("inf")).run()


# what it does


async def test_a_dump_has_a_line_for_each_task(caplog: pytest.LogCaptureFixture) -> None:
    async def waits_for_nobody() -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits_for_nobody)
        await trio.testing.wait_all_tasks_blocked()
        dump()
        nursery.cancel_scope.cancel()
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == f"{len(said) - 1} tasks, as asked for by SIGUSR1"
    (line,) = [line for line in said if "waits_for_nobody: " in line]
    assert re.search(rf": {os.path.basename(__file__)}:\d+ waits_for_nobody > .*sleep_forever", line)
