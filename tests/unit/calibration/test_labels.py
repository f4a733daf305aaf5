"""Lines of labels: each mistake is refused with file, line and reason."""

from __future__ import annotations

import hashlib

import pytest

from routoo.calibration.labels import read_labelled_prompts
from routoo.client.prompts_file import PromptsFileError

KNOWN = ("small", "medium", "large")


def test_a_line_may_say_scores_costs_and_signals() -> None:
    first_line = (
        b'{"prompt": "a", "max_cost_usd": 0.5, "scores": {"small": 1, "large": 0.5},'
        b' "costs_usd": {"small": 0}, "signals": {"small": {"agreement": 1,'
        b' "logprobs": [-1, -3]}}}\n'
    )
    lines = [
        first_line,
        b"\n",
        b'"b"\n',
        b'{"prompt": "c", "scores": null, "signals": {"small": {"margin": null}}}\n',
    ]

    found = read_labelled_prompts(lines, "f", KNOWN)

    assert [request.prompt for request in found.prompts.requests] == ["a", "b", "c"]
    assert found.prompts.requests[0].max_cost_usd == 0.5
    assert found.prompts.line_numbers == [1, 3, 4]
    first, second, third = found.labels
    assert first.scores == {"small": 1.0, "large": 0.5}
    assert first.costs_usd == {"small": 0.0}
    assert first.signals == {"small": {"agreement": 1.0, "logprobs": -2.0}}
    assert (second.scores, third.scores, third.signals) == ({}, {}, {"small": {}})
    assert found.sha256 == hashlib.sha256(b"".join(lines)).hexdigest()


def test_the_mark_of_an_editor_is_no_part_of_the_first_line() -> None:
    lines = [b'\xef\xbb\xbf{"prompt": "a", "scores": {"small": 1}}\n']
    found = read_labelled_prompts(lines, "f", KNOWN)
    assert found.labels[0].scores == {"small": 1.0}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "a", "scores": {"smal": 1}}', "unknown model 'smal'; did you mean 'small'?"),
        (b'{"prompt": "a", "scores": {"zzz": 1}}', "neither pool nor predictor has it"),
        (b'{"prompt": "a", "scores": {"small": 1.5}}', "scores.small: is 1.5; it has to be a"),
        (b'{"prompt": "a", "scores": {"small": true}}', "scores.small: is True"),
        (b'{"prompt": "a", "scores": {"small": "1"}}', "scores.small: is '1'"),
        (b'{"prompt": "a", "scores": [1]}', "scores: has to be an object"),
        (b'{"prompt": "a", "costs_usd": {"small": -1}}', "costs_usd.small: is -1"),
        (b'{"prompt": "a", "signals": {"small": 1}}', "signals.small: has to be an object"),
        (b'{"prompt": "a", "signals": {"small": {"mood": 1}}}', "unknown signal 'mood'"),
        (b'{"prompt": "a", "signals": {"small": {"margin": 2}}}', "signals.small.margin: is 2"),
        (b'{"prompt": "a", "signals": {"small": {"margin": "x"}}}', "small.margin: is no number"),
        (b'{"prompt": "a", "signals": {"small": {"logprobs": 1.0}}}', "small.logprobs: has to be"),
        (b'{"prompt": "a", "score": {"small": 1}}', 'unknown key "score"'),
        (b'{"scores": {"small": 1}}', 'needs either "prompt" or "messages"'),
        (b'{"prompt": "a"', "not JSON"),
        (b"7", "has to be an object or a string"),
    ],
)
def test_mistakes_name_file_line_and_reason(line: bytes, reason: str) -> None:
    with pytest.raises(PromptsFileError) as refused:
        read_labelled_prompts([b'{"prompt": "fine"}\n', line], "labels.jsonl", KNOWN)
    assert str(refused.value).startswith("labels.jsonl:2: ")
    assert reason in str(refused.value)


def test_a_file_without_prompts_is_refused() -> None:
    with pytest.raises(PromptsFileError, match="holds no prompt"):
        read_labelled_prompts([b"\n"], "labels.jsonl", KNOWN)
