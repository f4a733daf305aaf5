"""Makes a release: wheel, sdist, bill of materials, checksums and notes, from a clean tree.

``make release`` runs it. It signs, tags and sends nothing: it prints the commands that do.

    python deploy/release.py base      the commit whose API the clients of the last release know
    python deploy/release.py notes     the part of CHANGELOG.md about this version
    python deploy/release.py build     everything, into dist/
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path


class ReleaseError(Exception):
    """A release that cannot be made; one line that names the remedy."""


def version_of(root: Path) -> str:
    """Returns the version in pyproject.toml.

    Raises:
        ReleaseError: the package tells another one.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = str(project["version"])
    package = root / "server" / "routoo" / "__init__.py"
    if f'__version__ = "{version}"' not in package.read_text(encoding="utf-8"):
        raise ReleaseError(f"{package} tells another version than pyproject.toml's {version}")
    return version


def notes_of(root: Path, version: str) -> str:
    """Returns what CHANGELOG.md says of a version.

    Raises:
        ReleaseError: it says nothing of it.
    """
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    part = rf"^## \[{re.escape(version)}\] - (\d{{4}}-\d\d-\d\d)\n(.*?)(?=^## |\Z)"
    found = re.search(part, text, re.MULTILINE | re.DOTALL)
    if not found or not found[2].strip():
        raise ReleaseError(
            f"CHANGELOG.md has no part about {version}; put `## [{version}] - YYYY-MM-DD` below"
            " `## [Unreleased]`"
        )
    return f"Routoo {version} ({found[1]})\n\n{found[2].strip()}\n"


def base_of(root: Path) -> str:
    """Returns the commit whose API the clients of the last release know; empty: there is none.

    It is the newest release that the branch holds, by its tag; where none is tagged yet, the commit
    before the one that set the version. A tree that is no checkout has none.

    Raises:
        ReleaseError: git cannot read the checkout.
    """
    # Not by git itself: it would take a repository around an unpacked archive for its own.
    if not (root / ".git").exists() or not _git(root, "rev-parse", "--verify", "--quiet", "HEAD"):
        return ""
    if _git(root, "for-each-ref", "--merged=HEAD", "refs/tags/v[0-9]*"):
        return _git(root, "describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD")
    changed = _git(root, "log", "-1", "--format=%H", "-G^version = ", "--", "pyproject.toml")
    return _git(root, "rev-parse", "--verify", "--quiet", f"{changed}^") if changed else ""


def build(root: Path) -> None:
    """Builds everything into dist/, and prints what is left to do by hand.

    Raises:
        ReleaseError: the tree, the tag or the change log is not ready, or a step fails.
    """
    version = version_of(root)
    notes = notes_of(root, version)
    if _git(root, "status", "--porcelain"):
        raise ReleaseError("the tree has changes that are not committed; commit them")
    if _git(root, "tag", "--list", f"v{version}"):
        raise ReleaseError(f"v{version} is tagged already; raise the version in pyproject.toml")
    out = root / "dist"
    shutil.rmtree(out, ignore_errors=True)
    written_s = _git(root, "log", "-1", "--format=%ct")
    environ = {**os.environ, "SOURCE_DATE_EPOCH": written_s}
    _run(root, environ, sys.executable, "-m", "build", "--outdir", "dist", ".")
    built = sorted(path for path in out.iterdir() if path.name.endswith((".whl", ".tar.gz")))
    _run(root, environ, sys.executable, "-m", "twine", "check", "--strict", *map(str, built))
    _run(root, environ, "make", "sbom")
    shutil.copy(root / "artifacts" / "sbom.json", out / f"routoo-{version}.cdx.json")
    (out / "notes.md").write_text(notes, encoding="utf-8")
    _write_checksums(out)
    print(
        f"dist/ has routoo {version}. By hand, once it has been looked at:\n"
        f"  git tag --sign --cleanup=verbatim --file dist/notes.md v{version}\n"
        f"  git push origin v{version}\n"
        f"  python -m twine upload {' '.join(f'dist/{path.name}' for path in built)}"
    )


def _write_checksums(out: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(out.iterdir())
        if path.name != "notes.md"
    ]
    (out / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _git(root: Path, *arguments: str) -> str:
    """Returns what git says; empty: it says that there is no such thing.

    Raises:
        ReleaseError: it fails, or is not here.
    """
    git = shutil.which("git")
    if git is None:
        raise ReleaseError("git is not on the PATH; install it")
    # Whose files they are does not matter to who runs this very script from them.
    command = [git, "-c", f"safe.directory={root}", "-C", str(root), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    # With --quiet, git ends with 1 and says nothing where there is no such commit.
    if done.returncode and (done.returncode != 1 or done.stderr):
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ReleaseError(f"git {arguments[0]} failed in {root}: {reason}; repair the checkout")
    return done.stdout.strip()


def _run(root: Path, environ: dict[str, str], *command: str) -> None:
    if subprocess.run(command, cwd=root, env=environ, check=False).returncode:
        raise ReleaseError(f"{' '.join(command[:4])} ... failed; its lines above say why")


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes a release of Routoo.")
    parser.add_argument("step", choices=("base", "notes", "build"))
    step = parser.parse_args().step
    root = Path(__file__).resolve().parents[1]
    try:
        if step == "base":
            print(base_of(root))
        elif step == "notes":
            print(notes_of(root, version_of(root)), end="")
        else:
            build(root)
    except ReleaseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
