"""Synthetic measurements with known abilities, and a small catalogue made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.tables.small_catalogue import small_catalogue, small_measurements

if TYPE_CHECKING:
    from routoo_export.catalogue.measurements import Measurements
    from routoo_export.catalogue.table import Catalogue


@pytest.fixture(scope="session")
def measured() -> Measurements:
    return small_measurements()


@pytest.fixture(scope="session")
def catalogue(measured: Measurements) -> Catalogue:
    return small_catalogue(measured)
