"""Prompts with labels, the known facts about their answers: JSON Lines, one prompt per line.

A line has the fields that ``routoo batch`` reads, and may have besides:

- ``scores``: quality of each model's answer in [0, 1], ``{"gpt-4o": 1, "small": 0.5}``;
- ``costs_usd``: cost of each model's answer, ``{"gpt-4o": 0.01, "small": 0.0002}``;
- ``signals``: signals in a model's answer, ``{"small": {"agreement": 1, "margin": 0.3}}``.
"""

from __future__ import annotations

import difflib
import hashlib
import math
from codecs import BOM_UTF8
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from routoo.client.prompts_file import PromptsFileError, read_prompts
from routoo.errors import InvalidRequestError
from routoo.selector.cascade import SIGNAL_KINDS, feature_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from routoo.client.prompts_file import Prompts
    from routoo.selector.cascade import SignalKind

_LABELS = ("scores", "costs_usd", "signals")


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of one prompt, by model.

    Attributes:
        scores: quality of the answer, in [0, 1].
        costs_usd: cost of the answer, at least 0.
        signals: the feature of each kind of signal, see ``routoo.selector.cascade.feature_of``.
    """

    scores: Mapping[str, float] = field(default_factory=dict)
    costs_usd: Mapping[str, float] = field(default_factory=dict)
    signals: Mapping[str, Mapping[SignalKind, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelledPrompts:
    """A file of prompts with labels.

    Attributes:
        prompts: the requests and their line numbers.
        labels: one entry per request.
        sha256: SHA-256 of the file, in hexadecimal.
    """

    prompts: Prompts
    labels: list[Labels]
    sha256: str


def read_labelled_prompts(
    lines: Iterable[bytes], name: str, known_models: Collection[str]
) -> LabelledPrompts:
    """Reads prompts and labels.

    Args:
        lines: the file, opened in binary mode.
        name: the file's name in messages.
        known_models: the names that labels may use; others are taken for misspelt.

    Raises:
        PromptsFileError: a malformed line; names file and line, and what to do.
    """
    digest = hashlib.sha256()
    found: dict[int, Labels] = {}

    def bare() -> Iterator[bytes]:
        for number, line in enumerate(lines, start=1):
            digest.update(line)
            try:
                value = orjson.loads(line.removeprefix(BOM_UTF8))
            except orjson.JSONDecodeError:
                value = None  # ``read_prompts`` below reports the fault
            if not isinstance(value, dict):
                yield line
                continue
            try:
                found[number] = _labels(value, known_models)
            except InvalidRequestError as error:
                raise PromptsFileError(f"{name}:{number}: {error}") from None
            yield orjson.dumps({key: item for key, item in value.items() if key not in _LABELS})

    prompts = read_prompts(bare(), name)
    labels = [found.get(number, Labels()) for number in prompts.line_numbers]
    return LabelledPrompts(prompts, labels, digest.hexdigest())


def _labels(value: dict[str, Any], known: Collection[str]) -> Labels:
    signals = _by_model(value, "signals", known)
    return Labels(
        scores={
            model: _number(score, f"scores.{model}", most=1.0)
            for model, score in _by_model(value, "scores", known).items()
        },
        costs_usd={
            model: _number(cost, f"costs_usd.{model}", most=math.inf)
            for model, cost in _by_model(value, "costs_usd", known).items()
        },
        signals={model: _features(found, f"signals.{model}") for model, found in signals.items()},
    )


def _by_model(value: dict[str, Any], key: str, known: Collection[str]) -> dict[str, Any]:
    given = value.get(key)
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidRequestError('has to be an object, {"MODEL": ...}', field=key)
    for model in given:
        if model not in known:
            close = difflib.get_close_matches(model, known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "neither pool nor predictor has it"
            raise InvalidRequestError(f"unknown model {model!r}; {hint}", field=key)
    return {model: item for model, item in given.items() if item is not None}


def _number(value: Any, where: str, *, most: float) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or not 0.0 <= value <= most:
        allowed = "in [0, 1]" if most == 1.0 else "of at least 0"
        raise InvalidRequestError(f"is {value!r}; it has to be a number {allowed}", field=where)
    return float(value)


def _features(given: Any, where: str) -> dict[SignalKind, float]:
    if not isinstance(given, dict):
        raise InvalidRequestError('has to be an object, {"agreement": 1}', field=where)
    features: dict[SignalKind, float] = {}
    for kind, value in given.items():
        known = next((one for one in SIGNAL_KINDS if one == kind), None)
        if known is None:
            raise InvalidRequestError(
                f"unknown signal {kind!r}; known: {', '.join(SIGNAL_KINDS)}", field=where
            )
        if value is None:
            continue
        try:
            features[known] = feature_of(known, value)
        except InvalidRequestError as error:
            raise error.within(where) from None
        except (TypeError, ValueError):
            raise InvalidRequestError("is no number", field=f"{where}.{kind}") from None
    return features
