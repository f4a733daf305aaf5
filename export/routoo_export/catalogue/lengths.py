"""Expected output lengths: visible tokens and tokens of hidden reasoning, as logarithms.

Visible: a model's log length on a test is the test's effect + the model's + the model's on that
kind of task + noise; effects of models are Gaussian, so those with little evidence go to the mean.
The typical length of a kind is a parameter, because benchmarks do not ask what users ask.

Reasoning: LiveBench's release of June 2026 counts all output tokens of 46 models. Its prompts are
hard. On the easy exam questions of ParetoBandit the billed tokens of gemini-2.5-pro (1,500) are
about an eighth of what models of its kind take there, so ordinary prompts are assumed to take
ORDINARY_SHARE of the tokens. Other effort levels take the shares of EFFORT_SHARE.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from routoo_export.catalogue.livebench import WEIGHTS, LiveBenchTokens
from routoo_export.catalogue.names import parse_name
from routoo_export.catalogue.scores import MeanLengths
from routoo_export.outcomes.kinds import TASK_KINDS

TASK_MEDIAN_TOKENS: Final = {
    "chat_smalltalk": 60.0,
    "factual_qa": 120.0,
    "explanation": 450.0,
    "advice": 500.0,
    "medical_legal_finance": 450.0,
    "brainstorm_creative": 450.0,
    "long_writing": 1000.0,
    "rewrite_edit": 250.0,
    "translate": 200.0,
    "summarize": 200.0,
    "extract_structured": 200.0,
    "classify": 20.0,
    "code_generate": 500.0,
    "code_fix_debug": 450.0,
    "code_explain_review": 450.0,
    "sql_data": 200.0,
    "math_easy": 200.0,
    "math_hard": 700.0,
    "logic_puzzle": 450.0,
    "science_exam": 350.0,
    "multiple_choice_exam": 200.0,
    "instruction_constraints": 350.0,
    "roleplay": 250.0,
    "tool_call": 80.0,
    "agentic_software": 3000.0,
}
"""Mean over the models of the visible tokens on a typical prompt; to be set from a corpus."""
ORDINARY_SHARE: Final = 0.12
# Shares of the tokens of the highest effort, by the level of thinking (see ``names``); of GPT-5's
# levels the published totals are about 0.04, 0.28, 0.52 and 1.
EFFORT_SHARE: Final = ((0.1, 0.03), (0.4, 0.2), (0.7, 0.4), (0.8, 0.55), (0.9, 0.7), (1.1, 1.0))
# Reasoning tokens of kinds that LiveBench lacks, relative to the mean of those that it has.
_RELATIVE: Final = {
    "chat_smalltalk": 0.1,
    "factual_qa": 0.25,
    "translate": 0.25,
    "roleplay": 0.3,
    "tool_call": 0.2,
    "explanation": 0.4,
    "advice": 0.5,
    "math_easy": 0.3,
    "multiple_choice_exam": 0.4,
}
_OTHERS_RELATIVE: Final = 0.6
_LIVEBENCH_VISIBLE: Final = 300.0
_SMALLEST_REASONING_SHARE: Final = 0.2
# Standard deviation of what the assumptions on ordinary prompts and on effort may be off by.
_ASSUMPTION_SD: Final = 0.5
_ROUNDS: Final = 40


@dataclass(frozen=True, slots=True)
class ExpectedLengths:
    """Expected output lengths of m models on t tasks.

    Attributes:
        log_visible: Log of the visible tokens, float64 [m, t].
        log_reasoning: Log of the reasoning tokens, float64 [m, t]; 0 (one token) for a model that
            answers at once.
        log_std: Standard deviation of the log of both together, float64 [m, t].
    """

    log_visible: NDArray[np.float64]
    log_reasoning: NDArray[np.float64]
    log_std: NDArray[np.float64]


def estimate_lengths(
    names: Sequence[str],
    measured: Sequence[MeanLengths],
    livebench: LiveBenchTokens,
    task_median_tokens: Mapping[str, float] = TASK_MEDIAN_TOKENS,
) -> ExpectedLengths:
    """FittedHierarchy the lengths of all models on all tasks.

    Args:
        names: Canonical names, [m].
        measured: Visible lengths on tests.
        livebench: Output tokens on LiveBench, hidden reasoning included.
        task_median_tokens: Mean over the models of the visible tokens, per kind of task.

    Returns:
        The lengths. The mean of ``exp(log_visible)`` over the models is ``task_median_tokens``.
    """
    typical = np.log([task_median_tokens[task] for task in TASK_KINDS])
    deviation, visible_variance = visible_deviations(names, measured)
    log_visible = typical + deviation - np.log(np.mean(np.exp(deviation), axis=0))
    log_reasoning, reasoning_variance = _reasoning(names, livebench)
    visible, reasoning = np.exp(log_visible), np.exp(log_reasoning)
    part = visible / (visible + reasoning)
    variance = part**2 * visible_variance + (1.0 - part) ** 2 * reasoning_variance[:, None]
    return ExpectedLengths(log_visible, log_reasoning, np.sqrt(variance))


def visible_deviations(
    names: Sequence[str], measured: Sequence[MeanLengths]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior deviations of each model's log visible length on each task, and their variances.

    The variances of the three effects are found by expectation maximisation.

    Returns:
        Means and variances, float64 [m, t] each.
    """
    place = {name: at for at, name in enumerate(names)}
    row = np.array([place[model] for one in measured for model in one.models], dtype=np.int64)
    test = np.repeat(np.arange(len(measured)), [len(one.models) for one in measured])
    task = np.array([TASK_KINDS.index(one.task) for one in measured], dtype=np.int64)[test]
    values = np.concatenate([np.zeros(0), *(one.log_tokens for one in measured)])
    models, tasks = len(names), len(TASK_KINDS)
    count = np.maximum(np.bincount(test, minlength=len(measured)), 1)
    of_model, of_task, noise = 0.1, 0.05, 0.1
    mean, variance = np.zeros((models, tasks)), np.empty((models, tasks))
    for _ in range(_ROUNDS):
        effect = np.bincount(test, values - mean[row, task], len(measured)) / count
        residual = values - effect[test]
        seen = np.zeros((models, tasks))
        total = np.zeros((models, tasks))
        np.add.at(seen, (row, task), 1.0)
        np.add.at(total, (row, task), residual)
        # The mean of a task's residuals is a measurement of model + task effect.
        safe = np.maximum(seen, 1.0)
        spread = np.where(seen > 0, of_task + noise / safe, np.inf)
        precision = np.sum(1.0 / spread, axis=1) + 1.0 / of_model
        general = np.sum(total / safe / spread, axis=1) / precision
        general_variance = 1.0 / precision
        gain = np.where(seen > 0, of_task / (of_task + noise / safe), 0.0)
        own = gain * (total / safe - general[:, None])
        own_variance = of_task * (1.0 - gain) + gain**2 * general_variance[:, None]
        mean = general[:, None] + own
        variance = of_task * (1.0 - gain) + (1.0 - gain) ** 2 * general_variance[:, None]
        if not len(values):
            break
        known = seen.sum(axis=1) > 0
        of_model = float(np.mean(general[known] ** 2 + general_variance[known]))
        of_task = float(np.mean((own**2 + own_variance)[seen > 0]))
        left = residual - mean[row, task]
        noise = float(np.mean(left**2 + variance[row, task]))
    return mean, variance


