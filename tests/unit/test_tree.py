"""The tree: versions are inodes, local truth wins, nodes live as long as somebody holds them (S2, S3, S4)."""

from __future__ import annotations

import sys

import pytest

from storemount.names.nodes import ROOT, Node
from storemount.names.tree import Tree, mappable
from storemount.stores.base import Artifact, Child

SOON = 10.0


def file(name: str, version: str = "v1", size: int = 1) -> Child:
    return Child(name, Artifact(name, version, size, 0))


def folder(name: str) -> Child:
    return Child(name, None)


@pytest.fixture
def tree() -> Tree:
    return Tree(real_directories=False)


def adopt(tree: Tree, child: Child, *, began: int | None = None) -> Node | None:
    return tree.adopt(tree.root, child, began=tree.tick() if began is None else began, fresh_until=SOON)


def names(tree: Tree) -> set[str]:
    assert tree.root.folder is not None
    return set(tree.root.folder.children)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "nul\0", "x" * 256, "é" * 128])
def test_S2_what_cannot_be_a_segment_is_not_mapped(tree: Tree, name: str) -> None:
    assert not mappable(name)
    assert adopt(tree, file(name)) is None


@pytest.mark.parametrize("name", ["a", "...", ".hidden", "x" * 255, "é" * 127, "caf\udce9", "new\nline", " "])
def test_S2_what_can_be_a_segment_is_mapped(tree: Tree, name: str) -> None:
    assert mappable(name)
    assert adopt(tree, file(name)) is not None


def test_S3_the_same_version_is_the_same_node_and_another_version_another(tree: Tree) -> None:
    first = adopt(tree, file("f"))
    assert adopt(tree, file("f")) is first
    second = adopt(tree, file("f", "v2"))
    assert first is not None and second is not None
    assert second is not first and second.ino != first.ino
    assert not first.attached and second.attached


def test_S4_a_replaced_node_lives_while_it_is_held_and_is_then_forgotten(tree: Tree) -> None:
    first = adopt(tree, file("f"))
    assert first is not None
    first.lookups, first.opens = 2, 1
    adopt(tree, file("f", "v2"))
    assert tree.get(first.ino) is first and first.replaced
    tree.forget(first.ino, 2)
    assert tree.get(first.ino) is first
    first.opens = 0
    tree.let_go(first)
    assert tree.get(first.ino) is None


def test_an_attached_node_is_kept_when_the_kernel_forgets_it_and_the_root_always(tree: Tree) -> None:
    node = adopt(tree, file("f"))
    assert node is not None
    node.lookups = 1
    tree.forget(node.ino, 1)
    tree.forget(ROOT, 100)
    assert tree.get(node.ino) is node
    assert tree.get(ROOT) is tree.root


def test_S3_an_answer_does_not_overrule_what_changed_after_its_question(tree: Tree) -> None:
    began = tree.tick()
    made = tree.add(tree.root, "made")
    assert adopt(tree, file("made"), began=began) is made
    gone = adopt(tree, file("gone"))
    assert gone is not None
    began = tree.tick()
    tree.unlink(gone)
    assert adopt(tree, file("gone"), began=began) is None
    assert tree.adopt_absence(tree.root, "made", began=0, until=SOON) is made
    assert names(tree) == {"made"}


def test_S3_a_pinned_node_is_not_overruled(tree: Tree) -> None:
    node = adopt(tree, file("f"))
    assert node is not None
    node.pending = 1
    assert adopt(tree, file("f", "v2")) is node
    assert tree.adopt_absence(tree.root, "f", began=tree.tick(), until=SOON) is node
    node.pending = 0
    assert tree.adopt_absence(tree.root, "f", began=tree.tick(), until=SOON) is None
    assert names(tree) == set()


def test_S3_a_directory_with_something_pinned_below_is_not_taken_away(tree: Tree) -> None:
    above = adopt(tree, folder("d"))
    assert above is not None
    tree.add(above, "f").pending = 1
    assert tree.adopt_absence(tree.root, "d", began=tree.tick(), until=SOON) is above
    assert adopt(tree, file("d")) is above


def test_a_listing_drops_what_it_did_not_show_and_clears_absences(tree: Tree) -> None:
    for name in "abc":
        adopt(tree, file(name))
    tree.adopt_absence(tree.root, "d", began=tree.tick(), until=SOON)
    began = tree.begin_listing(tree.root)
    shown = tree.adopt_page(tree.root, [file("a"), file("d")], began=began, fresh_until=SOON)
    local = tree.add(tree.root, "made meanwhile")
    tree.adopt_end(tree.root, {node.name for node in shown}, began=began, listed_until=SOON)
    assert names(tree) == {"a", "d", "made meanwhile"}
    assert local.attached
    assert tree.root.folder is not None
    assert tree.root.folder.listed_until == SOON


def test_S2_a_directory_shadows_a_file_of_its_name_and_hidden_keys_are_remembered(tree: Tree) -> None:
    began = tree.begin_listing(tree.root)
    shown = tree.adopt_page(tree.root, [file("d"), folder("d"), folder(""), file("..")], began=began, fresh_until=SOON)
    assert [(node.name, node.folder is not None) for node in shown] == [("d", True)]
    assert tree.root.folder is not None
    assert tree.root.folder.hidden
    tree.begin_listing(tree.root)
    assert not tree.root.folder.hidden


def test_S11_a_marker_of_the_directory_itself_is_noted_and_not_shown(tree: Tree) -> None:
    above = adopt(tree, folder("d"))
    assert above is not None and above.folder is not None
    began = tree.begin_listing(above)
    assert not above.folder.marked
    assert tree.adopt_page(above, [Child("", Artifact("d/", "v", 0, 0))], began=began, fresh_until=SOON) == []
    assert above.folder.marked


def test_S10_relink_moves_a_node_with_all_below_it_over_what_was_there(tree: Tree) -> None:
    above = tree.add(tree.root, "d", directory=True)
    inner = tree.add(above, "f")
    replaced = tree.add(tree.root, "e", directory=True)
    tree.relink(above, tree.root, "e")
    assert names(tree) == {"e"}
    assert inner.path == "e/f"
    assert tree.find("e/f") is inner
    assert tree.find("d") is None
    assert not replaced.attached


def test_S5_unlinking_detaches_everything_below(tree: Tree) -> None:
    above = tree.add(tree.root, "d", directory=True)
    inner = tree.add(above, "f")
    inner.opens = 1
    tree.unlink(above)
    assert not inner.attached
    assert tree.get(inner.ino) is inner
    assert len(tree) == 2


def test_what_a_program_set_stays_when_somebody_else_rewrites_the_object(tree: Tree) -> None:
    node = adopt(tree, file("f"))
    assert node is not None
    node.own.mode, node.own.mtime_ns = 0o600, 5
    renewed = adopt(tree, file("f", "v2"))
    assert renewed is not None
    assert (renewed.own.mode, renewed.own.mtime_ns) == (0o600, None)


def test_S8_a_tree_deeper_than_the_interpreters_stack_is_walked_and_detached(tree: Tree) -> None:
    """The drain walks it all."""
    top = node = tree.add(tree.root, "d", directory=True)
    for _ in range(3 * sys.getrecursionlimit()):
        node = tree.add(node, "d", directory=True)
    deepest = tree.add(node, "f")
    assert deepest.path.endswith("/d/f")
    assert deepest in tree.below(tree.root)
    tree.unlink(top)
    assert not deepest.attached
    assert len(tree) == 1
