"""The model card of a predictor: data, licences, figures and limits, out of its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from routoo.predictor.artifact import Artifact
    from routoo_export.artifact.hub.licences import LicensedSource

_MOST_FIGURES: Final = 60
_MOST_MODELS: Final = 40
_LIMITS: Final = """\
- It estimates scores of models from the prompt alone. It has seen none of the answers, and its
  figures are means over many prompts: a single one may turn out otherwise.
- It knows the models named above at the time of its training. A provider that changes a model
  behind the same name makes its row old; report outcomes, or add the model anew
  (`routoo-export onboard`).
- Prompts unlike those it has learned from are told as such (`ood`), and scored with less certainty.
- It is no judge of an answer's truth or harm, and was trained for nothing but routing.
"""


def card_of(
    artifact: Artifact, sources: Iterable[LicensedSource], licence: str, repository: str
) -> str:
    """Returns the text of the README.md with which a hub shows a predictor.

    Args:
        artifact: the predictor.
        sources: what it has learned from.
        licence: of the predictor itself, an SPDX expression.
        repository: its name on the hub.
    """
    manifest = artifact.manifest
    rows = "\n".join(f"| {one.name} | {one.licence} |" for one in sources)
    figures = "\n".join(f"| {name} | {value} |" for name, value in _figures(manifest.metrics))
    files = "\n".join(
        f"| `{name}` | {one.bytes:,} | `{one.sha256}` |" for name, one in manifest.files.items()
    )
    return f"""\
---
license: {licence.lower()}
library_name: routoo
tags:
- llm-routing
- routoo
- onnx
---

# {repository}

A performance predictor for Routoo, a router of LLM requests; version `{artifact.version}`. From
a prompt it tells the score in [0, 1] and the output tokens that each model of a pool would come to,
without running any.

```console
$ routoo-export pull {repository} --out predictor
$ ROUTOO_PREDICTOR__ARTIFACT=predictor routoo serve
```

It has {len(artifact.models)} models: {_some(artifact.models)}.

## Data and licences

| source | licence |
|---|---|
{rows}

The predictor holds no answer of them, but what was learned from them. Where a licence asks for
attribution, the names above are it.

## Figures

By its own manifest, on prompts that it was not trained on where the name does not say otherwise:

| figure | value |
|---|---|
{figures}

## Limits

{_LIMITS}
## Files

| file | bytes | SHA-256 |
|---|---|---|
{files}
"""


def _some(models: tuple[str, ...]) -> str:
    shown = ", ".join(f"`{name}`" for name in models[:_MOST_MODELS])
    return shown if len(models) <= _MOST_MODELS else f"{shown} and others"


def _figures(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    return list(_flat("", metrics))[:_MOST_FIGURES]


def _flat(prefix: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(f"{prefix} {name}".strip().replace("_", " "), inner)
    elif isinstance(value, float):
        yield prefix, f"{value:.4g}"
    elif isinstance(value, int | str):
        yield prefix, str(value).replace("|", "/")
