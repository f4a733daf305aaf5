"""Names of models: base, effort level, host, and the facts that stand beside them."""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final

from routoo_export.errors import OutcomeError

MODELS_FILE: Final = "models.csv"
_LIVEBENCH_FILE: Final = "livebench_names.csv"
# Suffixes that name a host, a number format or a second run, not another way to think.
_HOSTS: Final = re.compile(
    r"fp8|awq-int4|gptq-int4|fireworks|sambanova|hyperbolic|together(-turbo)?|fp8-together|run2|basic"
    r"|unsloth|unnamed-host|via-litellm"
)
# Models that think before they answer unless their suffix says otherwise.
_REASONS: Final = re.compile(
    r"/(o[134](-|$)|gpt-5(-|$)|gpt-5\.[1-5]?-?codex|gpt-5-pro|gpt-oss|deepseek-r1|deepseek-v4|qwq|glm-z1"
    r"|deepseek-v3\.2-speciale|gemini-2\.5-pro|gemini-2\.5-flash(-preview|$)|gemini-3|gemini-2\.0-flash-thinking"
    r"|grok-3-mini|grok-4|grok-code|kimi-k2-thinking|kimi-k2\.[5-9]|kimi-k3|minimax-m|glm-4\.[5-7]"
    r"|glm-5|qwen3-(0\.6b|8b|14b|32b|30b-a3b|235b-a22b)$|qwen3-235b-a22b-thinking|qwen3\.[5-9]|phi-4-reasoning"
    r"|mimo|muse|inkling|ox-alpha|smaug-agentic|claude-(opus|sonnet)-5|claude-fable|openthinker3"
    r"|nemotron-3|nemotron-nano|fuseo1|abeja-qwq|fin-r1|intern-s1|gpt-5\.5|gpt-5\.6|step-3|seed-oss)"
)
_ANSWERS_AT_ONCE: Final = re.compile(r"/(gpt-5-chat|gpt-5\.[0-9]-instant)")
_LEVELS: Final = {
    "none": 0.0,
    "nothink": 0.0,
    "minimal": 0.1,
    "low": 0.4,
    "medium": 0.7,
    "thinking": 0.8,
    "reasoning": 0.8,
    "high": 0.9,
    "xhigh": 1.0,
    "max": 1.1,
}
_DEFAULT_LEVEL: Final = 0.7


@dataclass(frozen=True, slots=True)
class ModelName:
    """A model's name in parts: ``provider/name@effort``.

    Attributes:
        canonical: The whole name.
        base: Provider and name.
        effort: How it is asked to think, or an empty string; hosts are left out.
        level: How much it thinks before it answers, from 0 (not at all) to 1.1 (maximum effort).
    """

    canonical: str
    base: str
    effort: str
    level: float


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Facts about a model that regressors use.

    Attributes:
        release: Year of its release with the month as a fraction, or None.
        params_b: Its parameters in billions, or None.
    """

    release: float | None
    params_b: float | None


def parse_name(canonical: str) -> ModelName:
    """Take a canonical name apart."""
    base, _, suffix = canonical.partition("@")
    effort = "" if _HOSTS.fullmatch(suffix) else suffix
    levels = [_LEVELS[part] for part in effort.split("-") if part in _LEVELS]
    if "nothink" in effort:
        level = 0.0
    elif levels:
        level = levels[-1]
    elif _REASONS.search(base) and not _ANSWERS_AT_ONCE.search(base):
        level = _DEFAULT_LEVEL
    else:
        level = 0.0
    return ModelName(canonical, base, effort, level)


def read_livebench_names() -> dict[str, str]:
    """The canonical name of each name in LiveBench's tables."""
    return {row["livebench"]: row["canonical"] for row in _livebench_rows()}


def read_source_names(data: Path) -> dict[tuple[str, str], str]:
    """The canonical name by source file and column name, from ``models.csv`` of the data folder."""
    return {
        (row["source_file"].removesuffix(".parquet"), row["source_name"]): row["canonical"]
        for row in _models_rows(data)
    }


def read_facts(data: Path) -> dict[str, ModelFacts]:
    """The facts by canonical name; a variant of which none are listed has those of its base."""
    facts: dict[str, ModelFacts] = {}
    for row in (*_models_rows(data), *_livebench_rows()):
        found = ModelFacts(
            release=_year(row["release"]),
            params_b=float(row["params_b"]) if row["params_b"] else None,
        )
        for name in (row["canonical"], row["canonical"].partition("@")[0]):
            known = facts.get(name, ModelFacts(None, None))
            facts[name] = ModelFacts(
                release=known.release or found.release, params_b=known.params_b or found.params_b
            )
    return facts


def _year(release: str) -> float | None:
    if not release:
        return None
    year, _, month = release.partition("-")
    return int(year) + (int(month) - 0.5 if month else 6.0) / 12.0


def _models_rows(data: Path) -> list[dict[str, str]]:
    path = data / MODELS_FILE
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except OSError as error:
        raise OutcomeError(f"{path}: cannot be read ({error}); set ROUTOO_DATA") from error


def _livebench_rows() -> Iterable[dict[str, str]]:
    text = resources.files("routoo_export.catalogue").joinpath(_LIVEBENCH_FILE).read_text("utf-8")
    return list(csv.DictReader(text.splitlines()))
