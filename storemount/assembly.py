"""A mount's parts, put together bottom-up.

What it is: the one place that knows which part needs which.
What it is not: a daemon: no kernel, no signals; tests assemble a mount over any store and call its verbs.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from storemount.application import Application
from storemount.cache.blocks import BlockCache, Buffer, Fetch
from storemount.catalog import Catalog
from storemount.config import MountSettings, boot
from storemount.conflicts import Conflicts
from storemount.descriptions import Descriptions
from storemount.errors import Changed
from storemount.files import Files
from storemount.fs import FileSystem
from storemount.namespace import Namespace
from storemount.publish import Publisher
from storemount.readers import Readers
from storemount.recovery import Recovery
from storemount.stores.base import Artifact, ArtifactStore
from storemount.stores.moves import Whereabouts
from storemount.stores.notes import Notes
from storemount.stores.remembering import Remembering
from storemount.tree import Tree
from storemount.writeback.change import Kind
from storemount.writeback.durability import Durability
from storemount.writeback.journal import Journal
from storemount.writeback.ledger import Ledger
from storemount.writeback.record import Record
from storemount.writeback.room import Room
from storemount.writeback.slot import JOURNAL
from storemount.writeback.staging import Staging
from storemount.writeback.worker import Bell, Worker
from storemount.xattrs import Xattrs


@dataclass(frozen=True, slots=True)
class Mount:
    """The parts that somebody outside has a reason to talk to. `taken_up`: changes that an earlier daemon had left."""

    fs: FileSystem
    tree: Tree
    catalog: Catalog
    blocks: BlockCache
    journal: Journal
    ledger: Ledger
    publisher: Publisher
    staging: Staging
    room: Room
    worker: Worker
    durability: Durability
    conflicts: Conflicts
    recovery: Recovery
    notes: Notes | None
    taken_up: int


def assemble(store: ArtifactStore, settings: MountSettings, folder: Path, identity: str, nursery: trio.Nursery) -> Mount:
    """The parts over `store`, with the journal and the staged files in `folder`; `identity` names the store in the journal.

    `nursery` is where fetches and listings live. The caller awaits `recovery.confirm`, runs `worker.run` and `durability.run`, and closes
    the ledger and the notes. The notes lie beside `folder`. Raises Unusable (the journal), OSError.
    """
    notes = None
    if store.traits.modes and not store.traits.listed_meta:
        notes = Notes(folder.with_name(f"{hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]}.notes"))
        store = Remembering(store, notes, full=settings.metadata == "full")
    tree = Tree(real_directories=store.traits.real_directories, link_suffix=store.traits.link_suffix)
    moves = Whereabouts()
    bell = Bell()
    ledger = Ledger(folder / JOURNAL, store=identity, boot=boot())
    record = Record(ledger, lazy=store.traits.lazy)
    journal = Journal(bell.ring, record, first=ledger.rows[-1].id + 1 if ledger.rows else 1)
    room = Room(folder, settings.staging_size, settings.staging_wait, journal.hurry_all)
    staging = Staging(folder, room)
    durability = Durability(journal, record, ledger, folder, partial(store.sync, ""), immediate=settings.durability == "power")
    fetch = _following(store, moves)
    blocks = BlockCache(fetch, settings.cache_size, nursery)
    readers = Readers(store, blocks, staging, moves)
    conflicts = Conflicts(tree, store, journal, readers)
    descriptions = Descriptions(tree, store, moves, settings)
    publisher = Publisher(tree, store, journal, durability, staging, moves, conflicts, descriptions, settings)
    files = Files(tree, store, fetch, blocks, readers, staging, room, publisher)
    catalog = Catalog(tree, store, journal, settings.ttl, settings.deadline, nursery)
    namespace = Namespace(tree, catalog, files, store, journal, publisher, staging, settings)
    application = Application(tree, store, journal, readers, moves, descriptions, settings.ttl)
    appliers = {
        Kind.PUT: publisher.put,
        Kind.MOVE: application.move,
        Kind.MKDIR: application.make_marker,
        Kind.ANNOTATE: application.annotate,
    }
    worker = Worker(journal, bell, durability.before, appliers, application.remove, publisher.may_start, publisher.failed, settings.uploads)
    recovery = Recovery(tree, journal, ledger, staging, readers, store)
    taken_up = recovery.read_back()
    xattrs = Xattrs(store.uri, descriptions, room=store.traits.meta_bytes)
    fs = FileSystem(tree, catalog, namespace, files, publisher, journal, durability, store, xattrs, settings)
    return Mount(
        fs, tree, catalog, blocks, journal, ledger, publisher, staging, room, worker, durability, conflicts, recovery, notes, taken_up
    )


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
