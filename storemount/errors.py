"""Every failure storemount names, each with its errno.

What it is: the one table between "what went wrong" and "what the program is told". Stores translate
their clients' exceptions into these classes at their edge; `fs` turns them into errno, here and nowhere else.
What it is not: a place for control flow; a failure that a caller is expected to handle is a return value.
Invariants: above `stores`, a plain `OSError` always means the local disk. Errno numbers stand only in this module.
"""

from __future__ import annotations

import enum
import errno
import os


class StoreMountError(Exception):
    """A named failure. `errno` is what the kernel is told; `transient` says that trying again can help."""

    errno: int = errno.EIO
    transient: bool = False


class NotFound(StoreMountError):
    """The store confirmed that this key does not exist. Never raised for a time-out, a 5xx or a refusal."""

    errno = errno.ENOENT


class AlreadyExists(StoreMountError):
    """The name is taken, and the caller asked for it to be new."""

    errno = errno.EEXIST


class NotADirectory(StoreMountError):
    """A directory was needed; this name is something else."""

    errno = errno.ENOTDIR


class IsADirectory(StoreMountError):
    """Something other than a directory was needed; this name is a directory."""

    errno = errno.EISDIR


class NotEmpty(StoreMountError):
    """The directory still has entries (shown or hidden)."""

    errno = errno.ENOTEMPTY


class Denied(StoreMountError):
    """The store refused the credentials, or the credentials do not allow this."""

    errno = errno.EACCES


class Expired(Denied):
    """The credentials have run out, or cannot be had at the moment. That is not a no: with fresh ones the same request goes through."""

    transient = True


RENEW = "the credentials have expired; renew them where this store takes them from, or mount it again with new ones"
"""What an answer that says so is told as; the service's own word follows."""


class Unrecognised(Denied):
    """The store does not know these keys or this signature, whatever was asked. `code` is the service's own word."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"{what}: {code}")
        self._expired = f"{what}: {RENEW} ({code})"

    def as_expired(self) -> Expired:
        """The same, where they were known before."""
        return Expired(self._expired)


class Forbidden(StoreMountError):
    """POSIX does not let this caller do this (not a matter of the store)."""

    errno = errno.EPERM


class Changed(StoreMountError):
    """The version that was asked for is not in the store any more."""

    errno = errno.ESTALE


class TooLarge(StoreMountError):
    """Larger than the store accepts for one object."""

    errno = errno.EFBIG


class NameTooLong(StoreMountError):
    """A segment over 255 bytes, or a key over the store's limit."""

    errno = errno.ENAMETOOLONG


class InvalidName(StoreMountError):
    """The store cannot hold this name (for instance, it is not UTF-8)."""

    errno = errno.EILSEQ


class Invalid(StoreMountError):
    """An argument that has no meaning here."""

    errno = errno.EINVAL


class Unsupported(StoreMountError):
    """Not offered (S13)."""

    errno = errno.ENOTSUP


class ReadOnly(StoreMountError):
    """The mount or the store is read-only."""

    errno = errno.EROFS


class OtherStore(StoreMountError):
    """The two names are not in the same store, so this cannot be one step."""

    errno = errno.EXDEV


class TooManyLinks(StoreMountError):
    """Symbolic links that lead in a circle."""

    errno = errno.ELOOP


class NoAttribute(StoreMountError):
    """No extended attribute of this name."""

    errno = errno.ENODATA


class AttributeTooLarge(StoreMountError):
    """The caller's buffer, or our limit, is smaller than the attribute."""

    errno = errno.ERANGE


class BadHandle(StoreMountError):
    """The file handle is not known, or not open for this."""

    errno = errno.EBADF


class NoSpace(StoreMountError):
    """The local disk, or the store's quota, is full."""

    errno = errno.ENOSPC


class Corrupt(StoreMountError):
    """The store answered with something that cannot be right (a short body, garbage)."""

    errno = errno.EIO
    transient = True


class Unavailable(StoreMountError):
    """The store answered with a failure of its own (5xx, throttling), or the connection broke."""

    errno = errno.EIO
    transient = True


class Unreachable(Unavailable):
    """No connection to the store: refused, no route, no such host."""

    errno = errno.EHOSTUNREACH


class TimedOut(Unavailable):
    """The store did not answer within the deadline."""

    errno = errno.ETIMEDOUT


class MissingStore(StoreMountError):
    """The bucket, container or root folder itself is missing: not "this key is absent" but "ask again later"."""

    errno = errno.EIO


class Refused(StoreMountError):
    """The store refused this change for good, when an earlier daemon asked; the message says how."""


