"""The table of all that graded answers have taught: the abilities of models, and of tenants' own.

What everybody shares is learned from the reports of callers that are trusted with it. On top of it
each tenant has an offset of its own per model, drawn to nothing: what a tenant reports changes what
that tenant gets, and others' choices only as far as the settings let it, see ``AbilityTerms``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import exp, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from routoo.routing.corrections.scores.ability import Ability, GradedAnswer
from routoo.routing.corrections.scores.in_force import LearnedScores

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

# What is known of a model that nobody asks any more fades in so many times as many reports of
# others as it fades in of its own. One that fell all at once may come back all at once: it is tried
# again sooner.
_IDLE, _IDLE_FALLEN = 8.0, 0.5
# Tenants' own offsets: those that reported last stay.
_MOST_TENANTS = 1000
_TENANT_VARIANCE = 1.0  # squared logits
# The prior variance of what all models have in common, in squared logits.
_CENTRE_VARIANCE = 0.125
# The most that the reports of one tenant count among those of all, where tenants teach others, and
# the number of reports that nobody made but that count as others'.
_MOST_SHARE = 0.2
_OTHERS_BEFORE = 20.0
_LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class AbilityTerms:
    """How much is learned of a report.

    Attributes:
        half_life_reports: the number of a model's reports after which an old one counts half.
        generation: a table of another generation is dropped.
        tenants: whether tenants have offsets of their own.
        tenants_teach: whether reports of callers that are confined to a tenant teach of others'
            answers, too; those of one tenant then count a fifth of all at most.
    """

    half_life_reports: float
    generation: int = 0
    tenants: bool = True
    tenants_teach: bool = False

    @property
    def kept(self) -> float:
        """What a report counts after the next one."""
        return float(0.5 ** (1.0 / self.half_life_reports))


class ModelAbility(NamedTuple):
    """What is known of a model, for people.

    Attributes:
        offset: mean of what all kinds have in common, in logits.
        std: its standard deviation.
        reports: the number of graded answers, none of them faded.
        jumps: the number of jumps that were found.
        kinds: the offsets of the kinds of task that were seen.
    """

    offset: float
    std: float
    reports: int
    jumps: int
    kinds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class AbilityTable:
    """What was learned, by predictor and model; never changed.

    Attributes:
        shared: by predictor and model, what holds for everybody.
        own: by predictor, tenant and model, what holds for a tenant besides.
        shares: by tenant, the faded number of its reports that taught others; by the empty name
            that of trusted callers.
        generation: that of the terms it was learned by.
        reports: the number of reports that taught others, each as much as it counted.
    """

    shared: Mapping[tuple[str, str], Ability] = field(default_factory=dict)
    own: Mapping[tuple[str, str, str], Ability] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    generation: int = 0
    reports: float = 0.0

    def learned(self, answers: Sequence[GradedAnswer], terms: AbilityTerms) -> AbilityTable:
        """Returns the table after some answers, the oldest first."""
        before = self.of_generation(terms.generation)
        shared, own, shares = dict(before.shared), dict(before.own), dict(before.shares)
        reports = before.reports
        for answer in answers:
            known = shared.get((answer.predictor, answer.model))
            if known is None:
                known = replace(Ability.before(answer.predicted, answer.std), at=reports)
            known = known.faded(_idle(terms, known, reports))
            # A tenant that reported last stands last.
            mine = own.pop((answer.predictor, answer.tenant, answer.model), None)
            beside = known.offset(answer.kind).mean
            weight = 0.0
            if not answer.confined or terms.tenants_teach:
                weight = _weight(shares, answer, terms.kept)
            if weight > 0.0:
                reports += weight
                aside = 0.0 if mine is None else mine.offset("").mean
                found = known.learned(answer, aside, weight, terms.kept**weight)
                shared[answer.predictor, answer.model] = replace(found, at=reports)
            if terms.tenants and answer.tenant:
                plain = answer._replace(kind="", confined=False)
                mine = mine or Ability(_TENANT_VARIANCE, _TENANT_VARIANCE, {})
                found = mine.learned(plain, beside, 1.0, terms.kept)
                own[answer.predictor, answer.tenant, answer.model] = found
        return AbilityTable(shared, _bounded(own), shares, terms.generation, reports)

    def of_generation(self, generation: int) -> AbilityTable:
        """Returns the table, or an empty one where it is of another generation."""
        return self if generation == self.generation else AbilityTable(generation=generation)

    def only(self, keeps: Callable[[str], bool]) -> AbilityTable:
        """Returns what is known of some models."""
        shared = {key: one for key, one in self.shared.items() if keeps(key[-1])}
        own = {key: one for key, one in self.own.items() if keeps(key[-1])}
        if len(shared) == len(self.shared) and len(own) == len(self.own):
            return self
        return replace(self, shared=shared, own=own)

    def in_force(
        self, predictor: str, models: Sequence[str], kinds: Sequence[str], terms: AbilityTerms
    ) -> LearnedScores:
        """Returns what changes the scores of a predictor.

        Args:
            predictor: its version.
            models: [m], names in the pool.
            kinds: [k], the kinds of task that it tells apart.
            terms: how it is learned.
        """
        here = self.of_generation(terms.generation)
        abilities = here.abilities(predictor, terms)
        centre = _centre(abilities.values())
        odds = np.ones((len(kinds) + 1, len(models)))
        spread = np.ones_like(odds)
        for column, model in enumerate(models):
            known = abilities.get(model)
            if known is None:
                odds[:, column] = exp(centre)
                continue
            for row, kind in enumerate((*kinds, "")):
                offset = known.offset(kind, centre)
                odds[row, column] = exp(offset.mean)
                spread[row, column] = sqrt(offset.variance / known.told_variance)
        tenants: dict[str, Any] = {}
        places = {model: column for column, model in enumerate(models)}
        for (version, tenant, model), ability in here.own.items() if terms.tenants else ():
            if version == predictor and model in places:
                row = tenants.setdefault(tenant, np.ones(len(models)))
                row[places[model]] = exp(ability.offset("").mean)
        return LearnedScores(tuple(models), tuple(kinds), odds, spread, tenants)

    def of_model(self, predictor: str, model: str, terms: AbilityTerms) -> ModelAbility:
        """Returns what is known of a model."""
        abilities = self.of_generation(terms.generation).abilities(predictor, terms)
        centre = _centre(abilities.values())
        known = abilities.get(model)
        if known is None:
            return ModelAbility(centre, 0.0, 0, 0, {})
        mean, variance = known.common(centre)
        kinds = {kind: known.offset(kind, centre).mean for kind in known.seen}
        return ModelAbility(mean, sqrt(variance), known.reports, known.jumps, kinds)

    def abilities(self, predictor: str, terms: AbilityTerms) -> dict[str, Ability]:
        """Returns what is known of each model now, as it has faded."""
        return {
            model: one.faded(_idle(terms, one, self.reports))
            for (version, model), one in self.shared.items()
            if version == predictor
        }

    def plain(self) -> dict[str, Any]:
        """Returns the table as values of JSON, for ``read``."""
        return {
            "shared": [[*key, one.plain()] for key, one in self.shared.items()],
            "own": [[*key, one.plain()] for key, one in self.own.items()],
            "shares": dict(self.shares),
            "generation": self.generation,
            "reports": self.reports,
        }

    @classmethod
    def read(cls, values: Any) -> Self:
        """Reads what ``plain`` made.

        Raises:
            ValueError: it is something else.
        """
        try:
            shared = {
                (str(predictor), str(model)): Ability.read(one)
                for predictor, model, one in values["shared"]
            }
            own = {
                (str(predictor), str(tenant), str(model)): Ability.read(one)
                for predictor, tenant, model, one in values["own"]
            }
            shares = {str(name): float(one) for name, one in values["shares"].items()}
            return cls(shared, own, shares, int(values["generation"]), float(values["reports"]))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"it holds no learned scores ({type(error).__name__})") from None


def _centre(abilities: Collection[Ability]) -> float:
    """Returns the mean offset of all models, drawn to 0, in logits.

    Where a predictor takes a service's prompts to be harder than they are, it does so for all
    models. Without this, only those that are asked would be put right, and would look better than
    the others for that alone.
    """
    precision, moment = 1.0 / _CENTRE_VARIANCE, 0.0
    for one in abilities:
        told, mean = one.told()
        if told > 0.0:
            each = 1.0 / (1.0 / told + one.common_variance)
            precision += each
            moment += each * mean / told
    return moment / precision


def _idle(terms: AbilityTerms, ability: Ability, reports: float) -> float:
    """Returns what a model's reports count at a number of reports, if none of them was its own."""
    slower = _IDLE_FALLEN if ability.fallen else _IDLE
    return float(terms.kept ** (max(0.0, reports - ability.at) / slower))


def _weight(shares: dict[str, float], answer: GradedAnswer, kept: float) -> float:
    """Returns what an answer counts, and notes it; one that is trusted counts whole."""
    tenant = answer.tenant if answer.confined else ""
    for name, one in tuple(shares.items()):
        if one * kept < _LEAST_SHARE:
            del shares[name]
        else:
            shares[name] = one * kept
    mine = shares.pop(tenant, 0.0)
    others = sum(shares.values()) + _OTHERS_BEFORE
    weight = 1.0
    if tenant:
        # Its share of all stays at the bound: mine <= bound / (1 - bound) * others.
        weight = min(1.0, max(0.0, _MOST_SHARE / (1.0 - _MOST_SHARE) * others - mine))
    shares[tenant] = mine + weight
    return weight


def _bounded(own: dict[tuple[str, str, str], Ability]) -> dict[tuple[str, str, str], Ability]:
    """Drops the tenants that have reported nothing for longest."""
    recent = dict.fromkeys(tenant for _, tenant, _ in reversed(own))
    if len(recent) <= _MOST_TENANTS:
        return own
    kept = set(list(recent)[:_MOST_TENANTS])
    return {key: one for key, one in own.items() if key[1] in kept}
