"""The shape of the package, read from its imports: what may know what, and where the fences are.

`LAYERS` is the table: a module imports only from lines above its own. A folder followed by `*` is one line for all that is in it, whose
modules may import one another as long as there is no cycle. Whoever adds a module says here where it belongs.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "storemount"
LONGEST = 420

LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "disk",
        "errors",
        "insight.logs",
        "kernel.handshake",
        "kernel.tuning",
        "insight.measures",
        "kernel.mountinfo",
        "running.notify",
        "insight.floods",
        "insight.dumps",
    ),
    ("config", "running.background", "api.portal", "api.keys", "running.supervision", "insight.slow"),
    (
        "stores.*",
        "kernel.mountpoint",
        "control.client",
        "api.volume",
        "registry.tomlfile",
        "kernel.verbs",
        "writeback.extents",
        "writeback.ledger",
        "writeback.slot",
    ),
    (
        "registry.entry",
        "running.units",
        "registry.flavors",
        "insight.redaction",
        "cache.*",
        "running.draining",
        "api.mounted",
        "running.process",
        "api.spelling",
        "api.streams",
        "writeback.room",
    ),
    ("zenml.*",),
    ("registry.stores", "writeback.staging", "api.patterns", "api.diskvolume"),
    ("registry.importing", "registry.leases", "names.nodes"),
    ("names.tree",),
    ("names.descriptions", "names.forgetting"),
    ("api.keyspace", "api.roots", "writeback.change", "names.xattrs", "content.neighbours", "kernel.replies", "content.readers"),
    ("api.storevolume", "writeback.discard", "writeback.order", "writeback.record"),
    ("api.session", "writeback.journal"),
    ("writeback.worker", "writeback.durability", "names.catalog", "writeback.application", "writeback.conflicts", "writeback.recovery"),
    ("api.fileapi", "writeback.publish"),
    ("content.files", "fileio"),
    ("names.namespace", "io_utils"),
    ("fs", "insight.figures", "content.warming"),
    ("assembly",),
    ("control.report", "insight.metrics"),
    ("control.requests", "insight.scrapes"),
    ("control.answers", "running.arrival", "control.reload", "running.service"),
    ("daemon",),
    ("running.launch", "doctor.*"),
    ("cli.*",),
    ("__main__", ""),
)

FENCES: dict[str, tuple[str, ...]] = {
    "pyfuse3": ("fs", "kernel.verbs", "kernel.replies", "daemon"),
    "prometheus_client": ("insight.metrics", "daemon"),
    "asyncio": ("stores.bridge",),
    "errno": ("errors",),
    "opendal": ("stores.*",),
    "fsspec": ("stores.*",),
    "s3fs": ("stores.*",),
    "gcsfs": ("stores.*",),
    "google": ("stores.gcscredentials", "stores.gcserrors", "zenml.answering"),
    "adlfs": ("stores.*",),
    "azure": ("stores.*",),
    "zenml": ("zenml.answering",),
    "boto3": ("stores.*",),
    "botocore": ("stores.*",),
    "aiobotocore": ("stores.*",),
}
"""A package from outside -> the only modules that may import it."""


def _name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PARSED = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def _imported(tree: ast.Module) -> Iterator[str]:
    """The full names of the modules it imports, wherever in the file (under TYPE_CHECKING too)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module is not None, "imports are absolute"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if name.removeprefix("storemount.") in MODULES]
            yield from modules
            if len(modules) < len(inner):
                yield node.module


def _own(name: str) -> set[str]:
    """The modules of this package that module `name` imports."""
    ours = {
        imported.removeprefix("storemount").removeprefix(".") for imported in _imported(PARSED[name]) if imported.startswith("storemount")
    }
    return (ours & set(MODULES)) - {""}


def _is_in(name: str, place: str) -> bool:
    folder = place.removesuffix(".*")
    return name == place or (place.endswith(".*") and (name == folder or name.startswith(folder + ".")))


def _layer(name: str) -> int:
    """The line of the table; of two that fit, the one that says more."""
    fitting = [(len(place), number) for number, line in enumerate(LAYERS) for place in line if _is_in(name, place)]
    assert fitting, f"storemount.{name}: say in LAYERS where this module belongs"
    return max(fitting)[1]


def _same_folder(one: str, other: str) -> bool:
    return any(_is_in(one, place) and _is_in(other, place) for line in LAYERS for place in line if place.endswith(".*"))


@pytest.mark.parametrize("name", [name for name in MODULES if _own(name)])
def test_imports_go_downwards(name: str) -> None:
    for imported in _own(name):
        assert _layer(imported) < _layer(name) or _same_folder(name, imported), f"{name} must not know {imported}"


def test_no_import_cycles() -> None:
    list(TopologicalSorter({name: _own(name) for name in MODULES}).static_order())


@pytest.mark.parametrize("outside", FENCES)
def test_fences(outside: str) -> None:
    inside = {name for name, tree in PARSED.items() if any(each.split(".")[0] == outside for each in _imported(tree))}
    assert not {name for name in inside if not any(_is_in(name, place) for place in FENCES[outside])}


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is_and_is_short(name: str) -> None:
    source = MODULES[name].read_text()
    assert not source.strip() or ast.get_docstring(PARSED[name]), "it opens with a docstring"
    assert len(source.splitlines()) <= LONGEST


@pytest.mark.parametrize("name", MODULES)
def test_every_public_class_and_module_level_function_has_a_docstring_or_is_small(name: str) -> None:
    """What is public says what it means; six lines or fewer may speak for themselves."""
    for node in PARSED[name].body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            lines = (node.end_lineno or node.lineno) - node.lineno
            assert ast.get_docstring(node) or lines <= 6 or node.decorator_list, f"{name}.{node.name}"


@pytest.mark.parametrize("word", ["util", "utils", "common", "manager", "helper", "helpers", "handler", "misc"])
def test_no_module_or_class_has_a_name_that_says_nothing(word: str) -> None:
    names = {part for name in MODULES for part in name.split(".")}
    classes = {node.name for tree in PARSED.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    assert word not in names
    assert not {name for name in classes if name.lower().endswith(word)}


def test_a_local_store_imports_no_cloud_client() -> None:
    """Start-up time: what only other stores need is imported when they are opened."""
    script = (
        "import sys, storemount.daemon\n"
        "from storemount.stores.flavors import open_store, spec_of_uri\n"
        "open_store(spec_of_uri('file:///'))\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))\n"
    )
    loaded = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not {"opendal", "fsspec", "s3fs", "boto3", "botocore", "aiobotocore", "gcsfs", "google", "azure", "asyncio"} & set(loaded)


def test_every_promise_that_the_readme_gives_is_cited_by_a_test() -> None:
    rows = re.findall(r"^\| (S\d+) \|.*\| ([^|]*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(rows) == 16
    delivered = {number for number, state in rows if not state.startswith("to come")}
    cited: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if path != Path(__file__):
            cited |= set(re.findall(r"(?<![A-Za-z0-9])_?(S\d+)(?![0-9])", path.read_text()))
    assert not delivered - cited
