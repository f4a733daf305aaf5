"""The registry of outcome sources: licence, scores, kinds of task and columns of each.

The registry is the file sources.yaml of this package; its head explains the keys.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.kinds import TASK_KINDS

REGISTRY_FILE: Final = Path(__file__).parent / "sources.yaml"
SHIPPABLE: Final = frozenset(
    {"Apache-2.0", "MIT", "CC0-1.0", "CC-BY-2.0", "CC-BY-2.5", "CC-BY-3.0", "CC-BY-4.0"}
)
"""Licences (SPDX) under which what is trained on a source may be shipped."""


def _known_kind(kind: str) -> str:
    if kind not in TASK_KINDS:
        raise ValueError(f"no such kind of task {kind!r}; take one of {', '.join(TASK_KINDS)}")
    return kind


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Name = Annotated[str, Field(min_length=1)]
Kind = Annotated[str, AfterValidator(_known_kind)]
Pattern = Annotated[str, Field(min_length=1), AfterValidator(_compiles)]


class _Entry(BaseModel):
    """A part of an entry; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NameFilter(_Entry):
    """A choice of names by glob patterns; without ``keep`` all names but the dropped ones.

    Attributes:
        keep: Patterns of the names that are kept.
        drop: Patterns of the names that are dropped.
    """

    keep: Annotated[list[Name], Field(min_length=1)] | None = None
    drop: Annotated[list[Name], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "NameFilter":
        if (self.keep is None) == (self.drop is None):
            raise ValueError("give either keep or drop")
        return self

    def keeps(self, name: str | None) -> bool:
        """Returns whether ``name`` is kept; None is a row without a name and matches nothing."""
        patterns = self.keep if self.keep is not None else self.drop or []
        found = name is not None and any(fnmatchcase(name, pattern) for pattern in patterns)
        return found if self.keep is not None else not found


class RowFilter(NameFilter):
    """A choice of rows by the values of a column.

    Attributes:
        column: The column.
    """

    column: Name


class KindMap(_Entry):
    """The kinds of task of a source whose rows are of several.

    Attributes:
        column: Column whose values decide.
        map: Kind by glob pattern of those values; the first that matches decides. None = rows of
            several kinds.
    """

    column: Name
    map: Annotated[dict[Name, Kind | None], Field(min_length=1)]


class SourceEntry(_Entry):
    """One source of the registry.

    Attributes:
        name: Name of the source.
        file: Its file is <file>.parquet; None = <name>.parquet.
        licence: Licence of prompts and scores together, an SPDX expression with AND; "none" where
            none is stated.
        ships: Whether a predictor that ships may be trained on it.
        score: "binary", "share" (of tests or of runs) or "judge".
        judge: The judge of the scores; None unless ``score`` is "judge".
        prompt: Column with the text that is asked; None = the file has no texts.
        lengths: Prefix of the columns with output lengths; "resp_chars" counts visible characters.
        costs: Prefix of the columns with costs: "cost" as billed, "cost_est" from prices.
        kind: Kind of task of all rows; None = of several kinds, or those of ``kinds``.
        kinds: Kinds of task by a column.
        wraps: Regular expressions (with ``re.DOTALL``) that are cut from a prompt, in order, before
            its question decides on the split: a question in other words around it is the same.
        rows: The rows that are read; None = all.
        models: The models that are read, by their names in the file; None = all.
    """

    name: Name
    file: Name | None = None
    licence: Name
    ships: bool
    score: Literal["binary", "share", "judge"]
    judge: Name | None = None
    prompt: Name | None = "prompt"
    lengths: Literal["out_tokens", "resp_chars", "none"]
    costs: Literal["cost", "cost_est", "none"]
    kind: Kind | None = None
    kinds: KindMap | None = None
    wraps: list[Pattern] = []
    rows: RowFilter | None = None
    models: NameFilter | None = None

    @property
    def file_name(self) -> str:
        """Name of the parquet file in the data folder."""
        return f"{self.file or self.name}.parquet"

    @model_validator(mode="after")
    def _consistent(self) -> "SourceEntry":
        unfit = sorted(set(self.licence.split(" AND ")) - SHIPPABLE)
        if self.ships and unfit:
            raise ValueError(f"ships: licence {unfit[0]} does not allow shipping; set ships: false")
        if (self.score == "judge") != (self.judge is not None):
            raise ValueError("judge: name the judge of score: judge, and of no other score")
        if ("kind" in self.model_fields_set) == ("kinds" in self.model_fields_set):
            raise ValueError("kind: give either kind (null = of several kinds) or kinds")
        return self

    def possible_kinds(self) -> tuple[str, ...]:
        """The kinds of task that its rows can have, in the order of TASK_KINDS."""
        kinds = {self.kind} if self.kinds is None else set(self.kinds.map.values())
        return tuple(kind for kind in TASK_KINDS if kind in kinds)


@dataclass(frozen=True, slots=True)
class Registry:
    """The sources of one registry file.

    Attributes:
        path: The file.
        sources: The sources, in the order of the file.
    """

    path: Path
    sources: tuple[SourceEntry, ...]

    def named(self, name: str) -> SourceEntry:
        """The source ``name``.

        Raises:
            OutcomeError: the registry has no such source; the message lists those it has.
        """
        found = [source for source in self.sources if source.name == name]
        if not found:
            listed = ", ".join(source.name for source in self.sources)
            raise OutcomeError(f"{self.path}: no source {name!r}; it has {listed}")
        return found[0]

    def shipping(self) -> tuple[SourceEntry, ...]:
        """The sources that a predictor that ships may be trained on."""
        return tuple(source for source in self.sources if source.ships)

    def unknown_files(self, folder: Path) -> tuple[str, ...]:
        """Names of the parquet files of ``folder`` that no source reads, in order."""
        known = {source.file_name for source in self.sources}
        return tuple(
            sorted(path.name for path in folder.glob("*.parquet") if path.name not in known)
        )


def read_registry(path: Path = REGISTRY_FILE) -> Registry:
    """Read and check a registry.

    Raises:
        OutcomeError: it cannot be read, or an entry does not fit; the message has file and key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise OutcomeError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise OutcomeError(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, list) or not content:
        raise OutcomeError(f"{path}: not a list of sources; write one entry per source")
    try:
        sources = TypeAdapter(tuple[SourceEntry, ...]).validate_python(tuple(content))
    except ValidationError as error:
        raise OutcomeError(f"{path}: {_first_problem(error, content)}") from error
    name, count = Counter(source.name for source in sources).most_common(1)[0]
    if count > 1:
        raise OutcomeError(f"{path}: two sources are named {name!r}; rename one of them")
    return Registry(path, sources)


@cache
def registry() -> Registry:
    """The registry of this package, read once.

    Raises:
        OutcomeError: it cannot be read, or an entry does not fit.
    """
    return read_registry()


def _first_problem(error: ValidationError, content: Sequence[Any]) -> str:
    """The first problem as "source NAME: KEY: what is wrong"."""
    problem = error.errors()[0]
    place, *keys = problem["loc"]
    entry = content[place] if isinstance(place, int) else None
    name = entry.get("name") if isinstance(entry, Mapping) else None
    label = f"source {name!r}" if name else f"entry {place}"
    said = problem["msg"].removeprefix("Value error, ")
    return ": ".join([label, *([".".join(map(str, keys))] if keys else []), said])
