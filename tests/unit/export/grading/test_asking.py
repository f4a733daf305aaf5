"""Asking models: answered once, paid once, tried again where it helps, never above the cap."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from routoo_export.grading.asking import MOST_FAILURES, NotAnsweredError, OutOfMoneyError
from routoo_export.grading.purse import GradingPurse
from support.peers.scripted_llm import INPUT_TOKENS, OUTPUT_TOKENS, chat_reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from routoo_export.grading.answer_cache import ModelAnswer
    from routoo_export.grading.asking import ModelAsker
    from support.peers.scripted_llm import ScriptedLlm

CHEAP, GOOD = "ours/cheap", "ours/good"
COST_USD = (INPUT_TOKENS * 1.0 + OUTPUT_TOKENS * 10.0) / 1e6


async def ask(asker: ModelAsker, text: str = "1+2", model: str = GOOD) -> ModelAnswer:
    messages = [{"role": "user", "content": text}]
    return await asker.ask(model, messages, {"max_tokens": 100})


def spent(asker: ModelAsker) -> float:
    return asker._purse.spent_usd


async def test_an_answer_is_paid_by_its_usage_and_kept(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm
) -> None:
    asker = make_asker()
    answer = await ask(asker)
    assert (answer.text, answer.billed) == ("The answer is 3.", True)
    assert answer.cost_usd == pytest.approx(COST_USD)
    assert (answer.input_tokens, answer.output_tokens) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert await ask(asker) == answer
    assert len(llm.asked) == 1
    assert llm.asked[0]["model"] == "good"
    assert llm.keys == ["Bearer secret"]
    assert spent(asker) == pytest.approx(COST_USD)
    again = make_asker()
    assert await ask(again) == answer
    assert (len(llm.asked), again.asked.cached) == (1, 1)
    assert spent(again) == pytest.approx(COST_USD)


async def test_the_same_question_at_the_same_time_is_asked_once(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm
) -> None:
    asker = make_asker()
    await asyncio.gather(*(ask(asker) for _ in range(8)))
    assert len(llm.asked) == 1
    assert spent(asker) == pytest.approx(COST_USD)


async def test_an_answer_that_was_kept_before_a_kill_is_settled_later(
    make_asker: Callable[..., ModelAsker], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_asker()
    with monkeypatch.context() as killed:
        killed.setattr(GradingPurse, "settle", lambda *_: None)
        await ask(first)
    reserved = spent(first)
    assert reserved > COST_USD
    second = make_asker()
    assert spent(second) == pytest.approx(reserved)
    await ask(second)
    assert spent(second) == pytest.approx(COST_USD)


async def test_the_cap_is_never_exceeded_over_runs(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm
) -> None:
    cap_usd = 3.5e-3
    answered = 0
    for run in range(3):
        asker = make_asker(cap_usd)
        for number in range(30):
            try:
                await ask(asker, f"{run}+{number}")
            except OutOfMoneyError:
                break
            answered += 1
            assert spent(asker) <= cap_usd
    with pytest.raises(OutOfMoneyError, match="raise --budget-usd to go on"):
        await ask(asker, "8+9")
    assert answered == len(llm.asked)
    assert COST_USD * answered <= cap_usd < COST_USD * answered + 2e-3
    more = make_asker(2 * cap_usd)
    assert (await ask(more, "7+8")).text == "The answer is 15."
    assert spent(more) == pytest.approx(COST_USD * (answered + 1))


@pytest.mark.parametrize("status", [429, 500, 503, 408])
async def test_what_passes_is_tried_again_after_the_wait_that_is_asked_for(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm, status: int
) -> None:
    usual, failures = llm.answer, [status, status]

    def answer(asked: dict[str, Any]) -> str | tuple[int, bytes]:
        return (failures.pop(), b"{}") if failures else usual(asked)

    llm.answer, llm.retry_after = answer, "30"
    waits: list[float] = []
    asker = make_asker(waits=waits)
    assert (await ask(asker)).text == "The answer is 3."
    assert waits == [30.0, 60.0]
    assert spent(asker) == pytest.approx(COST_USD)


async def test_a_refused_key_is_not_tried_again(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm
) -> None:
    llm.answer = lambda _: (401, b"{}")
    asker = make_asker()
    with pytest.raises(NotAnsweredError, match="ours/good: HTTP status 401"):
        await ask(asker)
    assert len(llm.asked) == 1
    assert spent(asker) == 0.0


async def test_a_model_that_is_down_is_asked_no_more(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm
) -> None:
    llm.answer = lambda _: (503, b"")
    asker = make_asker()
    for number in range(MOST_FAILURES + 3):
        with pytest.raises(NotAnsweredError, match="HTTP status 503"):
            await ask(asker, f"1+{number}")
    assert asker.is_down(GOOD)
    assert len(llm.asked) == 4 * MOST_FAILURES
    assert spent(asker) == 0.0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"we are closed", "is no chat reply"),
        (b"{}", "is no chat reply"),
        (b'{"choices": []}', "is no chat reply"),
        (b'{"choices": [{"message": {"content": 7}}]}', "is no chat reply"),
        (b"[" * 100_000, "is no chat reply"),
        (chat_reply("x" * 5_000_000), "is longer than 4 MiB"),
    ],
)
async def test_a_reply_that_is_no_answer_is_said_and_paid_at_most_once(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm, reply: bytes, reason: str
) -> None:
    llm.answer = lambda _: (200, reply)
    asker = make_asker()
    with pytest.raises(NotAnsweredError, match=reason):
        await ask(asker)
    assert len(llm.asked) == 1
    assert 0.0 < spent(asker) < 2e-3


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (chat_reply(""), ""),
        (chat_reply(None), ""),
        (chat_reply(None, refusal="I will not."), "I will not."),
        (b'{"choices": [{"message": {"content": [{"type": "text", "text": "3"}]}}]}', "3"),
    ],
)
async def test_empty_answers_and_refusals_are_answers(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm, reply: bytes, text: str
) -> None:
    llm.answer = lambda _: (200, reply)
    answer = await ask(make_asker())
    assert answer.text == text
    assert answer.billed is (b"usage" in reply)


async def test_a_damaged_answer_on_the_disk_is_asked_again(
    make_asker: Callable[..., ModelAsker], llm: ScriptedLlm, tmp_path: Path
) -> None:
    await ask(make_asker())
    (path,) = (tmp_path / "answers").rglob("*.json")
    path.write_bytes(path.read_bytes()[:20])
    assert (await ask(make_asker())).text == "The answer is 3."
    assert len(llm.asked) == 2
