"""Other names of the catalogue's models: those of sources, and those that providers write.

An alias is kept only where it means one model. Aliases are in lower case, as the table of models
looks a name up in lower case too.
"""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from routoo_export.catalogue.names import read_livebench_names, read_source_names

# A day (2025-12-11, 20251211), or a month (03-2025, 2407) or month and day (0613).
_DATE: Final = re.compile(r"-(20\d\d-?\d\d-?\d\d|\d\d-20\d\d|\d{4})$")
# Anthropic writes claude-opus-4-8, resellers write claude-opus-4.8. Of other makers' names the
# numbers beside a hyphen are sizes.
_HYPHENATED: Final = "anthropic/"
_VERSION: Final = re.compile(r"(?<=\d)-(?=\d\b)")


def make_aliases(
    names: Collection[str], source_names: Iterable[tuple[str, str]] = ()
) -> dict[str, str]:
    """Make the aliases of models.

    Short names leave out the provider, and the date where no other model has the same name without
    it: ``gpt-5.2`` and ``openai/gpt-5.2`` mean ``openai/gpt-5.2-2025-12-11``. Effort levels keep
    their part after the ``@``.

    Args:
        names: Canonical names, ``provider/name`` or ``provider/name@effort``.
        source_names: A source's name of a model and the canonical name that it means. Names
            without a digit are left out, as the model they mean changes with the years.

    Returns:
        Aliases in lower case, and the canonical names that they mean; no alias is a canonical name.
    """
    whole: dict[str, set[str]] = {}
    undated: dict[str, set[str]] = {}
    for alias, name in source_names:
        if any(letter.isdigit() for letter in alias):
            whole.setdefault(alias.lower(), set()).add(name)
    for name in names:
        provider, _, short = name.partition("/")
        if not short:
            continue
        model, at, level = short.partition("@")
        bare = _DATE.sub("", model)
        for spelt in _spellings(provider, model):
            whole.setdefault(f"{spelt}{at}{level}".lower(), set()).add(name)
            whole.setdefault(f"{provider}/{spelt}{at}{level}".lower(), set()).add(name)
        if bare != model:
            for spelt in _spellings(provider, bare):
                undated.setdefault(f"{spelt}{at}{level}".lower(), set()).add(name)
                undated.setdefault(f"{provider}/{spelt}{at}{level}".lower(), set()).add(name)
    canonical = {name.lower() for name in names}
    found = {}
    for alias, meant in (undated | whole).items():
        (one, *others) = meant
        if not others and one in names and alias not in canonical:
            found[alias] = one
    return dict(sorted(found.items()))


def _spellings(provider: str, model: str) -> set[str]:
    if f"{provider}/" != _HYPHENATED:
        return {model}
    return {model, _VERSION.sub(".", model)}


def source_aliases(data: Path, names: Collection[str]) -> dict[str, str]:
    """Make the aliases of models, with the names that the sources of the data folder have.

    Args:
        data: The data folder.
        names: Canonical names.

    Raises:
        OutcomeError: the list of names is missing.
    """
    pairs = [(alias, name) for (_, alias), name in read_source_names(data).items()]
    return make_aliases(frozenset(names), [*pairs, *read_livebench_names().items()])
