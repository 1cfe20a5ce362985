"""What is particular to Azure: directories as its own tools make them, names it cannot hold, blocks, and what a description may say."""

from __future__ import annotations

import gc
import hashlib
import threading

import pytest
import trio

from storemount.errors import AlreadyExists, Changed, InvalidName, MissingStore, NotFound
from storemount.stores import azure as azure_module
from storemount.stores import native as native_module
from storemount.stores.base import EMPTY, ArtifactStore, Child, Meta, Source
from tests.stores.conftest import ENGINES, SourceMaker, Subject, azure_store
from tests.stores.test_contract import names, rows, same
from tests.support.azurite import AzureServer, ContainerView

LARGE = 20 * 1024 * 1024 + 12345

engines = pytest.mark.parametrize("engine", ENGINES)


def view(azure: Subject) -> ContainerView:
    assert isinstance(azure.outside, ContainerView)
    return azure.outside


async def test_s11_a_directory_is_what_blobfuse2_and_hadoop_make(azure: Subject) -> None:
    made = await azure.store.write("d/", EMPTY)
    assert made.key == "d/"
    assert azure.outside.list() == {"d": 0}
    assert view(azure).metadata("d") == {"hdi_isfolder": "true"}
    assert await azure.store.stat("d") == Child("d", None)
    await azure.store.write("d/", EMPTY)
    await azure.store.delete(["d/"])
    assert azure.outside.list() == {}
    with pytest.raises(NotFound):
        await azure.store.stat("d")


@pytest.mark.parametrize("capital", [False, True], ids=["lower", "capital"])
async def test_s11_directories_that_other_tools_made_are_shown_once(azure: Subject, capital: bool) -> None:
    """blobfuse2's, with something below it and without; rclone's, with its slash; and one that only what is below it makes."""
    for name in ("empty", "full", "full/inner"):
        view(azure).put(name, metadata={"Hdi_isfolder" if capital else "hdi_isfolder": "true"})
    for key in ("full/f", "slash/", "implicit/f", "zero"):
        view(azure).put(key)
    assert await names(azure.store) == ["empty/", "full/", "implicit/", "slash/", "zero"]
    assert await names(azure.store, "full/") == ["f", "inner/"]
    assert await names(azure.store, "empty/") == []
    for name in ("empty", "full", "slash", "implicit"):
        assert await azure.store.stat(name) == Child(name, None)
    below = {row.name: row.artifact.key for row in await rows(azure.store, recursive=True) if row.artifact is not None}
    assert below == {key: key for key in ("empty/", "full/", "full/f", "full/inner/", "slash/", "implicit/f", "zero")}


async def test_s2_a_directory_never_takes_the_place_of_a_file(azure: Subject, source: SourceMaker) -> None:
    view(azure).put("f", b"a file")
    made = await azure.store.write("f/", EMPTY)
    assert made.key == "f/"
    assert azure.outside.list() == {"f": 6, "f/": 0}
    assert await azure.store.stat("f") == Child("f", None)
    await azure.store.delete(["f/"])
    assert azure.outside.list() == {"f": 6}
    await azure.store.delete(["f/"])
    assert azure.outside.get("f") == b"a file"


async def test_s9_a_directory_in_either_dialect_is_there_already(azure: Subject) -> None:
    view(azure).folder("stub")
    view(azure).put("f", b"a file")
    view(azure).put("f/")
    for key in ("stub/", "f/"):
        with pytest.raises(AlreadyExists):
            await azure.store.write(key, EMPTY, absent=True)
    assert azure.outside.list() == {"stub": 0, "f": 6, "f/": 0}


@pytest.mark.parametrize(
    "key", ["a\\b", "ctrl\x01", "d/../x", "./x", "dot./x", "dots...", "new\nline", "\x7f", "x\ufffe", "a/" * 254 + "b"]
)
async def test_a_name_that_azure_would_change_is_refused(azure: Subject, source: SourceMaker, key: str) -> None:
    made = await azure.store.write("f", source(b"x"))
    with pytest.raises(InvalidName):
        await azure.store.write(key, source(b"x"))
    with pytest.raises(InvalidName):
        await azure.store.write(key + "/", EMPTY)
    with pytest.raises(InvalidName):
        await azure.store.copy(made, key)
    with pytest.raises(NotFound):
        await azure.store.stat(key)
    assert azure.outside.list() == {"f": 1}


async def test_s2_hostile_keys_can_be_addressed_on_azure(azure: Subject, source: SourceMaker) -> None:
    for key in ("a//b", "//", "c/d//"):
        made = await azure.store.write(key, source(b"" if key.endswith("/") else key.encode()))
        assert key in azure.outside.list()
        if made.size:
            assert bytes(await azure.store.read(made, 0, made.size)) == key.encode()
    await azure.store.delete(list(azure.outside.list()))
    assert azure.outside.list() == {}


async def test_s6_a_cancelled_upload_to_azure_is_nothing(azure: Subject, source: SourceMaker) -> None:
    """Its blocks are seen by nobody. The real service also drops them with the next write of the key; Azurite keeps them."""
    big = source(b"x" * (3 * LARGE))
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(azure.store.write, "big", big)
            while not await trio.to_thread.run_sync(view(azure).blocks, "big"):
                assert azure.outside.list() == {}, "the upload ended before it could be cancelled"
            scope.cancel()
    assert azure.outside.list() in ({}, {"big": big.size})
    await azure.store.sweep("big")
    await azure.store.write("big", source(b"whole"))
    assert azure.outside.list() == {"big": 5}