def errno_of(error: BaseException) -> int | None:
    """The errno a program is told for `error`; None for an exception nobody named (report EIO and log it)."""
    if isinstance(error, StoreMountError):
        return error.errno
    if isinstance(error, OSError):
        return error.errno or errno.EIO
    return None


def errno_name(number: int) -> str:
    """As <errno.h> has it, such as `ENOENT`."""
    return errno.errorcode.get(number, str(number))


def os_error(error: StoreMountError, path: str) -> OSError:
    """`error` as Python's own exception about `path`, of the class that goes with its errno (FileNotFoundError, PermissionError, ...)."""
    said = os.strerror(error.errno)
    return OSError(error.errno, said if isinstance(error, _SAYS_ALL) else f"{said} ({error})", path)


def may_pass(error: Exception | None) -> bool:
    """Whether trying again can help."""
    return isinstance(error, StoreMountError) and error.transient


def refused_for_good(error: Exception | None) -> bool:
    """Whether the store has said no to this very change, and trying again by itself would only ask the same again (S16).

    A failure that nobody named, a missing bucket, expired credentials and a local disk's own trouble are not a no.
    """
    return isinstance(error, _NO) and not isinstance(error, Expired)


EIO = errno.EIO
ENODATA = errno.ENODATA
ENOENT = errno.ENOENT
ENOTSUP = errno.ENOTSUP
EXDEV = errno.EXDEV
ENOSPC = errno.ENOSPC
ENOTCONN = errno.ENOTCONN
"""What the kernel says of a mount whose daemon is gone."""

NO_KERNEL_COPY = frozenset({errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL})
"""How copy_file_range(2) says that it cannot share or copy between these two files."""

NO_NOREPLACE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
"""How renameat2(2) says that this file system cannot refuse to replace."""

NO_LINKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
"""How link(2) says that this file system has no hard links, or that this file may not have another."""

NO_LOCKS = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL})
"""How flock(2) says that this file system has no locks."""

_SAYS_ALL = (NotFound, AlreadyExists, NotADirectory, IsADirectory, NotEmpty, OtherStore)
"""Failures whose errno says it all; the others have something to add."""

_NO = (
    Denied,
    Forbidden,
    NoSpace,
    TooLarge,
    NameTooLong,
    InvalidName,
    Invalid,
    Unsupported,
    OtherStore,
    ReadOnly,
    Changed,
    AlreadyExists,
    NotADirectory,
    IsADirectory,
)

_OF_THE_DISK: dict[int, type[StoreMountError]] = {
    errno.ENOENT: NotFound,
    errno.ENOTDIR: NotADirectory,
    errno.EISDIR: IsADirectory,
    errno.ENOTEMPTY: NotEmpty,
    errno.EEXIST: AlreadyExists,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.ESTALE: Changed,
    errno.ENAMETOOLONG: NameTooLong,
    errno.EILSEQ: InvalidName,
}


def named(error: OSError, key: str) -> StoreMountError | None:
    """The name for what a local folder, used as a store, refused; None for what should keep its own errno (ENOSPC, EIO, EROFS)."""
    kind = _OF_THE_DISK.get(error.errno or 0)
    return None if kind is None else kind(key)


_OF_A_STORE: dict[int, type[StoreMountError]] = {
    **_OF_THE_DISK,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
    errno.EROFS: ReadOnly,
    errno.EFBIG: TooLarge,
    errno.ENOTSUP: Unsupported,
    errno.ETIMEDOUT: TimedOut,
    errno.ECONNREFUSED: Unreachable,
    errno.EHOSTUNREACH: Unreachable,
    errno.ENETUNREACH: Unreachable,
}


def named_in_store(error: OSError) -> type[StoreMountError] | None:
    """The class for an OSError that a client library or a user's class raised for its store; None for one that says nothing."""
    return _OF_A_STORE.get(error.errno or 0)


class ExitCode(enum.IntEnum):
    """How a storemount command ends; the README documents each."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    UNKNOWN_STORE = 3
    BAD_CONFIGURATION = 4
    BAD_MOUNTPOINT = 5
    NO_FUSE = 6
    STORE_UNREACHABLE = 7
    STORE_REFUSED = 8
    STORE_MISSING = 9
    NOT_MOUNTED = 10
    BUSY = 11
    NOT_DRAINED = 12
    JOURNAL_UNUSABLE = 13
    TROUBLE_FOUND = 14
    NOT_WARM = 15


class Refusal(Exception):
    """Something the user has to mend: one line saying what, where and what to do, and the exit code."""

    def __init__(self, code: ExitCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
