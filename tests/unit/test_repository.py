"""Checks of the repository as a whole: commands, install steps, pins, rules of security."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
COMMANDS = ("serve", "triton", "test", "lint", "proto", "bench", "train", "export")
_EXTRAS = re.compile(r"\.\[\$[({]RUNTIME[)}],([a-z,]+)\]")
_SILENCED = re.compile(r"#\s*noqa:(?P<rules>[^#]*?)(?: - (?P<reason>.*))?$")
DRAW = """
import sys
sys.path.insert(0, "tests")
import conftest
from hypothesis import given, strategies as st
@given(st.lists(st.floats()), st.text(), st.integers())
def draw(numbers, text, number):
    print(ascii((numbers, text, number)))
draw()
"""
OFFLINE_LIBRARIES = ("torch", "transformers", "optimum", "sklearn", "pyarrow", "routoo_export")


def _make(*arguments: str) -> str:
    # MAKEFLAGS of the ``make test`` that runs this would leak into the inner make.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    done = subprocess.run(
        ["make", *arguments],  # noqa: S607 - the make that the reader has
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


def test_bare_make_lists_every_command_with_a_sentence() -> None:
    words = [line.split(maxsplit=2) for line in _make().splitlines()]
    listed = {word[1]: word[2] for word in words if word[0] == "make"}
    assert set(COMMANDS) <= set(listed)
    assert all(" " in sentence for sentence in listed.values())


@pytest.mark.parametrize(("gpu", "extra"), [("0", "cpu"), ("1", "gpu")])
def test_serve_installs_the_runtime_and_nothing_else(tmp_path: Path, gpu: str, extra: str) -> None:
    plan = _make("--dry-run", "serve", f"GPU={gpu}", f"VENV={tmp_path}/venv")
    installs = [line for line in plan.splitlines() if "pip" in line and " install " in line]
    assert len(installs) == 1
    assert f"'.[{extra}]'" in installs[0]
    assert "--constraint constraints.txt" in installs[0]


def test_serve_does_not_install_twice(tmp_path: Path) -> None:
    binaries = tmp_path / "venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").touch()
    (tmp_path / "venv" / ".installed-serve-cpu").touch()
    plan = _make("--dry-run", "serve", f"VENV={tmp_path}/venv")
    assert "routoo serve" in plan
    assert " install " not in plan


def test_a_triton_server_gets_an_environment_of_its_own(tmp_path: Path) -> None:
    requirements = (ROOT / "deploy" / "triton" / "requirements.txt").read_text(encoding="utf-8")
    pins = [line for line in requirements.splitlines() if not line.startswith("#")]
    assert all("==" in pin for pin in pins)
    # Client and server compute the same bits only with the same library.
    (library,) = [pin for pin in pins if pin.startswith("onnxruntime==")]
    assert library in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    plan = _make("--dry-run", "--always-make", "triton", f"VENV={tmp_path}/venv")
    assert ".triton/bin/python -m pip -qq install --no-deps" in plan


def test_the_server_imports_nothing_of_training() -> None:
    code = (
        "import sys, routoo.server.service, routoo.cli\n"
        f"print(*sorted(set({OFFLINE_LIBRARIES!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


def test_what_is_imported_changes_no_example_that_hypothesis_draws() -> None:
    printed = [
        subprocess.run(
            [sys.executable, "-c", f"{imports}\n{DRAW}"],
            cwd=ROOT,
            env={**os.environ, "CI": "true"},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
        for imports in ("", "import routoo.config.settings")
    ]
    assert printed[0].count(b"\n") == 100
    assert printed[0] == printed[1]


def test_every_dependency_is_pinned_inside_its_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pins.items()}
    requirements = [Requirement(line) for line in wanted]
    assert [
        str(requirement)
        for requirement in requirements
        if requirement.name != project["name"]  # an extra that brings another
        and not requirement.specifier.contains(pinned.get(canonicalize_name(requirement.name), "0"))
    ] == []


def extras_of(text: str) -> set[str]:
    """Returns the extras that are installed beside the runtime."""
    (found,) = _EXTRAS.findall(text)
    return set(found.split(","))


@pytest.mark.parametrize("name", ["Makefile", "deploy/Dockerfile"])
def test_byte_code_is_written_for_modules_that_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    imports = re.findall(r"-c 'import (routoo\.[^']*)'", text)
    assert imports
    for module in imports[0].split(", "):
        assert find_spec(module), module


def test_the_bill_of_materials_is_that_of_the_image() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    rules = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nsbom:")[1].split("\naudit:")[0]
    assert extras_of(rules) == extras_of(dockerfile)


def test_the_tools_are_pinned() -> None:
    lines = (ROOT / "deploy" / "supply_chain.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert pins
    assert all(re.fullmatch(r"[a-z-]+==[0-9.]+", pin) for pin in pins)


@pytest.mark.parametrize("root", ["server", "export", "deploy", "benchmarks", "examples"])
def test_each_silenced_rule_of_security_has_its_reason(root: str) -> None:
    without = []
    for path in (ROOT / root).rglob("*.py"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = _SILENCED.search(line)
            if found and re.search(r"\bS\d{3}\b", found["rules"]) and not found["reason"]:
                without.append(f"{path.relative_to(ROOT)}:{number}")
    assert not without


def test_what_bandit_leaves_to_ruff_is_what_ruff_checks() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    lint = settings["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    assert not [rule for rule in lint["ignore"] if re.fullmatch(r"S\d*", rule)]
    skipped = set(settings["bandit"]["skips"])
    assert skipped - {"B105", "B403", "B404", "B615"} == {
        *("B101", "B108", "B310", "B311", "B506", "B603")
    }
