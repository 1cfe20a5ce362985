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

from storemount.cache.blocks import BlockCache, Buffer, Fetch
from storemount.cache.disk import DiskCache
from storemount.config import MountSettings, boot
from storemount.content.files import Files
from storemount.content.readers import Readers
from storemount.content.warming import Warming
from storemount.disk import Budget
from storemount.errors import Changed
from storemount.fs import FileSystem
from storemount.insight.figures import Figures
from storemount.insight.measures import Usage
from storemount.names.catalog import Catalog
from storemount.names.descriptions import Descriptions
from storemount.names.namespace import Namespace
from storemount.names.tree import Tree
from storemount.names.xattrs import Xattrs
from storemount.stores.base import Artifact, ArtifactStore
from storemount.stores.measured import Measured
from storemount.stores.moves import Whereabouts
from storemount.stores.notes import Notes
from storemount.stores.offline import Offline
from storemount.stores.remembering import Remembering
from storemount.stores.snapshot import Snapshot
from storemount.writeback.application import Application
from storemount.writeback.change import Kind
from storemount.writeback.conflicts import Conflicts
from storemount.writeback.durability import Durability
from storemount.writeback.journal import Journal
from storemount.writeback.ledger import Ledger
from storemount.writeback.publish import Publisher
from storemount.writeback.record import Record
from storemount.writeback.recovery import Recovery
from storemount.writeback.room import Room
from storemount.writeback.slot import JOURNAL
from storemount.writeback.staging import Staging
from storemount.writeback.worker import Bell, Worker


@dataclass(frozen=True, slots=True)
class Tier:
    """What outlives a mount of a store on a network: blocks, and the names of what was warmed. `store`: with those names."""

    store: Offline
    snapshot: Snapshot
    disk: DiskCache
    warming: Warming


@dataclass(frozen=True, slots=True)
class Mount:
    """The parts that somebody outside has a reason to talk to. `taken_up`: changes that an earlier daemon had left."""

    fs: FileSystem
    tree: Tree
    catalog: Catalog
    blocks: BlockCache
    tier: Tier | None
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
    figures: Figures
    taken_up: int


def assemble(
    store: ArtifactStore, settings: MountSettings, folder: Path, identity: str, nursery: trio.Nursery, cache: Path | None = None
) -> Mount:
    """The parts over `store`, with the journal and the staged files in `folder`, and blocks that persist in `cache`; `identity` names the
    store in both.

    `nursery` is where fetches and listings live. The caller awaits `recovery.confirm`, runs `worker.run`, `durability.run` and, where
    there is one, `tier.disk.run`, and closes the ledger, the notes and the snapshot, both of which lie beside `folder`. Raises Unusable
    (the journal), OSError.
    """
    usage = Usage()
    store = measured = Measured(store)
    notes = None
    if store.traits.modes and not store.traits.listed_meta:
        notes = Notes(_beside(folder, identity, "notes"))
        store = Remembering(store, notes, full=settings.metadata == "full")
    budget = Budget(settings.staging_size)
    moves = Whereabouts()
    tier = disk = offline = None
    if cache is not None and settings.disk_cache_size and not store.traits.local_files:
        offline = Offline(store, snapshot := Snapshot.opened(_beside(folder, identity, "warm")))
        disk = DiskCache(_following(offline, moves), identity, cache, settings.disk_cache_size, budget, nursery)
        store, tier = offline, Tier(offline, snapshot, disk, Warming(offline, snapshot, disk))
    fetch = tier.disk.fetch if tier is not None else _following(store, moves)
    tree = Tree(real_directories=store.traits.real_directories, link_suffix=store.traits.link_suffix)
    bell = Bell()
    ledger = Ledger(folder / JOURNAL, store=identity, boot=boot())
    record = Record(ledger, lazy=store.traits.lazy)
    journal = Journal(bell.ring, record, first=ledger.rows[-1].id + 1 if ledger.rows else 1)
    room = Room(folder, budget, settings.staging_wait, journal.hurry_all, tier.disk.give_way if tier is not None else _nothing_gives_way)
    staging = Staging(folder, room)
    durability = Durability(journal, record, ledger, folder, partial(store.sync, ""), immediate=settings.durability == "power")
    blocks = BlockCache(fetch, settings.cache_size, nursery)
    readers = Readers(store, blocks, staging, moves, tier.disk.keeps if tier is not None else _keeps_nothing)
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
    figures = Figures(tree, journal, worker, conflicts, budget, blocks, disk, offline, usage, measured)
    xattrs = Xattrs(store.uri, descriptions, figures.now, room=store.traits.meta_bytes)
    fs = FileSystem(tree, catalog, namespace, files, publisher, journal, durability, store, xattrs, usage, settings)
    return Mount(
        fs=fs,
        tree=tree,
        catalog=catalog,
        blocks=blocks,
        tier=tier,
        journal=journal,
        ledger=ledger,
        publisher=publisher,
        staging=staging,
        room=room,
        worker=worker,
        durability=durability,
        conflicts=conflicts,
        recovery=recovery,
        notes=notes,
        figures=figures,
        taken_up=taken_up,
    )


def _beside(folder: Path, identity: str, ending: str) -> Path:
    """What all mounts of this store on this machine share."""
    return folder.with_name(f"{hashlib.sha256(os.fsencode(identity)).hexdigest()[:16]}.{ending}")


async def _nothing_gives_way() -> bool:
    return False


def _keeps_nothing(_size: int) -> bool:
    return False


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
