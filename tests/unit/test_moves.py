"""Where the bytes of an artifact have gone (S10)."""

from __future__ import annotations

from storemount.stores.base import Artifact
from storemount.stores.moves import Whereabouts


def _at(key: str, version: str = "v") -> Artifact:
    return Artifact(key, version, 1, 0)


def test_what_never_moved_is_where_it_was() -> None:
    assert Whereabouts().of(_at("a")) == _at("a")


def test_a_chain_of_moves_is_followed_to_its_end() -> None:
    moves = Whereabouts()
    moves.note(_at("a"), _at("b"))
    moves.note(_at("b"), _at("c"))
    assert moves.of(_at("a")) == moves.of(_at("b")) == _at("c")


def test_moving_back_ends_at_home_and_goes_in_no_circle() -> None:
    moves = Whereabouts()
    moves.note(_at("a"), _at("b"))
    moves.note(_at("b"), _at("a"))
    assert moves.of(_at("a")) == moves.of(_at("b")) == _at("a")
    moves.note(_at("a"), _at("a"))
    assert moves.of(_at("b")) == _at("a")


def test_versions_are_told_apart() -> None:
    moves = Whereabouts()
    moves.note(_at("a", "v1"), _at("b", "v2"))
    assert moves.of(_at("a", "v2")) == _at("a", "v2")


def test_what_is_written_again_under_its_own_key_is_there() -> None:
    moves = Whereabouts()
    moves.note(_at("a"), _at("b"))
    moves.forget(_at("a"))
    assert moves.of(_at("a")) == _at("a")
