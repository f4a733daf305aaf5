"""The registry of sources, and the outcomes that are read by it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.kinds import NO_KIND, TASK_KINDS, map_kinds
from routoo_export.outcomes.overlaps import find_overlaps
from routoo_export.outcomes.registry import SHIPPABLE, Registry, read_registry, registry
from routoo_export.outcomes.sources import (
    TRAINING_SOURCES,
    SourceOutcomes,
    read_source,
    split_together,
    training_sources,
)
from routoo_export.outcomes.splits import TRAIN_BUCKETS, in_buckets

if TYPE_CHECKING:
    from pathlib import Path

PLAIN: dict[str, Any] = {
    "name": "plain",
    "licence": "MIT",
    "ships": True,
    "score": "binary",
    "lengths": "resp_chars",
    "costs": "cost",
    "kind": "math_easy",
}


def write_registry(folder: Path, *entries: dict[str, Any]) -> Registry:
    path = folder / "sources.yaml"
    path.write_text(yaml.safe_dump(list(entries), sort_keys=False), encoding="utf-8")
    return read_registry(path)


def write_file(folder: Path, name: str, columns: dict[str, list[Any]]) -> None:
    """A file of outcomes, and a list of models in which every name has a provider."""
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    models = [column.removeprefix("score:") for column in columns if column.startswith("score:")]
    path = folder / "models.csv"
    if not path.exists():
        path.write_text("source_file,source_name,canonical\n", encoding="utf-8")
    with path.open("a", encoding="utf-8") as lines:
        lines.writelines(f"{name}.parquet,{model},Maker/{model}\n" for model in models)


def file_columns() -> dict[str, list[Any]]:
    return {
        "prompt_id": ["a", "b", "c", "d"],
        "prompt": ["One?", "Two?", None, "Four?"],
        "domain": ["x/1", "x/2", "y", None],
        "score:Big": [1.0, 0.0, 1.0, 1.0],
        "score:small": [0.0, None, 1.0, 0.0],
        "cost:Big": [1e-3, 2e-3, 3e-3, 4e-3],
        "cost_est:Big": [9.0, 9.0, 9.0, 9.0],
        "resp_chars:Big": [400, -1, 40, 80],
        "out_tokens:Big": [7, 7, -1, 7],
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "poetry"}, r"source 'plain': kind: no such kind of task 'poetry'; take one of"),
        (
            {"licence": "CC-BY-NC-4.0"},
            r"ships: licence CC-BY-NC-4.0 does not allow shipping; set ships: false",
        ),
        ({"licence": "MIT AND ODC-By-1.0"}, r"licence ODC-By-1.0 does not allow shipping"),
        ({"licence": "none"}, r"licence none does not allow shipping"),
        ({"score": "judge"}, r"judge: name the judge"),
        ({"judge": "someone"}, r"judge: name the judge"),
        ({"score": "stars"}, r"source 'plain': score: Input should be 'binary', 'share' or"),
        ({"colour": "red"}, r"source 'plain': colour: Extra inputs"),
        ({"ships": "yes"}, r"source 'plain': ships: Input should be a valid boolean"),
        ({"rows": {"column": "domain"}}, r"rows: give either keep or drop"),
        ({"wraps": ["("]}, r"wraps.0: not a regular expression"),
        ({"kinds": {"column": "domain", "map": {"*": None}}}, r"kind: give either kind"),
    ],
)
def test_an_entry_that_does_not_fit_is_one_line(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(OutcomeError, match=said) as caught:
        write_registry(tmp_path, {**PLAIN, **change})
    assert str(caught.value).startswith(f"{tmp_path / 'sources.yaml'}: source 'plain': ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a list of sources"),
        ("name: plain", "not a list of sources"),
        ("- [", "not YAML"),
        ("- 3", "entry 0: Input should be"),
        ("- {licence: MIT}", "entry 0: name: Field required"),
    ],
)
def test_a_registry_that_is_not_one_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "sources.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(OutcomeError, match=said) as caught:
        read_registry(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(OutcomeError, match="cannot be read"):
        read_registry(tmp_path / "none.yaml")


def test_two_sources_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="two sources are named 'plain'; rename"):
        write_registry(tmp_path, PLAIN, {**PLAIN, "name": "other"}, PLAIN)


def test_a_source_is_read_as_its_entry_says(tmp_path: Path) -> None:
    write_file(tmp_path, "plain", file_columns())
    known = write_registry(tmp_path, PLAIN)
    read = read_source(tmp_path, "plain", known=known)
    outcomes = read.outcomes
    assert outcomes.prompts == ("One?", "Two?", "Four?")
    assert outcomes.models == ("maker/big", "maker/small")
    np.testing.assert_array_equal(outcomes.scores, [[1, 0], [0, np.nan], [1, 0]])
    np.testing.assert_array_equal(outcomes.cost_usd[:, 0], [1e-3, 2e-3, 4e-3])
    np.testing.assert_array_equal(outcomes.output_tokens[:, 0], [100, np.nan, 20])
    assert read.notes == ("1 rows without a prompt are left out",)
    assert (outcomes.sources[0].rows, outcomes.sources[0].costs) == (4, "true")
    assert [TASK_KINDS[kind] for kind in read.kinds] == ["math_easy"] * 3
    assert read.source is known.sources[0]


def test_only_registered_lengths_costs_rows_and_models_are_read(tmp_path: Path) -> None:
    write_file(tmp_path, "file", file_columns())
    entry = {
        **PLAIN,
        "file": "file",
        "lengths": "out_tokens",
        "costs": "none",
        "rows": {"column": "domain", "keep": ["x/*", "y"]},
        "models": {"drop": ["s*"]},
    }
    read = read_source(tmp_path, "plain", known=write_registry(tmp_path, entry))
    assert read.outcomes.prompt_ids == ("a", "b")
    assert read.outcomes.models == ("maker/big",)
    assert read.outcomes.sources[0].costs == "none"
    np.testing.assert_array_equal(read.outcomes.output_tokens, [[7], [7]])


def test_kinds_follow_the_first_pattern_that_matches(tmp_path: Path) -> None:
    write_file(tmp_path, "plain", file_columns())
    kinds = {"column": "domain", "map": {"x/2": None, "x/*": "roleplay", "*": "translate"}}
    entry = {key: value for key, value in PLAIN.items() if key != "kind"} | {"kinds": kinds}
    known = write_registry(tmp_path, entry)
    read = read_source(tmp_path, "plain", known=known)
    assert read.kinds.tolist() == [TASK_KINDS.index("roleplay"), NO_KIND, NO_KIND]
    assert known.sources[0].possible_kinds() == ("roleplay", "translate")


@given(st.lists(st.sampled_from([*TASK_KINDS, None, "?"]), max_size=20))
def test_a_kind_maps_to_its_place(labels: list[str | None]) -> None:
    codes = map_kinds(labels, {kind: kind for kind in TASK_KINDS})
    assert [TASK_KINDS[c] if c != NO_KIND else None for c in codes] == [
        None if label == "?" else label for label in labels
    ]


def test_the_second_column_of_a_model_is_left_out_and_said(tmp_path: Path) -> None:
    write_file(tmp_path, "plain", {**file_columns(), "score:BIG": [0.0, 0.0, 0.0, 0.0]})
    read = read_source(tmp_path, "plain", known=write_registry(tmp_path, PLAIN))
    assert read.outcomes.models == ("maker/big", "maker/small")
    assert read.outcomes.scores[0, 0] == 1.0
    assert "'BIG' is left out: it is maker/big, as is 'Big'" in read.notes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "question"}, r"column 'question' is missing, .* names as prompt; correct"),
        ({"rows": {"column": "topic", "drop": ["x"]}}, r"'topic' is missing, .* as rows.column"),
        ({"prompt": None}, r"plain.parquet: has no prompts"),
        ({"file": "absent"}, r"absent.parquet: not a readable parquet file"),
        ({"rows": {"column": "domain", "keep": ["z"]}}, r"no rows"),
    ],
)
def test_a_file_that_the_entry_does_not_fit_is_one_line(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    write_file(tmp_path, "plain", file_columns())
    with pytest.raises(OutcomeError, match=said):
        read_source(tmp_path, "plain", known=write_registry(tmp_path, {**PLAIN, **change}))


def test_a_mapped_column_that_is_missing_is_named(tmp_path: Path) -> None:
    write_file(tmp_path, "plain", file_columns())
    kinds = {"column": "category", "map": {"*": "advice"}}
    entry = {key: value for key, value in PLAIN.items() if key != "kind"} | {"kinds": kinds}
    with pytest.raises(OutcomeError, match=r"column 'category' is missing, .* as kinds.column"):
        read_source(tmp_path, "plain", known=write_registry(tmp_path, entry))


def test_a_model_without_a_canonical_name_is_named(tmp_path: Path) -> None:
    write_file(tmp_path, "plain", file_columns())
    known = write_registry(tmp_path, PLAIN)
    models = tmp_path / "models.csv"
    models.write_text("source_file,source_name,canonical\nplain.parquet,Big,a/b\n", "utf-8")
    with pytest.raises(OutcomeError, match=r"no canonical name of 'small' of plain.parquet; add"):
        read_source(tmp_path, "plain", known=known)
    models.write_text("file\nplain.parquet\n", "utf-8")
    with pytest.raises(OutcomeError, match=r"models.csv: no usable list of models"):
        read_source(tmp_path, "plain", known=known)
    with pytest.raises(OutcomeError, match="no source 'other'; it has plain"):
        read_source(tmp_path, "other", known=known)


def two_sources(folder: Path) -> tuple[SourceOutcomes, ...]:
    """The same forty questions: bare, and with words around them."""
    bare = [f"Is {i} a prime number?" for i in range(40)]
    wrapped = [f"Question: {text}\nOptions: (A) yes (B) no" for text in bare]
    for name, prompts in (("plain", bare), ("wrapped", wrapped)):
        ids = [f"{name}-{i}" for i in range(40)]
        write_file(folder, name, {"prompt_id": ids, "prompt": prompts, "score:m": [1.0] * 40})
    wraps = ["^Question: ", "\\nOptions:.*"]
    known = write_registry(folder, PLAIN, {**PLAIN, "name": "wrapped", "wraps": wraps})
    return tuple(read_source(folder, name, known=known) for name in ("plain", "wrapped"))


def test_a_wrapped_question_is_on_the_side_of_the_bare_one(tmp_path: Path) -> None:
    parts = two_sources(tmp_path)
    plain, wrapped = (part.outcomes for part in parts)
    np.testing.assert_array_equal(plain.buckets, wrapped.buckets)
    assert wrapped.prompts[0].startswith("Question: ")
    for part, alone in zip(split_together(parts), parts, strict=True):
        np.testing.assert_array_equal(part.outcomes.buckets, alone.outcomes.buckets)


def test_overlaps_count_shared_and_repeated_questions(tmp_path: Path) -> None:
    plain, wrapped = (part.outcomes for part in two_sources(tmp_path))
    train = int(in_buckets(plain.buckets, TRAIN_BUCKETS).sum())
    twice = wrapped.rows(np.arange(-1, 40))
    (pair,), (of_plain, of_wrapped) = find_overlaps([plain, twice])
    assert pair.sources == ("plain", "wrapped")
    assert (pair.shared, pair.train, pair.apart) == (40, train, 0)
    assert pair.train + pair.validation + pair.test == 40
    assert (of_plain.stems, of_plain.repeated) == (40, 0)
    assert (of_wrapped.prompts, of_wrapped.stems, of_wrapped.repeated) == (41, 40, 2)
    assert find_overlaps([]) == ((), ())


def test_what_ships_is_free_to_ship() -> None:
    shipping = training_sources()
    assert {entry.name for entry in shipping} >= set(TRAINING_SOURCES)
    assert all(set(entry.licence.split(" AND ")) <= SHIPPABLE for entry in shipping)
    judges = Counter(entry.judge for entry in registry().sources if entry.judge)
    assert max(judges.values()) == 1


@pytest.fixture(scope="module")
def all_sources(outcome_data_dir: Path) -> tuple[SourceOutcomes, ...]:
    entries = [entry for entry in registry().sources if entry.prompt is not None]
    return split_together([read_source(outcome_data_dir, entry.name) for entry in entries])


@pytest.mark.data
def test_the_registry_fits_the_data(
    all_sources: tuple[SourceOutcomes, ...], outcome_data_dir: Path
) -> None:
    assert registry().unknown_files(outcome_data_dir) == ("task_prompts.parquet",)
    found = {part.source.name: part for part in all_sources}
    for name, part in found.items():
        known = ~np.isnan(part.outcomes.scores)
        assert known.any(axis=0).all(), name
        scores = part.outcomes.scores[known]
        binary = bool(np.isin(scores, (0.0, 1.0)).all())
        assert binary == (part.source.score == "binary"), name
        has_lengths = not np.isnan(part.outcomes.output_tokens).all()
        assert has_lengths == (part.source.lengths != "none"), name
        costs = {"cost": "true", "cost_est": "estimated", "none": "none"}[part.source.costs]
        assert part.outcomes.sources[0].costs == costs, name
        if part.source.kind is not None:
            assert (part.kinds == TASK_KINDS.index(part.source.kind)).all(), name
    assert not any("arc_challenge" in d for d in found["paretobandit_val"].outcomes.domains if d)
    assert (found["paretobandit_val"].kinds != NO_KIND).all()
    shipped = [part.kinds for part in all_sources if part.source.ships]
    assert len(np.setdiff1d(np.concatenate(shipped), [NO_KIND])) >= 22


@pytest.mark.data
def test_no_shared_question_stands_on_two_sides(all_sources: tuple[SourceOutcomes, ...]) -> None:
    pairs, _ = find_overlaps([part.outcomes for part in all_sources])
    shared = {pair.sources: pair.shared for pair in pairs}
    assert all(pair.apart == 0 for pair in pairs)
    assert shared["mmlu_routellm", "paretobandit_val"] == 397
    assert shared["gsm8k_cascade", "zeroeval_gsm8k"] == 1319
    assert shared["routerdc", "routerbench"] > 1300
