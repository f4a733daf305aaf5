"""The pool entries of providers: from the shipped pool, from a catalogue, or as a server lists."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from routoo.cli.commands.init.answers import OPENROUTER
from routoo.cli.commands.pool.adding import ASSUMED_FIRST_TOKEN_MS, ASSUMED_PER_TOKEN_MS
from routoo.cli.output.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from routoo.cli.commands.init.answers import ProviderAnswer
    from routoo.cli.commands.init.served import ServedModel
    from routoo.routing.upkeep.catalogues import Catalogues
    from routoo.routing.upkeep.known_models import KnownModels

STARTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "openai": ("openai/gpt-5-nano-2025-08-07", "openai/gpt-5-mini-2025-08-07"),
    "anthropic": ("anthropic/claude-haiku-4-5-20251001",),
    "google": ("google/gemini-2.5-flash",),
}
"""Cheap models that a provider's share of the shipped pool lacks; a catalogue has their prices."""
STAND_IN: Final = "meta-llama/llama-3.1-8b-instruct"
"""Is predicted in place of a model whose name tells nothing."""
ASSUMED_WINDOW_TOKENS: Final = 8192
_ALIKE: Final = 0.8
_TUNED: Final = ("instruct", "it", "chat")
_STRANGE: Final = re.compile(r"[^a-z0-9._:-]+")
# The forms of one set of weights: its format, its quantisation, the tag of a download.
_FORM: Final = re.compile(
    r"\.gguf$|[-_.:](latest|gguf|awq|gptq|fp16|fp8|bf16|int[48]|mlx|[0-9]bit|i?q[2-8](_[0-9a-z]+)*)"
    r"(?=$|[-_.:])"
)


@dataclass(slots=True)
class FoundModels:
    """Entries of a pool file.

    Attributes:
        entries: by the name of the provider, its models as a pool file spells them.
        upstream_names: by the name of the provider, its own names by the pool's.
        remarks: doubts about them, for people.
    """

    entries: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    upstream_names: dict[str, dict[str, str]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def models(self) -> list[dict[str, Any]]:
        """All entries; a name counts once."""
        every = (one for entries in self.entries.values() for one in entries)
        return list({one["name"]: one for one in every}.values())


def sold_models(
    provider: ProviderAnswer,
    wanted: Sequence[str],
    shipped: Sequence[dict[str, Any]],
    catalogues: Catalogues | None,
    known: KnownModels,
) -> Iterator[dict[str, Any]]:
    """Yields the entries of a provider that needs no address.

    Args:
        provider: the provider.
        wanted: names of models; empty: those of the shipped pool, and the starters.
        shipped: the entries of the shipped pool.
        catalogues: price what is not shipped; None: none is installed.
        known: the models of the predictor.

    Raises:
        CommandError: a wanted model is not known, or nothing tells its price.
    """
    own = [one for one in shipped if provider.name in (OPENROUTER, _seller(one))]
    names = wanted or (*(one["name"] for one in own), *STARTERS.get(provider.name, ()))
    by_name = {one["name"]: one for one in own}
    for name in names:
        entry = by_name.get(name)
        if entry is None:
            entry = _catalogued(name, catalogues, known)
            if entry is None and wanted:
                raise CommandError(
                    f"--model {name}: no catalogue on this machine tells its prices and window;"
                    " pip install 'routoo[catalogue]', or leave it out and use `routoo pool add`"
                )
        if entry is None:
            continue
        if wanted and known.canonical(entry.get("predictor_name") or name) is None:
            alike = ", ".join(known.nearest(name)) or "`routoo models --catalogue` lists them"
            raise CommandError(f"--model {name}: the predictor does not know it; try {alike}")
        yield entry


def _seller(entry: Mapping[str, Any]) -> str:
    return str(entry.get("provider") or entry["name"].partition("/")[0])


def _catalogued(
    name: str, catalogues: Catalogues | None, known: KnownModels
) -> dict[str, Any] | None:
    found = None if catalogues is None else catalogues.by_name(name)
    if found is None or not found.is_priced or found.context_window_tokens is None:
        return None
    canonical = known.canonical(name)
    return {
        "name": name,
        **({"predictor_name": canonical} if canonical not in (None, name) else {}),
        **found.figures(),
        "price_status": "stated",
        "price_source": found.source,
        "capabilities": ["chat", *found.capabilities],
        "time_to_first_token_ms": ASSUMED_FIRST_TOKEN_MS,
        "time_per_output_token_ms": ASSUMED_PER_TOKEN_MS,
    }


def local_model(
    provider: str, served: ServedModel, known: KnownModels, taken: set[str]
) -> tuple[dict[str, Any], str]:
    """Returns the entry of a model that a server lists, and a doubt about it, or nothing.

    Args:
        provider: the server's name.
        served: the model.
        known: the models of the predictor.
        taken: names that are in use; the entry's is added.
    """
    plain = _STRANGE.sub("-", served.id.lower().rpartition("/")[2]).strip("-.") or "model"
    name, number = f"{provider}/{plain[:200]}", 1
    while name in taken:
        number += 1
        name = f"{provider}/{plain[:200]}-{number}"
    taken.add(name)
    row, is_sure = _row_of(served.id, known)
    doubt = ""
    if not is_sure:
        doubt = (
            f"{name} is predicted as {row}: no row has its name; correct predictor_name in the"
            " pool, or grade answers of it and `routoo-export onboard` it"
        )
    entry = {
        "name": name,
        "predictor_name": row,
        "provider": provider,
        "usd_per_1m_input_tokens": 0.0,
        "usd_per_1m_output_tokens": 0.0,
        "price_status": "assumed",
        "price_source": "runs on hardware of one's own",
        "context_window_tokens": served.window or ASSUMED_WINDOW_TOKENS,
        "capabilities": ["chat"],
        "time_to_first_token_ms": ASSUMED_FIRST_TOKEN_MS,
        "time_per_output_token_ms": ASSUMED_PER_TOKEN_MS,
    }
    return entry, doubt


def _row_of(served_id: str, known: KnownModels) -> tuple[str, bool]:
    """Returns the predictor's name for a served model, and whether that is the model itself."""
    bare = _FORM.sub("", served_id.lower().rpartition("/")[2])
    for name in (served_id, served_id.lower(), bare, bare.replace(":", "-")):
        found = known.canonical(name)
        if found is not None:
            return found, True
    rows = {_squashed(one.name): one.name for one in known.search() if "@" not in one.name}
    wanted = _squashed(bare)
    # A server that answers chats has the tuned weights, also where it leaves the word out.
    for form in (*(f"{wanted}{tuned}" for tuned in _TUNED), wanted):
        if form in rows:
            return rows[form], True
    plain = {_untuned(form): name for form, name in rows.items()}
    close = get_close_matches(_untuned(wanted), plain, n=1, cutoff=_ALIKE)
    if close:
        return plain[close[0]], False
    return known.canonical(STAND_IN) or next(iter(rows.values())), False


def _untuned(squashed: str) -> str:
    """Returns a squashed name without the word for tuned weights at its end."""
    return next((squashed.removesuffix(one) for one in _TUNED if squashed.endswith(one)), squashed)


def _squashed(name: str) -> str:
    """Returns the letters and digits of a model's name without its maker."""
    return re.sub(r"[^a-z0-9]", "", name.lower().rpartition("/")[2])
