"""mount(8)'s `-o` words: `-o ro,allow_other,ttl=5s,_netdev`.

What it is: the translation of each word into the option of `storemount mount` that it means.
What it is not: a second set of options; a value is read, and refused, by the option itself.
Invariant: a word is translated, handed to the kernel, known to be for mount(8) or systemd only, or refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator

FLAGS = {
    "ro": "--read-only",
    "rw": "--read-write",
    "allow_other": "--allow-other",
    "immutable": "--immutable",
    "nonempty": "--nonempty",
    "write_through": "--durability=store",
    "offline_start": "--offline-start",
    "supervise": "--supervise",
}
VALUES = frozenset(
    [
        "ttl",
        "cache_size",
        "names",
        "staging_dir",
        "staging_size",
        "disk_cache_size",
        "staging_wait",
        "exclusive_create",
        "metadata",
        "uid",
        "gid",
        "umask",
        "file_mode",
        "dir_mode",
        "deadline",
        "drain_timeout",
        "durability",
        "fsync",
        "uploads",
        "engine",
        "metrics_listen",
        "log_file",
        "log_level",
    ]
)
"""Words that are an option of the same name."""

KERNEL = frozenset(
    [
        "dev",
        "nodev",
        "suid",
        "nosuid",
        "exec",
        "noexec",
        "async",
        "sync",
        "dirsync",
        "atime",
        "noatime",
        "nodiratime",
        "norelatime",
        "nostrictatime",
    ]
)
KERNEL_VALUES = frozenset(["max_read", "blksize", "context", "fscontext", "defcontext", "rootcontext"])
BOOKKEEPING = frozenset(
    [
        "defaults",
        "auto",
        "noauto",
        "user",
        "nouser",
        "users",
        "owner",
        "group",
        "nofail",
        "_netdev",
        "relatime",
        "diratime",
        "strictatime",
        "loud",
        "silent",
        "default_permissions",
    ]
)
_BOOKKEEPING = re.compile(r"x-|X-|comment=|uhelper=|helper=")


def spelled_out(lists: Iterable[str]) -> Iterator[str]:
    """The command-line words for these `-o` values. Raises ValueError, with a message for the user, for a word nobody knows."""
    for word in _words(lists):
        name, equals, value = word.partition("=")
        if word in FLAGS:
            yield FLAGS[word]
        elif name.replace("-", "_") in VALUES and equals:
            yield f"--{name.replace('_', '-')}={value}"
        elif word in KERNEL or (name in KERNEL_VALUES and equals):
            yield f"--fuse-option={word}"
        elif word not in BOOKKEEPING and not _BOOKKEEPING.match(word):
            raise ValueError(_unknown(name, bool(equals)))


def _words(lists: Iterable[str]) -> Iterator[str]:
    r"""Commas separate; one in double quotes (a security context) or after a backslash does not."""
    for text in lists:
        for match in re.finditer(r'(?:\\.|"[^"]*"|[^,])+', text):
            yield re.sub(r'\\(.)|"', r"\1", match[0])


def _unknown(name: str, has_value: bool) -> str:
    if name in VALUES | KERNEL_VALUES:
        return f"-o {name} needs a value; write -o {name}=VALUE"
    if has_value and name in FLAGS.keys() | KERNEL | BOOKKEEPING:
        return f"-o {name} takes no value; write -o {name}"
    near = difflib.get_close_matches(name, [*FLAGS, *VALUES, *KERNEL, *KERNEL_VALUES, *BOOKKEEPING], n=3, cutoff=0.6)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    return f"-o {name} is not known{hint}"
