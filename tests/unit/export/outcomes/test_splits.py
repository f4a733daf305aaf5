"""The split: every question is on one side only."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo_export.outcomes.folds import domain_folds, stem_folds
from routoo_export.outcomes.sources import PROTOCOL, read_training_outcomes
from routoo_export.outcomes.splits import (
    TEST_BUCKETS,
    TRAIN_BUCKETS,
    VALIDATION_BUCKETS,
    assign_buckets,
    fewer_choices,
    in_buckets,
    question_stem,
)

if TYPE_CHECKING:
    from pathlib import Path

    from routoo_export.outcomes.outcomes import Outcomes

QUESTION = "What is   2+2,  really?"


def test_fewer_choices_keep_the_question_and_reletter() -> None:
    prompt = "Which?\nIn all:\nA. one\nB. two\nC. three\nD. four\nAnswer:"
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        found = fewer_choices(prompt, rng)
        head, *choices = found.split("\n")[1:]
        assert found.startswith("Which?\n")
        assert head == "In all:"
        assert [choice[:3] for choice in choices] == ["A. ", "B. ", "C. ", "D. "][: len(choices)]
        kept = [choice[3:] for choice in choices]
        assert len(set(kept)) == len(kept)
        assert set(kept) <= {"one", "two", "three", "four"}
        seen.add(tuple(kept))
    # Every ordered choice of two, three or four out of four is possible.
    assert {len(kept) for kept in seen} == {2, 3, 4}
    assert {kept[0] for kept in seen} == {"one", "two", "three", "four"}


@pytest.mark.parametrize("prompt", ["Prove it.", "Is it?\nA. yes"])
def test_prompts_without_choices_stay(prompt: str) -> None:
    assert fewer_choices(prompt, np.random.default_rng(0)) == prompt


@pytest.mark.parametrize(
    "prompt",
    [
        QUESTION,
        f"{QUESTION}\nA. 3\nB. 4\nAnswer:",
        f"{QUESTION}\nA. one\nB. two\nC. three",
        f"{QUESTION.upper()}\nA) 3\nB) 4",
        f"{QUESTION}\nAnswer:  ",
    ],
)
def test_the_stem_is_the_question_alone(prompt: str) -> None:
    assert question_stem(prompt) == "what is 2 2 really"


def test_a_prompt_of_choices_only_keeps_them() -> None:
    assert question_stem("\nA. 3\nB. 4") != question_stem("\nA. 5\nB. 6")


def test_the_bucket_is_the_sha1_of_the_stem_mod_10() -> None:
    digest = hashlib.sha1(b"what is 2 2 really", usedforsecurity=False).hexdigest()
    assert assign_buckets([QUESTION], [None]).tolist() == [int(digest, 16) % 10]


def test_duplicate_groups_are_transitive() -> None:
    prompts = [f"question {i}" for i in range(40)]
    # 0-1 share a group, 1-2 share a stem, 2-3 share a group: all one question.
    prompts[2] = "QUESTION 1!"
    groups: list[str | None] = [None] * 40
    groups[0] = groups[1] = "g"
    groups[2] = groups[3] = "h"
    alone = assign_buckets(prompts, [None] * 40)
    assert len(set(alone[[0, 1, 3]])) > 1
    assert len(set(assign_buckets(prompts, groups)[:4])) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["x", "y", "z", None])), min_size=1
    ),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter_and_no_question_is_torn(
    rows: list[tuple[str, str | None]],
    random: object,
) -> None:
    buckets = assign_buckets([p for p, _ in rows], [g for _, g in rows])
    by_key = defaultdict(set)
    for (prompt, group), bucket in zip(rows, buckets, strict=True):
        by_key[f"p{prompt}"].add(bucket)
        if group is not None:
            by_key[f"g{group}"].add(bucket)
    assert all(len(found) == 1 for found in by_key.values())
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    shuffled = assign_buckets([rows[i][0] for i in order], [rows[i][1] for i in order])
    assert shuffled.tolist() == buckets[order].tolist()


def test_stem_folds_hold_out_every_row_once(synthetic_outcomes: Outcomes) -> None:
    folds = stem_folds(synthetic_outcomes)
    assert (np.sum([fold.held for fold in folds], axis=0) == 1).all()
    for fold in folds:
        parts = np.stack([fold.held, fold.train, fold.validation])
        assert (parts.sum(axis=0) == 1).all()
        assert parts.any(axis=1).all()


@pytest.mark.data
def test_no_stem_stands_on_two_sides(outcome_data_dir: Path) -> None:
    outcomes = read_training_outcomes(outcome_data_dir)
    sides = np.select(
        [
            in_buckets(outcomes.buckets, side)
            for side in (TRAIN_BUCKETS, VALIDATION_BUCKETS, TEST_BUCKETS)
        ],
        [0, 1, 2],
        -1,
    )
    shares = np.bincount(sides, minlength=3) / len(sides)
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.01)
    by_stem = defaultdict(set)
    sources_of = defaultdict(set)
    for prompt, source, bucket in zip(
        outcomes.prompts, outcomes.source_names, outcomes.buckets, strict=True
    ):
        by_stem[question_stem(prompt)].add(bucket)
        sources_of[question_stem(prompt)].add(source)
    assert sum(len(sources) > 1 for sources in sources_of.values()) > 5000
    assert all(len(buckets) == 1 for buckets in by_stem.values())
    by_group = defaultdict(set)
    for group, bucket in zip(outcomes.duplicate_groups, outcomes.buckets, strict=True):
        if group is not None:
            by_group[group].add(bucket)
    assert all(len(buckets) == 1 for buckets in by_group.values())


@pytest.mark.data
def test_left_out_domains_leave_no_question_in_training(outcome_data_dir: Path) -> None:
    outcomes = read_training_outcomes(outcome_data_dir)
    stems = [question_stem(prompt) for prompt in outcomes.prompts]
    domains = np.array([domain or "" for domain in outcomes.domains])
    of_pair = np.array([name == PROTOCOL.pair_source for name in outcomes.source_names])
    folds = domain_folds(outcomes, PROTOCOL.pair_source)
    assert (np.sum([fold.held for fold in folds], axis=0) == of_pair).all()
    for fold in folds:
        seen = fold.train | fold.validation
        assert not (fold.train & fold.validation).any()
        assert not {stems[i] for i in np.flatnonzero(fold.held)} & {
            stems[i] for i in np.flatnonzero(seen)
        }
        assert not set(domains[fold.held]) & set(domains[seen & of_pair])
