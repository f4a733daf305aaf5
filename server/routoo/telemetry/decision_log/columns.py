"""Decisions that were read from a log, as columns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from routoo.request_fields import CONSTRAINTS
from routoo.routing.constraints import numbers_of
from routoo.routing.corrections.factors import Factors
from routoo.routing.corrections.percentiles import factors_at
from routoo.routing.estimates import Estimates
from routoo.routing.health.rows import HealthRows
from routoo.routing.request import PromptRequest
from routoo.routing.sessions.rows import SessionRows
from routoo.routing.sessions.stay import Stay
from routoo.selector.policies.base import Case
from routoo.selector.reason import Reason
from routoo.telemetry.decision_log.record import ASKED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from routoo.selector.arrays import BoolArray, FloatArray, IndexArray, ReasonArray
    from routoo.telemetry.decision_log.header import Setup

_NO_CORRECTIONS: Mapping[str, Factors] = {}
_REASONS = {reason.name: int(reason) for reason in Reason}


@dataclass(frozen=True, slots=True)
class Logged:
    """n decisions with one setup, m models.

    Attributes:
        setup: pool and policies.
        ids: [n], the decision ids.
        policies: [n], the name of the policy that decided.
        batches: [n], the joint batch that a decision was part of; empty: none.
        requests: [n], constraints and tenants; without prompts.
        estimates: the predictions as the selector got them.
        mask: bool [n, m], eligible cells.
        prices: float64 [n], score per USD.
        choice: int [n], the column of the chosen model; -1: none.
        wanted: int [n], the column that the policy chose before the money was booked.
        reasons: int8 [n], values of ``Reason``.
        sessions: the sessions; None: no decision is a turn of one.
        stays: int8 [n], values of ``Stay``.
        health: the health of the models as each decision saw it; None: all were well.
        fallbacks: int [n, k], columns, -1: no more, where the setup has k fallbacks; None: it has
            none.
        limits_usd: float64 [n], what was reserved; infinite where no budget pays.
        limited: bool [n, m], cells that limits of providers closed; None: they closed none.
        charges: float64 [n, m], score that these limits took off; None: they took nothing.
        propensity: float64 [n], probability of the choice; NaN: not known.
        explored: float64 [n, 2], the share of requests that were explored, and what a model might
            cost beyond the best one, in USD; NaN in rows that could not be explored; None: none
            could be.
        fallen: bool [n], rows that a refuted promise turned to its reference; None: none.
    """

    setup: Setup
    ids: Sequence[str]
    policies: Sequence[str]
    batches: Sequence[str]
    requests: Sequence[PromptRequest]
    estimates: Estimates
    mask: BoolArray
    prices: FloatArray
    choice: IndexArray
    wanted: IndexArray
    reasons: ReasonArray
    sessions: SessionRows | None = None
    stays: ReasonArray | None = None
    health: HealthRows | None = None
    fallbacks: IndexArray | None = None
    limits_usd: FloatArray | None = None
    limited: BoolArray | None = None
    charges: FloatArray | None = None
    propensity: FloatArray | None = None
    explored: FloatArray | None = None
    fallen: BoolArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(
        cls,
        setup: Setup,
        lines: Sequence[Mapping[str, Any]],
        corrections: Mapping[str, Factors] = _NO_CORRECTIONS,
    ) -> Self:
        """Makes columns from at least one line.

        Args:
            setup: pool and policies of all lines.
            lines: decisions.
            corrections: the corrections that the lines name.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, OverflowError: a line is no decision
                of this setup.
        """
        index, m = setup.pool.index, len(setup.pool.names)

        def figures(name: str) -> FloatArray:
            found = np.array([line[name] for line in lines], np.float64)
            if found.shape != (len(lines), m):
                raise ValueError(f"{name} are not {m}")
            return found

        def column(model: str | None) -> int:
            return -1 if model is None else index[model]

        def cells(name: str, usual: str | None = None) -> BoolArray:
            marks = "".join(line.get(name, usual) if usual else line[name] for line in lines)
            found: BoolArray = np.frombuffer(marks.encode(), np.uint8) == ord("1")
            return found.reshape(len(lines), m)

        def told(name: str, missing: Any) -> FloatArray | None:
            """Returns a figure that not every predictor tells; None: no line has it."""
            found = [line.get(name) for line in lines]
            if all(one is None for one in found):
                return None
            return np.array([missing if one is None else one for one in found], np.float64)

        nothing = [np.nan] * m
        inputs = _input_tokens(lines, m)
        estimates = Estimates(
            scores=figures("scores"),
            output_tokens=figures("output_tokens"),
            costs_usd=figures("costs_usd"),
            latencies_ms=figures("latencies_ms"),
            input_tokens=inputs,
            most_input_tokens=_most_input_tokens(lines, inputs),
            score_std=told("score_std", nothing),
            evidence=told("evidence", nothing),
            ood=told("ood", np.nan),
            confidence=told("task_confidence", np.nan),
            priced_s=np.array([_priced_s(line) for line in lines], np.int64),
            plain_tokens=told("plain_tokens", nothing),
            plain_scores=told("plain_scores", nothing),
            score_odds=told("score_odds", nothing),
            **_corrected(setup, lines, corrections),
        )
        if setup.unsure is not None:
            estimates = replace(estimates, unsure=setup.unsure.rows(estimates))
        policies = [line["policy"].rpartition("-")[0] for line in lines]
        for name in set(policies):
            if name not in setup.policies:
                raise ValueError(f"policy {name} is not in the setup")
        return cls(
            setup=setup,
            ids=[_text(line["id"]) for line in lines],
            policies=policies,
            batches=[line.get("batch", "") for line in lines],
            requests=[_request(line) for line in lines],
            estimates=estimates,
            mask=cells("eligible"),
            prices=np.array([line["price"] for line in lines], np.float64),
            choice=np.array([column(line["model"]) for line in lines], np.intp),
            wanted=np.array([column(line.get("wanted", line["model"])) for line in lines], np.intp),
            reasons=np.array([_REASONS[line["reason"]] for line in lines], np.int8),
            health=HealthRows(cells("healthy", "1" * m), np.zeros(m, np.bool_))
            if any("healthy" in line for line in lines)
            else None,
            **_sessions(setup, lines),
            **_fallbacks(setup, lines),
            limited=_limited(lines, m),
            charges=_charges(lines, m),
            propensity=_propensity(lines),
            explored=_explored(lines),
            fallen=np.array([line.get("fallen", False) for line in lines], np.bool_)
            if any("fallen" in line for line in lines)
            else None,
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Joins parts with the same setup, in their order."""
        if len(parts) == 1:
            return parts[0]

        def together(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(part, name) for part in parts])

        def chained(name: str) -> list[Any]:
            return [one for part in parts for one in getattr(part, name)]

        return cls(
            setup=parts[0].setup,
            ids=chained("ids"),
            policies=chained("policies"),
            batches=chained("batches"),
            requests=chained("requests"),
            estimates=_joined([part.estimates for part in parts]),
            mask=together("mask"),
            prices=together("prices"),
            choice=together("choice"),
            wanted=together("wanted"),
            reasons=together("reasons"),
            health=_health_joined(parts),
            fallbacks=None if parts[0].fallbacks is None else together("fallbacks"),
            limits_usd=None if parts[0].limits_usd is None else together("limits_usd"),
            **_sessions_joined(parts),
            limited=_with_gaps([(one.limited, one.mask.shape, np.False_) for one in parts]),
            charges=_with_gaps([(one.charges, one.mask.shape, np.float64(0.0)) for one in parts]),
            propensity=_with_gaps(
                [(one.propensity, one.prices.shape, np.float64(1.0)) for one in parts]
            ),
            explored=_with_gaps(
                [(one.explored, (len(one), 2), np.float64(np.nan)) for one in parts]
            ),
            fallen=_with_gaps([(one.fallen, one.choice.shape, np.False_) for one in parts]),
        )

    def take(self, rows: IndexArray) -> Self:
        """Returns the decisions at some rows, int [k]."""
        at = rows.tolist()
        return type(self)(
            setup=self.setup,
            ids=[self.ids[row] for row in at],
            policies=[self.policies[row] for row in at],
            batches=[self.batches[row] for row in at],
            requests=[self.requests[row] for row in at],
            estimates=self.estimates.rows(rows),
            mask=self.mask[rows],
            prices=self.prices[rows],
            choice=self.choice[rows],
            wanted=self.wanted[rows],
            reasons=self.reasons[rows],
            sessions=None if self.sessions is None else self.sessions.take(rows),
            stays=None if self.stays is None else self.stays[rows],
            health=None if self.health is None else self.health.take(rows),
            fallbacks=None if self.fallbacks is None else self.fallbacks[rows],
            limits_usd=None if self.limits_usd is None else self.limits_usd[rows],
            limited=None if self.limited is None else self.limited[rows],
            charges=None if self.charges is None else self.charges[rows],
            propensity=None if self.propensity is None else self.propensity[rows],
            explored=None if self.explored is None else self.explored[rows],
            fallen=None if self.fallen is None else self.fallen[rows],
        )

    def case(self, estimates: Estimates, mask: BoolArray, prices: FloatArray | None = None) -> Case:
        """Returns the input of a policy; ``prices``: float64 [n], None: those of the log."""
        return Case(
            scores=estimates.scores,
            costs_usd=estimates.costs_usd,
            mask=mask,
            prices=self.prices if prices is None else prices,
            max_quality_gaps=numbers_of(self.requests, "max_quality_gap"),
            tickets=np.array([_ticket(one) for one in self.ids], np.int64),
            charges=self.charges,
        )