@pytest.mark.filterwarnings("ignore:.*(_SelectorTransport|<socket.socket):pytest.PytestUnraisableExceptionWarning")
async def test_s6_an_upload_goes_through_over_what_a_killed_one_left(
    azure_server: AzureServer, container: ContainerView, source: SourceMaker
) -> None:
    """All blocks of one blob have names of one length, whichever engine sent them. (A connection that is cut with a block half sent is
    closed by asyncio only when the server has read the rest.)"""
    data = hashlib.shake_256(b"seed").digest(2 * LARGE)
    native, fsspec = (azure_store(azure_server, container.uri, engine) for engine in ENGINES)
    for killed, after, key in ((native, fsspec, "one"), (fsspec, native, "two")):
        await unfinished(killed, container, key, source(data))
        base = await after.write(key, source(b"base"))
        await unfinished(killed, container, key, source(data))
        made = await after.write(key, source(data), over=base)
        assert same((await after.stat(key)).artifact, made)
        assert container.get(key) == data
    for store in (native, fsspec):
        await store.aclose()
    gc.collect()


async def unfinished(store: ArtifactStore, container: ContainerView, key: str, big: Source) -> None:
    """Blocks of `key` that nobody committed."""
    with pytest.MonkeyPatch.context() as patch:
        sent = threading.Event()

        def some(source: Source, start: int, stop: int) -> bytes:
            if stop == big.size:
                # Not before: the native client keeps a few parts back.
                sent.wait(30)
                raise OSError("the writer was killed")
            return b"x" * (stop - start)

        for module in (azure_module, native_module):
            patch.setattr(module, "read_part", some)
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                with pytest.raises(OSError, match="killed"):
                    await store.write(key, big)

            nursery.start_soon(write)
            with trio.fail_after(30):
                while not await trio.to_thread.run_sync(container.blocks, key):
                    pass
            sent.set()


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "over"])
async def test_S9_what_another_wrote_during_an_upload_to_azure_stays(
    azure: Subject, source: SourceMaker, absent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = None if absent else await azure.store.write("f", source(b"base"))
    sending, written = threading.Event(), threading.Event()

    def read_later(source: Source, start: int, stop: int) -> bytes:
        sending.set()
        assert written.wait(30)
        return b"x" * (stop - start)

    monkeypatch.setattr(azure_module, "read_part", read_later)
    async with trio.open_nursery() as nursery:

        async def upload() -> None:
            with pytest.raises(AlreadyExists if absent else Changed):
                await azure.store.write("f", source(b"x" * LARGE), over=base, absent=absent)

        nursery.start_soon(upload)
        await trio.to_thread.run_sync(sending.wait, 30)
        await trio.to_thread.run_sync(azure.outside.put, "f", b"theirs")
        written.set()
    assert azure.outside.get("f") == b"theirs"


async def test_s12_metadata_goes_with_the_write_to_azure(azure: Subject, source: SourceMaker) -> None:
    for key, content in (("f", b"x"), ("big", b"x" * LARGE)):
        made = await azure.store.write(key, source(content, Meta(mtime_ns=1_700_000_000_123_456_789, mode=0o100750)))
        await azure.store.copy(made, key + "2")
        for name in (key, key + "2"):
            assert view(azure).metadata(name) == {"mtime": "2023-11-14T22:13:20.123456789Z", "mode": "0100750"}


@engines
async def test_a_prefix_of_a_container_is_a_root(engine: str, container: ContainerView, source: SourceMaker) -> None:
    container.put("pre/fix-not/x", b"outside")
    container.folder("pre/fix")
    store = azure_store(container.server, container.uri + "/pre/fix/", engine)
    assert store.uri == container.uri + "/pre/fix"
    await store.check()
    await store.write("a/b", source(b"inside"))
    await store.write("a//b", source(b"hidden"))
    await store.write("d/", EMPTY)
    assert await names(store) == ["a/", "d/"]
    assert {row.name for row in await rows(store, recursive=True)} == {"a/b", "a//b", "d/"}
    made = (await store.stat("a/b")).artifact
    assert made is not None
    await store.copy(made, "c")
    assert container.get("pre/fix/c") == b"inside"
    await store.delete(["a/b", "a//b", "c", "d/", *(f"n{number}" for number in range(60))])
    assert set(container.list()) == {"pre/fix-not/x", "pre/fix"}
    await store.aclose()


@engines
async def test_s3_a_missing_container_is_not_a_missing_key(engine: str, azure_server: AzureServer, source: SourceMaker) -> None:
    store = azure_store(azure_server, "abfs://never-made", engine)
    with pytest.raises(MissingStore):
        await store.check()
    with pytest.raises(MissingStore):
        await store.stat("key")
    with pytest.raises(MissingStore):
        await rows(store)
    for size in (1, LARGE):
        with pytest.raises(MissingStore):
            await store.write("key", source(b"x" * size))
    with pytest.raises(MissingStore):
        await store.write("d/", EMPTY)
    await store.aclose()


@engines
async def test_a_long_listing_from_azure_follows_every_page(engine: str, container: ContainerView, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_module, "PAGE", 20)
    monkeypatch.setattr(native_module, "PAGE", 20)
    for number in range(50):
        container.put(f"d/{number:05}", b"x")
        if number % 10 == 0:
            container.folder(f"d/{number:05}-folder")
            container.put(f"d/{number:05}-folder/x", b"x")
    store = azure_store(container.server, container.uri, engine)
    expected = [f"{number:05}" for number in range(50)] + [f"{number:05}-folder/" for number in range(0, 50, 10)]
    assert await names(store, "d/") == sorted(expected)
    await store.aclose()
