"""The layout of the packages: who may import whom, how much a folder and a file may hold."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ROOT = Path(__file__).parents[2]
SERVER, EXPORT = ROOT / "server", ROOT / "export"
# From the top down: a room imports what stands below it, and nothing beside or above it.
FLOORS = (
    {"cli"},
    {"server"},
    {"calibration"},
    {"api"},
    {"engine"},
    {"telemetry"},
    {"routing", "client"},
    {"pricing", "predictor"},
    {"config"},
    {"budget", "selector", "tariffs"},
    {"request_fields", "interval_thread"},
    {"errors", ""},  # the ground, where "" is the package and its version
)
EXPORT_FLOORS = (
    {"cli"},
    {"autopilot"},
    {"artifact"},
    {"evaluation"},
    {"training"},
    {"graph"},
    {"network", "recogniser", "tokenizers"},
    {"backbones"},
    {"catalogue", "grading"},
    {"outcomes"},
    {"errors", "progress", ""},
)
# Numbers go in and come out of these: whatever carries a call has no business in them.
PURE = ("predictor", "selector", "budget", "tariffs")
TRANSPORT = ("grpc", "google.protobuf", "grpc_health", "grpc_reflection", "routoo.v1")
# A script per question stands in benchmarks/, where their names are the table of contents.
MOST_ENTRIES = {"server/routoo": 20, "export/routoo_export": 20, "tests": 20, "benchmarks": 24}
LONG, TOO_LONG = 400, 600
PACKAGES = [(SERVER, "routoo", FLOORS), (EXPORT, "routoo_export", EXPORT_FLOORS)]


def files_of(root: Path, package: str) -> dict[str, Path]:
    """The package's modules by their dotted names, generated code left out."""
    found = {}
    for path in (root / package).rglob("*.py"):
        if "_pb2" not in path.name:
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_names(path: Path) -> set[str]:
    """What a file imports anywhere in it, for the type checker too: modules, and names of them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide who imports whom"
            names.add(str(node.module))
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def imports_of(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Each module's imports among these modules; of ``a.b`` and ``a.b.c`` only the latter."""
    found = {}
    for name, path in files.items():
        seen = {one for one in imported_names(path) if one in files and one != name}
        found[name] = {
            one for one in seen if not any(other.startswith(f"{one}.") for other in seen)
        }
    return found


def room_of(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def circles(imports: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """The circles of files, by Tarjan's strongly connected components (1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in imports[name]:
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            members = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(members) > 1:
                found.append(sorted(members))

    for name in imports:
        if name not in index:
            visit(name)
    return found


@pytest.mark.parametrize(("root", "package", "floors"), PACKAGES)
def test_every_arrow_points_down(root: Path, package: str, floors: tuple[set[str], ...]) -> None:
    floor_of = {room: floor for floor, rooms in enumerate(floors) for room in rooms}
    files = files_of(root, package)
    assert {room_of(name) for name in files} == set(floor_of)
    up = [
        f"{name} imports {other}"
        for name, imports in imports_of(files).items()
        for other in imports
        if room_of(name) != room_of(other)
        and floor_of[room_of(other)] <= floor_of[room_of(name)]
        # A package's own docstring and version are everybody's.
        and other != package
    ]
    assert sorted(up) == []


@pytest.mark.parametrize(("root", "package"), [(SERVER, "routoo"), (EXPORT, "routoo_export")])
def test_files_import_each_other_in_no_circle(root: Path, package: str) -> None:
    assert circles(imports_of(files_of(root, package))) == []


def test_the_pure_rooms_know_no_transport() -> None:
    files = files_of(SERVER, "routoo")
    found = [
        f"{name} imports {other}"
        for name, path in files.items()
        if room_of(name) in PURE
        for other in imported_names(path)
        if any(other == one or other.startswith(f"{one}.") for one in TRANSPORT)
    ]
    assert sorted(found) == []


def test_the_check_sees_imports_of_every_form(tmp_path: Path) -> None:
    source = tmp_path / "example.py"
    source.write_text(
        "import grpc.aio\nfrom google.protobuf import any_pb2\n"
        "if TYPE_CHECKING:\n    from routoo import v1\n"
    )
    assert imported_names(source) >= {"grpc.aio", "google.protobuf", "routoo.v1"}


def test_a_circle_is_found() -> None:
    imports = {"a": ["b"], "b": ["c"], "c": ["b"], "d": ["a"]}
    assert circles(imports) == [["b", "c"]]


@pytest.mark.parametrize(("folder", "most"), MOST_ENTRIES.items())
def test_a_folder_is_seen_at_one_glance(folder: str, most: int) -> None:
    entries: dict[Path, set[str]] = {}
    for path in (ROOT / folder).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts and "_pb2" not in path.name:
            for inner in (path, *path.parents):
                if inner == ROOT / folder:
                    break
                entries.setdefault(inner.parent, set()).add(inner.name)
    for found in entries.values():
        found -= {"__init__.py", "py.typed", "conftest.py"}
    assert {str(path): len(found) for path, found in entries.items() if len(found) > most} == {}


@pytest.mark.parametrize("root", ["server", "export"])
def test_files_stay_readable_in_one_sitting(root: str) -> None:
    sources = [path for path in (ROOT / root).rglob("*.py") if "_pb2" not in path.name]
    assert sources
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in sources
    }
    assert {path: lines for path, lines in lengths.items() if lines > TOO_LONG} == {}
    for path, lines in lengths.items():
        if lines > LONG:
            # Long is a smell, not a fault: is it still about one thing?
            with warnings.catch_warnings():
                warnings.simplefilter("default")
                warnings.warn(f"{path} has {lines} lines; is it still one noun?", stacklevel=1)


def test_a_class_has_its_name_for_itself() -> None:
    places: dict[str, list[str]] = {}
    for root, package in ((SERVER, "routoo"), (EXPORT, "routoo_export")):
        for name, path in files_of(root, package).items():
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places.setdefault(node.name, []).append(name)
    assert {name: found for name, found in places.items() if len(found) > 1} == {}
