"""The file of the catalogue: it comes back as it was written, and is checked."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from routoo_export.catalogue.table import Catalogue, read_catalogue, write_catalogue
from routoo_export.errors import CatalogueError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_catalogue_comes_back_as_it_was_written(catalogue: Catalogue, tmp_path: Path) -> None:
    write_catalogue(tmp_path / "one.npz", catalogue)
    write_catalogue(tmp_path / "two.npz", catalogue)
    back = read_catalogue(tmp_path / "one.npz")
    for one in dataclasses.fields(Catalogue):
        np.testing.assert_array_equal(getattr(back, one.name), getattr(catalogue, one.name))
    with np.load(tmp_path / "one.npz", allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "fiUb" for name in file.files)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.npz").write_bytes(b"no zip")
    for path in (tmp_path / "bad.npz", tmp_path / "missing.npz"):
        with pytest.raises(CatalogueError, match="not a catalogue"):
            read_catalogue(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": np.asarray(99)}, "not a catalogue of format"),
        ({"score_mean": None}, "score_mean is missing"),
        ({"score_mean": np.full((24, 25), np.nan)}, "not finite"),
        ({"score_mean": np.zeros((3, 25))}, "score_mean has shape"),
    ],
)
def test_a_damaged_file_is_refused(
    catalogue: Catalogue,
    tmp_path: Path,
    change: dict[str, np.ndarray | None],
    message: str,
) -> None:
    write_catalogue(tmp_path / "c.npz", catalogue)
    with np.load(tmp_path / "c.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files} | change
    np.savez(tmp_path / "c.npz", **{n: a for n, a in arrays.items() if a is not None})
    with pytest.raises(CatalogueError, match=message):
        read_catalogue(tmp_path / "c.npz")


def test_an_unknown_model_is_met_with_the_nearest(catalogue: Catalogue) -> None:
    with pytest.raises(CatalogueError, match="the nearest are lab/m0"):
        catalogue.row("lab/m3")
