"""``routoo escalate`` sends the signal, and shows the reply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from routoo.v1.outcome_pb2 import EscalateRequest, TokenLogprobs

if TYPE_CHECKING:
    from support.peers.fake_router import FakeRouter
    from support.processes.command_line import Run


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--agreement", "0"), EscalateRequest(decision_id="d", agreement=0.0)),
        (("--margin", "0.5"), EscalateRequest(decision_id="d", margin=0.5)),
        (("--check", "1"), EscalateRequest(decision_id="d", check=1.0)),
        (
            ("--logprobs=-1,-0.5",),
            EscalateRequest(decision_id="d", logprobs=TokenLogprobs(values=[-1.0, -0.5])),
        ),
        (
            ("--answered", "a", "--answered", "b", "--min-score", "0.5", "--max-cost-usd", "1"),
            EscalateRequest(
                decision_id="d", answered_models=["a", "b"], min_score=0.5, max_cost_usd=1.0
            ),
        ),
    ],
)
def test_every_option_reaches_the_request(
    router: FakeRouter, run: Run, options: tuple[str, ...], expected: EscalateRequest
) -> None:
    assert run("escalate", "d", *options).code == 0
    assert router.requests == [expected]


def test_a_new_decision_is_shown_with_its_gain_and_price(router: FakeRouter, run: Run) -> None:
    ended = run("escalate", "d", "--agreement", "0")
    assert ended.out.splitlines()[:2] == ["gpt-4o", "worth it"]
    assert "0.3000 for $0.0042" in ended.out
    assert (
        json.loads(run("escalate", "d", "--agreement", "0", "--json").out)["response"]["model"]
        == "gpt-4o"
    )


def test_a_kept_answer_is_shown(router: FakeRouter, run: Run) -> None:
    ended = run("escalate", "d", "--agreement", "1")
    assert ended.out.splitlines()[0] == "keep the answer"
    assert "gain" not in ended.out
    assert "response" not in json.loads(run("escalate", "d", "--agreement", "1", "--json").out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--agreement", "1", "--margin", "1"), "agreement and margin are given"),
        (("--logprobs", "a,b"), "--logprobs: 'a,b' are not numbers with commas between"),
    ],
)
def test_wrong_options_are_one_line(
    router: FakeRouter, run: Run, options: tuple[str, ...], said: str
) -> None:
    ended = run("escalate", "d", *options)
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert said in ended.err
    assert router.requests == []
