"""Releases: the notes, and the commit that proto/ is compared with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.processes.tools import missing

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
GIT, MAKE = str(shutil.which("git")), str(shutil.which("make"))
LOG = """# Changelog

## [Unreleased]

## [0.2.0] - 2026-12-01

### Added

- A door.

## [0.1.0] - 2026-11-01

- The first.
"""
PROTO = 'syntax = "proto3";\npackage a.v1;\nmessage A {\n  string one = 1;\n}\n'
BUF = "version: v2\nmodules:\n  - path: proto\nbreaking:\n  use:\n    - FILE\n"


class Repository:
    """A repository with what a release looks at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet")
        (root / "deploy").mkdir()
        shutil.copy(ROOT / "deploy" / "release.py", root / "deploy")
        shutil.copy(ROOT / "Makefile", root)
        self.write("buf.yaml", BUF)
        self.write("proto/a/v1/a.proto", PROTO)
        self.write("CHANGELOG.md", LOG)
        self.version("0.1.0")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def version(self, version: str) -> str:
        """Sets the version in a commit of its own, and returns the commit."""
        self.write("pyproject.toml", f'[project]\nversion = "{version}"\n')
        self.write("server/routoo/__init__.py", f'__version__ = "{version}"\n')
        return self.commit(f"Be {version}")

    def commit(self, message: str) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@localhost", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            [GIT, *who, *arguments], cwd=self.root, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def release(self, step: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "deploy/release.py", step],
            cwd=self.root,
            check=False,
            capture_output=True,
            text=True,
        )

    def base(self) -> str:
        done = self.release("base")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_nothing_is_compared_before_there_is_a_release(repository: Repository) -> None:
    assert repository.base() == ""


def test_without_a_tag_the_commit_before_the_version_counts(repository: Repository) -> None:
    before = repository.commit("Work")
    repository.version("0.2.0")
    repository.commit("Work more")
    assert repository.base() == before


def test_the_last_tag_counts(repository: Repository) -> None:
    repository.git("tag", "v0.1.0")
    repository.commit("Work")
    repository.version("0.2.0")
    assert repository.base() == "v0.1.0"
    repository.git("tag", "v0.2.0")
    repository.git("tag", "something-else")
    assert repository.base() == "v0.2.0"


def test_before_the_first_commit_nothing_is_compared(repository: Repository) -> None:
    shutil.rmtree(repository.root / ".git")
    repository.git("init", "--quiet")
    assert repository.base() == ""


def test_an_unpacked_archive_is_compared_with_nothing(repository: Repository) -> None:
    repository.git("tag", "v0.1.0")
    inner = repository.root / "inner"
    shutil.copytree(repository.root / "deploy", inner / "deploy")
    command = [sys.executable, str(inner / "deploy" / "release.py"), "base"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["HEAD", "objects"])
def test_a_checkout_that_git_cannot_read_fails_with_the_reason(
    repository: Repository, name: str
) -> None:
    repository.git("tag", "v0.1.0")
    (repository.root / ".git" / name).rename(repository.root / ".git" / f"{name}.away")
    done = repository.release("base")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "failed in" in done.stderr
    assert "not a git repository" in done.stderr


def test_the_notes_are_the_part_about_the_version(repository: Repository) -> None:
    repository.version("0.2.0")
    assert repository.release("notes").stdout == (
        "Routoo 0.2.0 (2026-12-01)\n\n### Added\n\n- A door.\n"
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one.version("0.3.0"), "CHANGELOG.md has no part about 0.3.0"),
        (lambda one: one.write("new", "x"), "changes that are not committed"),
        (lambda one: one.git("tag", "v0.1.0"), "v0.1.0 is tagged already"),
        (
            lambda one: one.write("server/routoo/__init__.py", '__version__ = "9"'),
            "tells another version",
        ),
    ],
    ids=["no notes", "a change", "tagged", "two versions"],
)
def test_what_is_not_ready_is_not_built(
    repository: Repository, change: Callable[[Repository], object], words: str
) -> None:
    change(repository)
    done = repository.release("build")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_field_that_clients_know_cannot_go(repository: Repository) -> None:
    tools = sorted((ROOT / ".tools").glob("buf-*"))
    if not tools:
        missing("no buf in .tools; make lint installs it there")
    (repository.root / ".tools").symlink_to(ROOT / ".tools")
    repository.write(".gitignore", ".tools\n")
    repository.commit("Work")
    repository.git("tag", "v0.1.0")

    def breaking() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [MAKE, "breaking", f"PYTHON={sys.executable}"],
            cwd=repository.root,
            env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            check=False,
            capture_output=True,
            text=True,
        )

    repository.write("proto/a/v1/a.proto", PROTO.replace("}", "  string two = 2;\n}"))
    done = breaking()
    assert done.returncode == 0, done.stdout + done.stderr
    repository.write("proto/a/v1/a.proto", PROTO.replace("string one = 1", "string other = 2"))
    done = breaking()
    assert done.returncode == 2
    assert "breaks clients that know v0.1.0" in done.stderr