def _fallbacks(setup: Setup, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not setup.fallbacks:
        return {}
    index, found = setup.pool.index, np.full((len(lines), setup.fallbacks), -1, np.intp)
    for row, line in enumerate(lines):
        named = [index[name] for name in line["fallbacks"]]
        found[row, : len(named)] = named
    limits_usd = [line.get("reserved_usd", np.inf) for line in lines]
    return {"fallbacks": found, "limits_usd": np.array(limits_usd, np.float64)}


def _sessions(setup: Setup, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    told = [line.get("session") for line in lines]
    if all(one is None for one in told):
        return {}
    stays = [Stay.NONE if one is None else Stay[one["stay"]] for one in told]
    return {
        "sessions": SessionRows.restored(told, setup.pool),
        "stays": np.array(stays, np.int8),
    }


def _sessions_joined(parts: Sequence[Logged]) -> dict[str, Any]:
    if all(part.sessions is None for part in parts):
        return {}
    m = len(parts[0].setup.pool.names)
    return {
        "sessions": SessionRows.joined(
            [part.sessions or SessionRows.none(len(part), m) for part in parts]
        ),
        "stays": np.concatenate(
            [np.zeros(len(part), np.int8) if part.stays is None else part.stays for part in parts]
        ),
    }


def _limited(lines: Sequence[Mapping[str, Any]], m: int) -> BoolArray | None:
    if not any("limited" in line for line in lines):
        return None
    cells = "".join(line.get("limited", "0" * m) for line in lines).encode()
    limited: BoolArray = (np.frombuffer(cells, np.uint8) == ord("1")).reshape(len(lines), m)
    return limited


def _charges(lines: Sequence[Mapping[str, Any]], m: int) -> FloatArray | None:
    if not any("charges" in line for line in lines):
        return None
    nothing = [0.0] * m
    return np.array([line.get("charges", nothing) for line in lines], np.float64).reshape(
        len(lines), m
    )


def _propensity(lines: Sequence[Mapping[str, Any]]) -> FloatArray:
    """Returns them [n]; a log of before there were any has 1."""
    found = [line.get("propensity", 1.0) for line in lines]
    return np.array([np.nan if one is None else one for one in found], np.float64)


def _explored(lines: Sequence[Mapping[str, Any]]) -> FloatArray | None:
    if not any("explore" in line for line in lines):
        return None
    nothing = {"share": np.nan, "most_usd": np.nan}
    told = [line.get("explore", nothing) for line in lines]
    return np.array([(one["share"], one["most_usd"]) for one in told], np.float64)


def _with_gaps(
    parts: Sequence[tuple[NDArray[Any] | None, tuple[int, ...], Any]],
) -> NDArray[Any] | None:
    """Joins arrays of rows; a part that has none is filled with a value; None: no part has one."""
    if all(one is None for one, _, _ in parts):
        return None
    return np.concatenate(
        [np.full(shape, missing) if one is None else one for one, shape, missing in parts]
    )


def _health_joined(parts: Sequence[Logged]) -> HealthRows | None:
    if all(part.health is None for part in parts):
        return None
    masks = [
        np.ones(part.mask.shape, np.bool_) if part.health is None else part.health.mask
        for part in parts
    ]
    return HealthRows(np.concatenate(masks), np.zeros(masks[0].shape[1], np.bool_))


def _corrected(
    setup: Setup, lines: Sequence[Mapping[str, Any]], corrections: Mapping[str, Factors]
) -> dict[str, Any]:
    """Returns the limits, the factors that were in force, and the percentiles, of n lines."""
    if not any("correction" in line or "latency_percentile" in line for line in lines):
        return {}
    names = setup.pool.names
    neutral = Factors.neutral(names, ())
    found = [corrections[line["correction"]] if "correction" in line else neutral for line in lines]
    if any(one.models != names for one in found):
        raise ValueError("a correction is of other models")
    rows = [one.row_of(line.get("task")) for one, line in zip(found, lines, strict=True)]
    percentiles = [int(line.get("latency_percentile", 0)) for line in lines]
    at_percentiles: dict[str, Any] = {}
    if any(percentiles):
        at_percentiles = {
            "percentiles": np.array(percentiles, np.int64),
            "percentile_factors": np.concatenate(
                [
                    factors_at([named], one.percentiles)
                    for named, one in zip(percentiles, found, strict=True)
                ]
            ),
        }
    return at_percentiles | {
        "max_output_tokens": np.array(
            [line.get("max_output_tokens", np.inf) for line in lines], np.float64
        ),
        "length_factors": np.stack(
            [one.lengths[row] for one, row in zip(found, rows, strict=True)]
        ),
        "latency_factors": np.stack(
            [one.latencies[row] for one, row in zip(found, rows, strict=True)]
        ),
        "first_factors": np.stack([one.firsts for one in found]),
    }


def _most_joined(parts: Sequence[Estimates]) -> FloatArray | None:
    if all(part.most_input_tokens is None for part in parts):
        return None
    return np.concatenate(
        [
            part.input_tokens if part.most_input_tokens is None else part.most_input_tokens
            for part in parts
        ]
    )


def _joined(parts: Sequence[Estimates]) -> Estimates:
    def together(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    def known(name: str, missing: float = np.nan) -> FloatArray | None:
        """Joins a figure that not every part has; ``missing`` where it is not there."""
        found = [getattr(part, name) for part in parts]
        first = next((one for one in found if one is not None), None)
        if first is None:
            return None
        return np.concatenate(
            [
                np.full((len(part.scores), *first.shape[1:]), missing) if one is None else one
                for part, one in zip(parts, found, strict=True)
            ]
        )

    named = known("percentiles", 0.0)
    return Estimates(
        scores=together("scores"),
        output_tokens=together("output_tokens"),
        costs_usd=together("costs_usd"),
        latencies_ms=together("latencies_ms"),
        input_tokens=together("input_tokens"),
        most_input_tokens=_most_joined(parts),
        score_std=known("score_std"),
        evidence=known("evidence"),
        ood=known("ood"),
        confidence=known("confidence"),
        plain_tokens=known("plain_tokens"),
        plain_scores=known("plain_scores"),
        score_odds=known("score_odds"),
        max_output_tokens=known("max_output_tokens", np.inf),
        length_factors=known("length_factors", 1.0),
        latency_factors=known("latency_factors", 1.0),
        first_factors=known("first_factors", 1.0),
        percentiles=None if named is None else named.astype(np.int64),
        percentile_factors=known("percentile_factors", 1.0),
        unsure=None if parts[0].unsure is None else together("unsure"),
        priced_s=together("priced_s"),
    )


def _request(line: Mapping[str, Any]) -> PromptRequest:
    constraints, tenant = line.get("constraints"), line.get("tenant", "")
    asked = {name: line[name] for name in ASKED if name in line}
    if constraints is None and not asked:
        return _unconstrained(tenant)
    values: dict[str, Any] = {
        name: tuple(one) if isinstance(one, list) else one
        for name, one in (constraints or {}).items()
    }
    if not set(values) <= set(CONSTRAINTS):
        raise ValueError("an unknown constraint")
    return PromptRequest("", tenant=tenant, constraints=values, **asked)


def _input_tokens(lines: Sequence[Mapping[str, Any]], m: int) -> FloatArray:
    """Returns the inputs' lengths, [n, m]; logs of before have one number for all models."""
    rows = [line["input_tokens"] for line in lines]
    found = np.array([one if isinstance(one, list) else [one] * m for one in rows], np.float64)
    if found.shape != (len(lines), m):
        raise ValueError(f"input_tokens are not {m}")
    return found


def _most_input_tokens(lines: Sequence[Mapping[str, Any]], inputs: FloatArray) -> FloatArray | None:
    """Returns them [n, m], the inputs' lengths in lines without; None: no line has any."""
    if not any("most_input_tokens" in line for line in lines):
        return None
    return np.array(
        [
            line.get("most_input_tokens", usual)
            for line, usual in zip(lines, inputs.tolist(), strict=True)
        ],
        np.float64,
    ).reshape(inputs.shape)


@lru_cache(maxsize=4096)
def _unconstrained(tenant: str) -> PromptRequest:
    return PromptRequest("", tenant=tenant)


def _ticket(decision_id: str) -> int:
    """Returns the number in a decision id that round robin uses.

    Raises:
        ValueError: the id is not one of Routoo's.
    """
    return int(decision_id.rpartition("-")[2], 16)


def _priced_s(line: Mapping[str, Any]) -> int:
    """Returns the time whose prices hold; a log of before there were such times has its own."""
    told = line.get("priced_s")
    return int(datetime.fromisoformat(line["time"]).timestamp()) if told is None else int(told)


def _text(value: Any) -> str:
    _ticket(value)
    return str(value)
