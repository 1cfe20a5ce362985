"""How we learn names: the tree's answer while it is fresh, else the store's.

What it is: lookups and listings, one question to the store however many ask, and the time an answer may be believed (S3).
What it is not: changing names (`namespace`), or keeping them (`tree`).
Invariants:
- Only a confirmed "not found" means absent; any other failure is raised, and what was known stays known.
- An answer is as old as its question: freshness counts from when the question was asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field

import trio

from storemount.errors import MissingStore, NotADirectory, NotFound, TimedOut
from storemount.names.nodes import Folder, Node
from storemount.names.tree import Tree
from storemount.stores.base import ArtifactStore, Child
from storemount.writeback.change import Change, State
from storemount.writeback.journal import Journal

STATS_BEFORE_LISTING = 4
"""After so many single questions about one directory, within its time to live, the whole directory is asked for beside the next one:
a listing answers a thousand names in one request."""

LISTED_UNASKED = 10_000
"""A directory known to have more entries is listed only when a program lists it."""


class Listing:
    """One pass over a directory, shared by everybody who wants it: the nodes in the order in which they came."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.done = False
        self.error: Exception | None = None
        self._news = trio.Event()

    def tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def more(self) -> None:
        """Until something has changed since the caller looked."""
        await self._news.wait()


@dataclass(slots=True, eq=False)
class _Question:
    """One name on its way to the store: when it was asked for (trio time), the answer, and why none came."""

    begun: float = field(default_factory=trio.current_time)
    answered: trio.Event = field(default_factory=trio.Event)
    node: Node | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a directory is: its name in the mount, and its key in the store, which differ while a move is pending."""

    path: str
    key: str


class Entries:
    """An open directory: its names by position, each as soon as it is known; last those that the store does not have yet.

    Names, as another node may have the same one when its turn comes: a file that was saved anew was there all the time (S11)."""

    def __init__(self, catalog: Catalog, parent: Node) -> None:
        self.parent = parent
        self._catalog = catalog
        self.rewind()

    def rewind(self) -> None:
        """Look again (rewinddir). Nothing is asked before the first `at`."""
        self._names: list[str] = []
        self._given: set[str] = set()
        self._taken = 0
        self._listing: Listing | None = None
        self._begun = self._ended = False

    async def at(self, position: int) -> str | None:
        """The name at this position; None past the end. Raises what the store raises."""
        while position >= len(self._names) and not self._ended:
            await self._more()
        return self._names[position] if position < len(self._names) else None

    def node(self, name: str) -> Node | None:
        """What has this name now; None when nothing has."""
        return _folder(self.parent).children.get(name)

    async def _more(self) -> None:
        if not self._begun:
            self._begun, self._listing = True, self._catalog.listing(self.parent)
        listing = self._listing
        if listing is not None and self._taken < len(listing.nodes):
            self._take(listing.nodes[self._taken :])
            self._taken = len(listing.nodes)
        elif listing is not None and listing.error is not None:
            raise listing.error
        elif listing is None or listing.done:
            self._take(_folder(self.parent).children.values())
            self._ended = True
        else:
            await listing.more()

    def _take(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            if node.name not in self._given:  # A file, then on a later page the directory that hides it (S2).
                self._given.add(node.name)
                self._names.append(node.name)


class Catalog:
    """Names by asking. `nursery` is where listings run on, so that a reader who gives up disturbs nobody. `deadline`: seconds that a
    question waits for a move that may have happened already."""

    def __init__(self, tree: Tree, store: ArtifactStore, journal: Journal, ttl: float, deadline: float, nursery: trio.Nursery) -> None:
        self._tree = tree
        self._store = store
        self._journal = journal
        self._ttl = ttl
        self._deadline = deadline
        self._nursery = nursery
        self._listings: dict[int, Listing] = {}
        self._asking: dict[tuple[int, str], _Question] = {}

    # lookups

    def known(self, parent: Node, name: str) -> tuple[bool, Node | None]:
        """Whether the tree's answer holds, and the answer (None: there is no such name). No checkpoint."""
        folder = _folder(parent)
        now = trio.current_time()
        node = folder.children.get(name)
        if node is not None:
            return folder.unborn or self.fresh(node), node
        if folder.unborn or name in folder.leaving:
            return True, None
        return now < folder.listed_until or now < folder.absent.get(name, -1.0), None

    def fresh(self, node: Node) -> bool:
        return node.pinned or node.fresh_until > trio.current_time()

    async def find(self, parent: Node, name: str) -> Node | None:
        """The node of this name, None when there is none. Raises what the store raises."""
        arrived = trio.current_time()
        while True:
            holds, node = self.known(parent, name)
            if holds:
                return node
            asked = self._asking.get((parent.ino, name))
            if asked is None:
                return await self._ask(parent, name)
            await asked.answered.wait()
            if asked.error is not None:
                raise asked.error
            if asked.begun >= arrived and (asked.node is None or asked.node.attached):
                return asked.node  # Asked for after we came, so as fresh as an answer of our own.

    async def _ask(self, parent: Node, name: str) -> Node | None:
        if self._listing_pays(parent):
            self.listing(parent)
        question = self._asking[parent.ino, name] = _Question()
        try:
            question.node = await self._stat(parent, name)
            return question.node
        except Exception as error:
            question.error = error
            raise
        finally:
            del self._asking[parent.ino, name]
            question.answered.set()

    async def _stat(self, parent: Node, name: str) -> Node | None:
        while True:
            place = await self._place(parent)
            with self._tree.question() as began:
                until = trio.current_time() + self._ttl
                child: Child | None
                try:
                    child = await self._store.stat(f"{place.key}/{name}" if place.key else name)
                except NotFound:
                    child = await self._linked(place, name)
                if self._has_moved(parent, place):
                    continue
                if child is None or await self._is_link_elsewhere(parent, child):
                    return self._tree.adopt_absence(parent, name, began=began, until=until)
                return self._tree.adopt(parent, child, began=began, fresh_until=until)

    async def _linked(self, place: _Place, name: str) -> Child | None:
        """The symbolic link of this name, where the store knows links by their keys (S12)."""
        suffix = self._store.traits.link_suffix
        if not suffix:
            return None
        try:
            artifact = await self._store.describe(f"{place.key}/{name}{suffix}" if place.key else name + suffix)
        except NotFound:
            return None
        return self._tree.link_of(name + suffix, artifact)

    async def _is_link_elsewhere(self, parent: Node, child: Child) -> bool:
        """Whether this object is seen as a symbolic link, under another name."""
        link = self._tree.link_of(child.name, child.artifact) if child.artifact is not None else None
        if link is None or child.name in _folder(parent).children:
            return False
        if link.name in _folder(parent).leaving:
            return True
        shown = await self.find(parent, link.name)
        return shown is not None and bool(shown.suffix)

    async def _place(self, parent: Node) -> _Place:
        """Where the store has this directory. A store that renames in one step is not asked in the middle of it."""
        await self._be_sure(parent)
        while self._store.traits.rename and (move := self._journal.moving(parent.path)) is not None:
            await move.turn.wait()
        return _Place(parent.path, self._journal.origin(parent.path))

    async def _be_sure(self, parent: Node) -> None:
        """A move of this directory that may have happened, though nobody said so, is done once more before anybody asks: nothing must seem
        to be missing (S3). Raises why that failed, unless the store refuses it, which it then had no reason not to do before."""
        unsure = self._unsure(parent)
        if not unsure:
            return
        await self._journal.attempted(unsure, self._deadline)
        for row in self._unsure(parent):
            raise row.why_stuck or TimedOut(f"{parent.path}: a move of it is still being done once more")

    def _unsure(self, parent: Node) -> list[Change]:
        """Moves of this directory that an earlier daemon may have done, or an earlier attempt where they are one step."""
        rows = [row for row in self._journal.relocating(parent) if row.first.state is not State.REFUSED]
        return [row for row in rows if row.doubtful or (self._store.traits.rename and row.tries)]

    def _has_moved(self, parent: Node, place: _Place) -> bool:
        """Whether an answer about `place` says nothing about this directory, because it has moved meanwhile, here or in the store."""
        if not parent.attached or parent.path != place.path or self._journal.origin(place.path) != place.key:
            return True
        return self._store.traits.rename and self._journal.moving(place.path) is not None

    def _listing_pays(self, parent: Node) -> bool:
        now = trio.current_time()
        folder = _folder(parent)
        since, count = folder.asked
        if now - since > self._ttl or not self._ttl:
            since, count = now, 0
        folder.asked = (since, count + 1)
        return count == STATS_BEFORE_LISTING and len(folder.children) <= LISTED_UNASKED

    # listings

    def listing(self, parent: Node) -> Listing | None:
        """The listing under way, or a new one; None when the tree already knows the whole directory."""
        folder = _folder(parent)
        if folder.unborn or trio.current_time() < folder.listed_until:
            return None
        listing = self._listings.get(parent.ino)
        if listing is None:
            listing = self._listings[parent.ino] = Listing()
            self._nursery.start_soon(self._list, parent, listing, name=f"list {parent.name}")
        return listing

    async def listed(self, parent: Node) -> None:
        """Have the whole directory in the tree. Raises what the store raises."""
        listing = self.listing(parent)
        while listing is not None and not listing.done:
            await listing.more()
        if listing is not None and listing.error is not None:
            raise listing.error

    def entries(self, parent: Node) -> Entries:
        """The nodes of a directory, by position."""
        return Entries(self, parent)

    async def _list(self, parent: Node, listing: Listing) -> None:
        folder = _folder(parent)
        folder.readers += 1
        try:
            while not await self._pass(parent, listing):
                pass
        except Exception as error:
            listing.error = error
        finally:
            folder.readers -= 1
            del self._listings[parent.ino]
            listing.done = True
            listing.tell()

    async def _pass(self, parent: Node, listing: Listing) -> bool:
        """One listing of the directory into the tree; whether it came to its end before the directory moved."""
        place = await self._place(parent)
        with self._tree.question():
            began, until = self._tree.begin_listing(parent), trio.current_time() + self._ttl
            seen: set[str] = set()
            try:
                async with aclosing(self._store.list(f"{place.key}/" if place.key else "")) as pages:
                    async for page in pages:
                        if self._has_moved(parent, place):
                            return False
                        nodes = self._tree.adopt_page(parent, page, began=began, fresh_until=until, seen=seen)
                        seen.update(node.name for node in nodes)
                        listing.nodes += nodes
                        listing.tell()
            except NotFound as error:
                if not self._store.traits.real_directories:
                    # A flat store has no directory that could be missing: it is the bucket, or no store that answered.
                    raise MissingStore(f"{self._store.uri}: the listing of {place.key!r} was not found") from error
                seen.clear()
            if self._has_moved(parent, place):
                return False
            self._tree.adopt_end(parent, seen, began=began, listed_until=until)
            return True


def _folder(node: Node) -> Folder:
    if node.folder is None:
        raise NotADirectory(node.name)
    return node.folder
