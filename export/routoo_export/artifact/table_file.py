"""The file of an artifact's table of models: a row more, in place or in the next version folder."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from routoo.errors import ArtifactError
from routoo.predictor.artifact import MANIFEST, MODEL, Artifact
from routoo.predictor.model_table import TABLE, ModelTable
from routoo_export.artifact.new_row import NewRow
from routoo_export.artifact.replace_folder import replace_folder, scratch_folder
from routoo_export.artifact.table_artifact import CATALOGUE_FILE
from routoo_export.catalogue.table import Catalogue, read_catalogue
from routoo_export.errors import CatalogueError, ExportError


def artifact_catalogue(artifact: Artifact) -> Catalogue:
    """The catalogue that an artifact brings along.

    Raises:
        CatalogueError: it brings none, or another one than its table is made of.
    """
    if artifact.table is None or CATALOGUE_FILE not in artifact.manifest.files:
        raise CatalogueError(
            f"{artifact.folder}: has no {CATALOGUE_FILE} to place models by; use an artifact of"
            " format 2 with one"
        )
    catalogue = read_catalogue(artifact.folder / CATALOGUE_FILE)
    if catalogue.tasks != artifact.table.tasks:
        raise CatalogueError(
            f"{artifact.folder / CATALOGUE_FILE}: has other kinds of task than {TABLE}; copy the"
            " whole version folder again"
        )
    return catalogue


def with_row(table: ModelTable, row: NewRow) -> ModelTable:
    """The table with one row more, or with the row of that name replaced; others stay as they are.

    Args:
        table: The table.
        row: The row.
    """
    at = table.index.get(row.name)
    figures: dict[str, Any] = {}
    for name, values in row.figures.items():
        old = getattr(table, name)
        if at is None:
            figures[name] = np.concatenate([old, values[None]])
        else:
            figures[name] = old.copy()
            figures[name][at] = values
    names = table.names if at is not None else (*table.names, row.name)
    return replace(table, names=names, **figures)


def write_in_place(artifact: Artifact, table: ModelTable) -> Path:
    """Put a table in the place of the artifact's, by a rename: a service reads the old or the new.

    Returns:
        The artifact's folder.

    Raises:
        ExportError: the file cannot be written, or the table has a figure that cannot be.
    """
    path = artifact.folder / TABLE
    with scratch_folder(path) as build:
        _save(build / TABLE, table, artifact)
        (build / TABLE).replace(path)
    return artifact.folder


def write_next_version(artifact: Artifact, table: ModelTable) -> Path:
    """Copy an artifact with another table to the next version folder beside it.

    Returns:
        The new folder.

    Raises:
        ExportError: the artifact is not in a version folder, the files cannot be written, or the
            table has a figure that cannot be.
    """
    folder = artifact.folder
    if not folder.absolute().name.isdigit():
        raise ExportError(f"{folder}: no number of a version, so there is no next; use --in-place")
    parent = folder.absolute().parent
    numbers = [int(one.name) for one in parent.iterdir() if one.name.isdigit()]
    target = parent / str(max(numbers) + 1)
    write_version(artifact, table, target)
    return target


def write_version(artifact: Artifact, table: ModelTable, target: Path) -> None:
    """Copy an artifact with another table to a folder, whole or not at all.

    Raises:
        ExportError: the files cannot be written, or the table has a figure that cannot be.
    """
    with scratch_folder(target) as build:
        for name in (MANIFEST, *artifact.manifest.files):
            shutil.copy2(artifact.folder / name, build / name)
        _save(build / TABLE, table, artifact)
        replace_folder(build, target)


def _save(path: Path, table: ModelTable, artifact: Artifact) -> None:
    table.save(path)
    try:
        ModelTable.load(path, artifact.manifest.files[MODEL].sha256)
    except ArtifactError as error:
        raise ExportError(f"the new row does not fit: {error}") from error
