"""The comparison of a pool with catalogues: figures that differ, and models that are kept."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from routoo.routing.arms.model import ModelSpec
from routoo.routing.upkeep.entry import CONDITIONS, PRICES, named_entry

if TYPE_CHECKING:
    from routoo.routing.upkeep.catalogues import Catalogues
    from routoo.routing.upkeep.entry import CatalogueEntry
    from routoo.routing.upkeep.pool_text import PoolText

JUMP = 3.0
"""A price that changes by more than this factor is marked for the reader."""
_SAME = 1e-9
"""Relative difference up to which two prices are the same."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field of a model that the catalogue has another value of.

    Attributes:
        model: the model's name.
        field: the field's name.
        old: the value in the pool; None: not set.
        new: the catalogue's value.
    """

    model: str
    field: str
    old: Any
    new: Any

    @property
    def is_jump(self) -> bool:
        """Whether a price changes by more than the factor ``JUMP``, or from or to 0."""
        if self.field not in PRICES or self.old is None:
            return False
        low, high = sorted((self.old, self.new))
        return bool(high > JUMP * low)


@dataclass(frozen=True, slots=True)
class PoolSync:
    """A pool's differences from the catalogues.

    Attributes:
        before: the pool file as it is.
        after: the pool file with the catalogues' figures.
        changes: the fields that differ, in the pool's order.
        kept: models whose figures no catalogue has, by name, with the reason.
    """

    before: PoolText
    after: PoolText
    changes: tuple[FieldChange, ...]
    kept: dict[str, str]

    @property
    def diff(self) -> str:
        """The change of the file as a unified diff; empty: none."""
        lines = difflib.unified_diff(
            self.before.text.splitlines(keepends=True),
            self.after.text.splitlines(keepends=True),
            self.before.source,
            self.after.source,
        )
        # A last line without an end would run into the next one.
        return "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def synced(before: PoolText, catalogues: Catalogues) -> PoolSync:
    """Compares a pool with catalogues.

    A model's figures are those of the entry that its ``price_source`` names. If that names none,
    they are those of the model's own maker, else OpenRouter's. If the entry's package is not here,
    the same seller's prices are taken from another catalogue, and nothing else. A figure that the
    catalogue does not have stays. Capabilities are only added.

    Raises:
        PoolError: the text cannot be edited.
    """
    changes: list[FieldChange] = []
    kept: dict[str, str] = {}
    for model in before.pool.models:
        found = _figures(model, catalogues)
        if isinstance(found, str):
            kept[model.name] = found
        else:
            changes += _differences(model, *found)
    fields: dict[str, dict[str, Any]] = {}
    for change in changes:
        fields.setdefault(change.model, {})[change.field] = change.new
    return PoolSync(before, before.with_fields(fields), tuple(changes), kept)


def _figures(
    model: ModelSpec, catalogues: Catalogues
) -> tuple[CatalogueEntry, dict[str, Any]] | str:
    """Returns the entry and its figures for the model, or why there are none."""
    if not model.price_source:
        entry = catalogues.by_name(model.name)
        return _all_of(model, entry) if entry else "no catalogue here has a model of this name"
    if named_entry(model.price_source) is None:
        return f"its prices are from {model.price_source!r}; empty price_source to look it up"
    entry = catalogues.named(model.price_source, model.name)
    if entry is not None and entry.is_priced:
        return _all_of(model, entry)
    entry = catalogues.same_seller(model.price_source, model.name)
    if entry is not None:
        return entry, entry.prices()
    return f"its prices are from {model.price_source!r}, which no catalogue here has"


def _all_of(model: ModelSpec, entry: CatalogueEntry) -> tuple[CatalogueEntry, dict[str, Any]]:
    figures = entry.figures()
    added = [one for one in entry.capabilities if one not in model.capabilities]
    if added:
        figures["capabilities"] = (*model.capabilities, *added)
    return entry, figures


def _differences(
    model: ModelSpec, entry: CatalogueEntry, figures: dict[str, Any]
) -> list[FieldChange]:
    plain = model.model_dump(exclude_none=True)
    wanted = _read(plain, figures)
    changes = [
        FieldChange(model.name, field, plain.get(field), new)
        for field, new in figures.items()
        if field in wanted and not _is_same(plain.get(field), wanted[field])
    ]
    if any(change.field in (*PRICES, *CONDITIONS) for change in changes):
        told = {"price_status": "stated", "price_source": entry.source}
        changes += [
            FieldChange(model.name, field, old, new)
            for field, new in told.items()
            if (old := getattr(model, field)) != new
        ]
    return changes


def _read(plain: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """Returns the figures as a pool file with them is read.

    Without those that say when prices are others, if they lack a price that the model has.
    """
    try:
        spec = ModelSpec.model_validate({**plain, **figures})
    except ValidationError:
        return {name: one for name, one in figures.items() if name not in CONDITIONS}
    return {name: spec.model_dump(exclude_none=True)[name] for name in figures}


def _is_same(old: Any, new: Any) -> bool:
    if isinstance(old, float) and isinstance(new, float):
        return math.isclose(old, new, rel_tol=_SAME)
    return bool(old == new)
