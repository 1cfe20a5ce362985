"""Programs that people use every day do on a mount what they do on a disk."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.mounting import Subject

GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "tester",
    "GIT_AUTHOR_EMAIL": "tester@example.invalid",
    "GIT_COMMITTER_NAME": "tester",
    "GIT_COMMITTER_EMAIL": "tester@example.invalid",
}


def run(*words: object, cwd: Path | None = None) -> str:
    """Run a program that has to succeed; its output."""
    command = [os.fspath(word) if isinstance(word, Path) else str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **GIT}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small tree with what archivers have to keep: modes, times, links, empty directories, odd names."""
    base = tmp_path / "tree"
    for folder in ("empty", "deep/er/still", "späce d"):
        (base / folder).mkdir(parents=True)
    for number in range(30):
        path = base / ("deep", "deep/er", "späce d")[number % 3] / f"file {number}"
        path.write_bytes(bytes([number]) * (number * 997))
        path.chmod((0o644, 0o600, 0o755)[number % 3])
        os.utime(path, (1_500_000_000 + number, 1_500_000_000 + number))
    (base / "link").symlink_to("deep/er/file 1")
    (base / "deep/er/dangling").symlink_to("no/where")
    return base


def described(base: Path) -> dict[str, tuple[object, ...]]:
    """Type, mode, time, and content of everything below."""
    found: dict[str, tuple[object, ...]] = {}
    for path in base.rglob("*"):
        status = path.lstat()
        content: object = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        time = int(status.st_mtime) if path.is_file() and not path.is_symlink() else 0
        found[str(path.relative_to(base))] = (oct(status.st_mode), time, content)
    return found


def test_cp_archive(root: Path, tree: Path) -> None:
    run("cp", "-a", tree, root / "copy")
    assert described(root / "copy") == described(tree)
    run("cp", "-a", root / "copy", root / "again")
    assert described(root / "again") == described(tree)


def test_tar(root: Path, tree: Path, tmp_path: Path) -> None:
    run("tar", "-C", tree, "-czf", root / "archive.tar.gz", ".")
    (root / "out").mkdir()
    run("tar", "-C", root / "out", "-xpzf", root / "archive.tar.gz")
    assert described(root / "out") == described(tree)
    run("tar", "-C", root, "-cf", tmp_path / "back.tar", "out")
    run("tar", "-C", tmp_path, "-xpf", tmp_path / "back.tar")
    assert described(tmp_path / "out") == described(tree)


def test_rsync(root: Path, tree: Path) -> None:
    """The second run has nothing to do; a changed file and a deleted one are carried over."""
    run("rsync", "-a", f"{tree}/", root / "copy")
    assert described(root / "copy") == described(tree)
    again = run("rsync", "-a", "--itemize-changes", f"{tree}/", root / "copy")
    assert [line for line in again.splitlines() if line.startswith((">f", "<f"))] == []
    (tree / "deep/file 0").write_bytes(b"changed")
    (tree / "deep/file 3").unlink()
    run("rsync", "-a", "--delete", "--inplace", f"{tree}/", root / "copy")
    assert (root / "copy/deep/file 0").read_bytes() == b"changed"
    assert not (root / "copy/deep/file 3").exists()


def test_find_du_and_wc(root: Path, tree: Path) -> None:
    run("cp", "-a", tree, root / "copy")
    here, there = (sorted(run("find", ".", "-printf", "%y %P %l\\n", cwd=base).splitlines()) for base in (root / "copy", tree))
    assert here == there
    assert run("find", root, "-newermt", "2020-01-01", "-name", "file *", "-type", "f") == ""
    assert int(run("du", "-sb", "--apparent-size", root / "copy/deep/er").split()[0]) > 50_000
    assert run("grep", "-rlc", "\x05", root / "copy").splitlines() != []


def test_mv_between_file_systems(root: Path, tree: Path, tmp_path: Path) -> None:
    before = described(tree)
    run("mv", tree, root / "moved")
    assert not tree.exists()
    assert described(root / "moved") == before
    run("mv", root / "moved", tmp_path / "back")
    assert described(tmp_path / "back") == before
    assert os.listdir(root) == []


def test_rm_recursive(root: Path, tree: Path) -> None:
    run("cp", "-a", tree, root / "copy")
    run("rm", "-r", root / "copy")
    assert os.listdir(root) == []


def test_shell_redirection(root: Path) -> None:
    script = "echo one > a; echo two >> a; cat a a > b; sed -i s/two/TWO/ a; sort -o a a; head -c 3 b > c; : > b; mv c b; ln -s a d; cat d"
    assert run("sh", "-ec", script, cwd=root) == "TWO\none\n"
    assert (root / "b").read_text() == "one"


def test_dd_without_truncation(root: Path, tmp_path: Path) -> None:
    for base in (root, tmp_path):
        run("dd", "if=/dev/zero", "of=image", "bs=4096", "count=16", cwd=base)
        run("dd", "if=/bin/sh", "of=image", "bs=512", "count=3", "seek=20", "conv=notrunc,fsync", cwd=base)
    assert filecmp.cmp(root / "image", tmp_path / "image", shallow=False)


def test_git(root: Path, tmp_path: Path, subject: Subject) -> None:
    """Clone a repository into the mount, check it, commit in it, repack it, and push back."""
    origin = tmp_path / "origin"
    run("git", "init", "-q", "-b", "trunk", origin)
    for number in range(20):
        (origin / f"file{number}").write_text(f"content {number}\n" * number)
        if number % 5 == 0:
            run("git", "add", "-A", cwd=origin)
            run("git", "commit", "-qm", f"step {number}", cwd=origin)
    run("git", "add", "-A", cwd=origin)
    run("git", "commit", "-qm", "last", cwd=origin)
    clone = root / "clone"
    run("git", "clone", "-q", "--no-hardlinks", origin, clone)
    run("git", "fsck", "--strict", cwd=clone)
    assert run("git", "status", "--porcelain", cwd=clone) == ""
    (clone / "file1").write_text("changed here\n")
    run("git", "commit", "-qam", "from the mount", cwd=clone)
    run("git", "gc", "-q", cwd=clone)
    run("git", "fsck", "--strict", cwd=clone)
    run("git", "push", "-q", "origin", "HEAD:refs/heads/side", cwd=clone)
    assert "from the mount" in run("git", "log", "--format=%s", "side", cwd=origin)


def test_zip_append(root: Path) -> None:
    """An archive is grown in place: read at the end, overwritten from there."""
    archive = root / "archive.zip"
    for number in range(5):
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr(f"member{number}", f"content {number}\n" * 1000)
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None
        assert len(file.namelist()) == 5
    (root / "extra").write_bytes(b"by the program zip")
    run("zip", "-q", "archive.zip", "extra", cwd=root)
    assert "No errors" in run("unzip", "-t", archive)
    assert sorted(os.listdir(root)) == ["archive.zip", "extra"]


def test_python_compiles_and_imports_from_the_mount(root: Path) -> None:
    (root / "package").mkdir()
    (root / "package/__init__.py").write_text("from .inner import answer\n")
    (root / "package/inner.py").write_text("answer = 42\n")
    script = "import package; print(package.answer)"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)
        assert done.stdout == "42\n"


def test_make_sees_what_is_newer(root: Path) -> None:
    """Times compare as on a disk: what was just built is up to date, what was touched is not."""
    (root / "Makefile").write_text("out: in\n\tcp in out\n")
    (root / "in").write_text("one")
    os.utime(root / "in", (10**9, 10**9))
    assert "cp in out" in run("make", cwd=root)
    assert "up to date" in run("make", cwd=root)
