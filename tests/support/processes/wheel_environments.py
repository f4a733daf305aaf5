"""Environments that hold the built wheel and what it asks for, without a repository or a network.

The packages are those of the running environment, linked: an environment has what the wheel's
metadata ask for under some extras, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.processes.command_line import patient

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[3]
_PARTS = ("server", "export", "model_repository", "proto")
_FILES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
_PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


def build_wheel(folder: Path) -> Path:
    """Builds the wheel of this repository in a folder, from a copy, and returns its path."""
    tree = folder / "tree"
    for name in _PARTS:
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, tree / name, ignore=skipped)
    for name in _FILES:
        shutil.copy(ROOT / name, tree)
    build = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(tree))
    subprocess.run((*_PIP, *build), check=True)
    shutil.rmtree(tree)
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_into(target: Path, wheel: Path) -> None:
    """Installs the wheel alone into a folder, as ``pip install --target`` does."""
    install = ("install", "--no-deps", "--no-compile", "--target", str(target), str(wheel))
    subprocess.run((*_PIP, *install), check=True)


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment.

    Attributes:
        folder: where it is.
        site: where its packages are.
        packages: the names of the distributions that are linked into it.
    """

    folder: Path
    site: Path
    packages: frozenset[str]

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the interpreter to its end, within a folder that holds no code."""
        return subprocess.run(
            [str(self.folder / "bin" / "python"), *arguments],
            cwd=self.folder,
            env=self.environ(),
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )

    def routoo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs ``routoo`` to its end."""
        return self.python("-m", "routoo.cli", *patient(arguments))

    def environ(self) -> dict[str, str]:
        """Returns the variables of a shell that knows nothing of this repository."""
        kept = {
            name: value
            for name, value in os.environ.items()
            if name != "PYTHONPATH" and not name.startswith("ROUTOO_")
        }
        return {**kept, "PYTHONDONTWRITEBYTECODE": "1"}


def make_environment(folder: Path, source: Path, *extras: str) -> Environment:
    """Makes an environment with Routoo and what it asks for under some extras.

    Args:
        folder: where it is to be.
        source: the wheel, which pip installs; or the packages of an environment that has it, from
            which it is linked, as that is faster.
        extras: of the wheel.
    """
    venv.create(folder, symlinks=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    if source.suffix == ".whl":
        into = ("--python", str(folder / "bin" / "python"))
        install = ("install", "--no-deps", "--no-compile", str(source))
        subprocess.run((*_PIP, *into, *install), check=True)
    else:
        for path in source.glob("routoo*"):
            (site / path.name).symlink_to(path)
    (metadata,) = site.glob("routoo-*.dist-info")
    needed: dict[str, Distribution] = {}
    _add(Distribution.at(metadata), frozenset(extras), needed, {})
    for found in needed.values():
        _link(found, site)
    return Environment(folder, site, frozenset(needed))


def _add(
    asker: Distribution,
    extras: Iterable[str],
    needed: dict[str, Distribution],
    asked: dict[str, set[str]],
) -> None:
    """Adds what a distribution asks for under some extras, and what that asks for."""
    environments = [{"extra": extra} for extra in ("", *extras)]
    for line in asker.requires or ():
        told = Requirement(line)
        if told.marker and not any(told.marker.evaluate(one) for one in environments):
            continue
        name = str(canonicalize_name(told.name))
        known = asked.setdefault(name, set())
        if name in needed and told.extras <= known:
            continue
        known |= told.extras
        if name == "routoo":
            _add(asker, told.extras, needed, asked)
            continue
        needed[name] = distribution(name)
        _add(needed[name], told.extras, needed, asked)


def _link(found: Distribution, site: Path) -> None:
    """Links the modules of a distribution; packages that several have parts of are linked whole."""
    for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
        place = site / top
        if top != "__pycache__" and not place.exists():
            place.symlink_to(Path(str(found.locate_file(top))))
