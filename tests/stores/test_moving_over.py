"""File systems of fsspec that move nothing over what is there: a file is written again all the same (S6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from storemount.errors import AlreadyExists, Changed
from storemount.stores.flavors import StoreSpec, open_store
from tests.stores.conftest import SourceMaker


class Silent(LocalFileSystem):
    """As WebHDFS, whose RENAME answers 200 with `{"boolean": false}`."""

    protocol = "silent"

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        if not self.exists(path2):
            super().mv(path1, path2, **kwargs)


class Strict(LocalFileSystem):
    """As SMB, without `replace_if_exists`."""

    protocol = "strict"

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        if self.exists(path2):
            raise FileExistsError(path2)
        super().mv(path1, path2, **kwargs)


@pytest.fixture(params=[Silent, Strict])
def protocol(request: pytest.FixtureRequest) -> str:
    fsspec.register_implementation(request.param.protocol, request.param, clobber=True)
    return str(request.param.protocol)


async def test_S6_a_file_is_replaced(protocol: str, tmp_path: Path, source: SourceMaker) -> None:
    root = tmp_path / "root"
    root.mkdir()
    store = open_store(StoreSpec("s", "custom", f"{protocol}://{root}"))
    first = await store.write("f", source(b"first"))
    second = await store.write("f", source(b"other"), over=first)
    assert (root / "f").read_bytes() == b"other"
    assert bytes(await store.read(second, 0, 5)) == b"other"
    with pytest.raises(Changed):
        await store.write("f", source(b"third"), over=first)
    with pytest.raises(AlreadyExists):
        await store.write("f", source(b"third"), absent=True)
    await store.write("f", source(b"larger than that"))
    assert [(path.name, path.read_bytes()) for path in root.iterdir()] == [("f", b"larger than that")]
    await store.aclose()
