"""A disk that forgets: a folder that is put back to what it was when the journal in it was synced last.

What it is: a power cut without a kernel, for a mount in this process; the next daemon finds another boot.
What it is not: a disk whose kernel has written some of the rest by itself (tests/crash has that one).
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from storemount.writeback.ledger import Ledger

_boots = itertools.count(1)


class ForgetfulDisk:
    """Of what is below `folder`; `kept` is where its copy lies meanwhile. `synced` is told of each sync."""

    def __init__(self, folder: Path, kept: Path, patch: pytest.MonkeyPatch, synced: Callable[[Ledger], None] | None = None) -> None:
        self._folder = folder
        self._kept = kept
        self._patch = patch
        self._synced = synced
        shutil.copytree(folder, kept)
        sync = Ledger.sync

        def sync_and_keep(ledger: Ledger) -> None:
            sync(ledger)
            self._keep(ledger)

        patch.setattr(Ledger, "sync", sync_and_keep)

    def _keep(self, ledger: Ledger) -> None:
        shutil.rmtree(self._kept)
        shutil.copytree(self._folder, self._kept)
        if self._synced is not None:
            self._synced(ledger)

    def cut(self) -> None:
        """The power goes, and the machine starts again. Nothing has the folder open."""
        shutil.rmtree(self._folder)
        shutil.copytree(self._kept, self._folder)
        boot = f"after {next(_boots)} power cuts"
        self._patch.setattr("storemount.assembly.boot", lambda: boot)
