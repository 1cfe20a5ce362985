"""A mount's parts, put together bottom-up.

What it is: the one place that knows which part needs which.
What it is not: a daemon: no kernel, no signals; tests assemble a mount over any store and call its verbs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import trio

from storemount.cache.blocks import BlockCache, Buffer, Fetch
from storemount.catalog import Catalog
from storemount.config import MountSettings
from storemount.errors import Changed
from storemount.files import Files
from storemount.fs import FileSystem
from storemount.namespace import Namespace
from storemount.publish import Publisher
from storemount.stores.base import Artifact, ArtifactStore
from storemount.stores.moves import Whereabouts
from storemount.tree import Tree
from storemount.writeback.journal import Journal, Kind
from storemount.writeback.staging import Staging
from storemount.writeback.worker import Bell, Worker
from storemount.xattrs import Xattrs


@dataclass(frozen=True, slots=True)
class Mount:
    """The parts that somebody outside has a reason to talk to."""

    fs: FileSystem
    tree: Tree
    catalog: Catalog
    blocks: BlockCache
    journal: Journal
    publisher: Publisher
    staging: Staging
    worker: Worker


def assemble(store: ArtifactStore, settings: MountSettings, staging_folder: Path, nursery: trio.Nursery) -> Mount:
    """The parts over `store`; `nursery` is where fetches and listings live. The caller runs `worker.run`."""
    tree = Tree(real_directories=store.traits.real_directories)
    moves = Whereabouts()
    bell = Bell()
    journal = Journal(bell.ring)
    staging = Staging(staging_folder)
    blocks = BlockCache(_following(store, moves), settings.cache_size, nursery)
    publisher = Publisher(tree, store, journal, moves, settings)
    files = Files(tree, store, blocks, staging, publisher, moves)
    catalog = Catalog(tree, store, journal, settings.ttl, nursery)
    namespace = Namespace(tree, catalog, files, store, journal, publisher, moves, staging, settings)
    worker = Worker(
        journal,
        bell,
        {
            Kind.PUT: publisher.put,
            Kind.DELETE: namespace.delete,
            Kind.MOVE: namespace.move,
            Kind.MKDIR: namespace.make_marker,
            Kind.RMDIR: namespace.delete_marker,
        },
        settings.uploads,
    )
    fs = FileSystem(tree, catalog, namespace, files, publisher, store, Xattrs(store.uri), settings)
    return Mount(fs, tree, catalog, blocks, journal, publisher, staging, worker)


def _following(store: ArtifactStore, moves: Whereabouts) -> Fetch:
    """`store.read`, for artifacts whose bytes may have moved to another key."""

    async def read(artifact: Artifact, start: int, stop: int) -> Buffer:
        place = moves.of(artifact)
        try:
            return await store.read(place, start, stop)
        except Changed:
            # It has moved since, or the same bytes have come back under their own key.
            for other in (moves.of(artifact), artifact):
                if other != place:
                    return await store.read(other, start, stop)
            raise

    return read
