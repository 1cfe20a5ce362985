"""The edge of the stores, where a client library's exceptions get our names.

What it is: the one block around every call of a client library.
What it is not: the translation of any one library (each has a module of its own).
Invariant: an exception that has a name already passes unchanged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from storemount.errors import StoreMountError


@contextlib.contextmanager
def translated(translate: Callable[[Exception, str], StoreMountError], what: str) -> Iterator[None]:
    """Whatever is raised in the block leaves as `translate(error, what)`."""
    try:
        yield
    except StoreMountError:
        raise
    except Exception as error:
        raise translate(error, what) from error
