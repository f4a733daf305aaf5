"""Licences of what a predictor was trained on, and whether they allow to hand it on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from routoo_export.errors import ExportError
from routoo_export.outcomes.outcomes import UNKNOWN_LICENCE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ALLOWED: Final = frozenset(
    {
        *("apache-2.0", "mit", "mit-0", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense"),
        *(
            "cc0",
            "cc0-1.0",
            "cc-by-3.0",
            "cc-by-4.0",
            "pddl-1.0",
            "odc-by-1.0",
            "cdla-permissive-2.0",
        ),
    }
)
"""Licences, in lower case, under which what is learned from a source may be handed on."""
_LICENCES: Final = "_licences"


@dataclass(frozen=True, slots=True)
class LicensedSource:
    """Something that a predictor has learned from.

    Attributes:
        name: of the source, or of sources that have their licences in common.
        licence: an SPDX expression, or ``UNKNOWN_LICENCE``.
    """

    name: str
    licence: str


def sources_of(training: Mapping[str, Any]) -> tuple[LicensedSource, ...]:
    """Returns the sources that the key ``training`` of a manifest lists.

    A list ``x`` of sources without licences may stand beside ``x_licences``, which holds for all.
    """
    found: list[LicensedSource] = []
    for key, value in training.items():
        if key.endswith(_LICENCES) and isinstance(value, list):
            name = key.removesuffix(_LICENCES)
            found += [LicensedSource(name, str(licence)) for licence in value]
        elif isinstance(value, list):
            found += _listed(value, has_common=f"{key}{_LICENCES}" in training)
    return tuple(dict.fromkeys(found))


def _listed(rows: list[Any], *, has_common: bool) -> Iterator[LicensedSource]:
    for row in rows:
        if isinstance(row, dict) and "name" in row and not (has_common and "licence" not in row):
            yield LicensedSource(str(row["name"]), str(row.get("licence") or UNKNOWN_LICENCE))


def check(sources: Iterable[LicensedSource], own_licence: str = "") -> tuple[LicensedSource, ...]:
    """Returns the sources with their licences, if all of them allow to hand the predictor on.

    Args:
        sources: see ``sources_of``.
        own_licence: an SPDX expression for those whose licence the manifest does not tell, which
            are taken for the caller's own; empty: they are refused.

    Raises:
        ExportError: there is no source, or one forbids it or tells no licence; names it.
    """
    found = tuple(
        LicensedSource(one.name, own_licence or one.licence)
        if one.licence == UNKNOWN_LICENCE
        else one
        for one in sources
    )
    if not found:
        raise ExportError("the manifest tells no source of the training, so nobody may hand it on")
    for one in found:
        if one.licence == UNKNOWN_LICENCE:
            raise ExportError(
                f"the licence of the source {one.name!r} is not known; if it is yours, name it with"
                " --own-licence, e.g. Apache-2.0"
            )
        if not is_allowed(one.licence):
            raise ExportError(
                f"the licence of the source {one.name!r} is {one.licence}, which does not allow to"
                " hand on what is learned from it; train without it"
            )
    return found


def is_allowed(licence: str) -> bool:
    """Returns whether an SPDX expression, with ``AND`` and ``OR``, allows to hand it on."""
    if "(" in licence:  # nobody writes these here: each part has to allow it
        return all(map(is_allowed, re.split(r"\s+(?:AND|OR)\s+", re.sub(r"[()]", " ", licence))))
    return any(
        all(_plain(part) in ALLOWED for part in re.split(r"\s+AND\s+", alternative))
        for alternative in re.split(r"\s+OR\s+", licence)
    )


def _plain(name: str) -> str:
    return name.strip().lower().replace("cc by ", "cc-by-")