def _reasoning(
    names: Sequence[str], livebench: LiveBenchTokens
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log reasoning tokens, float64 [m, t], and the variance of each model's, float64 [m]."""
    level = np.array([parse_name(name).level for name in names])
    effort = _effort_share(names)
    tokens = np.maximum(
        livebench.tokens - _LIVEBENCH_VISIBLE, _SMALLEST_REASONING_SHARE * livebench.tokens
    )
    table = np.log(tokens)
    table -= np.log(_effort_share(livebench.models))[:, None]
    by_task, by_model = table.mean(axis=0), table.mean(axis=1) - table.mean()
    noise = float(np.var(table - by_task - by_model[:, None])) / table.shape[1]
    between = max(float(np.var(by_model)) - noise, 1e-3)
    gain = between / (between + noise)
    place = {name: at for at, name in enumerate(livebench.models)}
    base = {parse_name(name).base: at for name, at in place.items()}
    found = [place.get(name, base.get(parse_name(name).base)) for name in names]
    own = np.array([0.0 if at is None else gain * by_model[at] for at in found])
    left = np.array([between if at is None else between * (1.0 - gain) for at in found])
    typical = np.log(ORDINARY_SHARE) + _task_reasoning(livebench.tasks, by_task)
    log_tokens = own[:, None] + np.log(effort)[:, None] + typical
    thinks = level > 0.0
    return (
        np.where(thinks[:, None], np.maximum(log_tokens, 0.0), 0.0),
        np.where(thinks, left + _ASSUMPTION_SD**2, 0.0),
    )


def _effort_share(names: Sequence[str]) -> NDArray[np.float64]:
    """Share of the highest effort's tokens that each model's level takes, float64 [m]."""
    levels, shares = np.array(EFFORT_SHARE).T
    found: NDArray[np.float64] = np.interp(
        np.array([parse_name(name).level for name in names]), levels, shares
    )
    return found


def _task_reasoning(tasks: Sequence[str], by_task: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log reasoning tokens per kind on LiveBench's prompts; assumed where it has none, [t]."""
    weights = np.zeros((len(tasks), len(TASK_KINDS)))
    for at, task in enumerate(tasks):
        for kind, weight in WEIGHTS[task].items():
            weights[at, TASK_KINDS.index(kind)] = weight
    total = weights.sum(axis=0)
    relative = [_RELATIVE.get(kind, _OTHERS_RELATIVE) for kind in TASK_KINDS]
    assumed = by_task.mean() + np.log(relative)
    measured = by_task @ weights / np.maximum(total, 1e-9)
    tokens: NDArray[np.float64] = np.where(total > 0, measured, assumed)
    return tokens
