"""Writing folders and files atomically: whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from routoo_export.errors import ExportError


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Make a temporary folder on the file system of ``target``, which need not exist.

    Raises:
        ExportError: files do not fit on the disk, or may not be written.
    """
    parent = next(parent for parent in target.absolute().parents if parent.is_dir())
    try:
        with tempfile.TemporaryDirectory(dir=parent, prefix=".export-") as scratch:
            build = Path(scratch) / "new"
            build.mkdir()
            yield build
    except OSError as error:
        raise ExportError(
            f"{target}: cannot be written ({error.strerror or error}); make room or rights and"
            " export again: what lay there is as it was"
        ) from error


def replace_folder(build: Path, target: Path) -> None:
    """Put ``build``, made by ``scratch_folder(target)``, in the place of ``target``: a rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        build.rename(target)
        return
    old = build.with_name("old")
    target.rename(old)
    try:
        build.rename(target)
    except OSError:
        old.rename(target)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` beside ``path``, then rename.

    Raises:
        ExportError: the file does not fit on the disk, or may not be written.
    """
    with scratch_folder(path) as build:
        beside = build / path.name
        beside.write_text(text, encoding="utf-8")
        path.parent.mkdir(parents=True, exist_ok=True)
        beside.rename(path)
