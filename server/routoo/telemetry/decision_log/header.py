"""The setup of decisions, which is the pool and the policies, as one line of the log."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import scipy
from pydantic import ValidationError

from routoo import __version__
from routoo.routing.arms.model import ModelSpec
from routoo.routing.pool import Pool
from routoo.routing.unsure import Unsure
from routoo.selector.exploring.exploration import Exploration
from routoo.selector.policies import POLICIES, policy_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from routoo.routing.policies import Policies
    from routoo.selector.policies.base import Policy

FORMAT_VERSION = 1
_NUMERIC = orjson.OPT_SERIALIZE_NUMPY


def plain_policies() -> dict[str, Policy]:
    """Returns the policies that need nothing but their name, by that name."""
    kinds = {name: policy_class(name) for name in POLICIES}
    return {name: kind() for name, kind in kinds.items() if not fields(kind)}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Setup:
    """The pool and the policies that decisions have in common.

    Attributes:
        pool: m models.
        policies: by name, the policies that decide requests.
        in_force: the name of the policy for requests that name none.
        software: versions of the software that computes, by name.
        unsure: the rule for prompts that the predictor does not know; None: there is none.
        prices: the version of the price table that decided; empty: the log tells none.
        fallbacks: the most fallbacks of a decision; 0: there are none.
        exploration: the rule for exploring; None: nothing explores.
    """

    pool: Pool
    policies: Mapping[str, Policy]
    in_force: str
    software: Mapping[str, str]
    unsure: Unsure | None = None
    prices: str = ""
    fallbacks: int = 0
    exploration: Exploration | None = None

    @classmethod
    def of(cls, pool: Pool, policies: Policies) -> Setup:
        """Makes the setup of a service that decides now, with this software."""
        return cls(
            pool,
            policies.offered,
            policies.in_force.name,
            software(),
            policies.unsure,
            pool.prices.version,
            0 if len(pool.names) == 1 else policies.fallbacks.count,
            policies.exploration,
        )

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Setup:
        """Reads the setup from a line of a log.

        Raises:
            ValueError: the line holds no setup; the message says what is wrong.
        """
        try:
            models = tuple(ModelSpec.model_validate(one) for one in values["models"])
            policies = {
                name: policy_class(name).restored(settings)
                for name, settings in values["policies"].items()
            }
            unsure, explore = values.get("unsure"), values.get("explore")
            return cls(
                Pool.of(models),
                policies,
                values["in_force"],
                values["software"],
                None if unsure is None else Unsure.restored(unsure),
                str(values.get("prices", "")),
                int(values.get("fallbacks", 0)),
                None if explore is None else Exploration.restored(explore),
            )
        except (KeyError, TypeError, AttributeError, ValidationError) as error:
            raise ValueError(f"{type(error).__name__} in the setup") from None

    @cached_property
    def id(self) -> str:
        """Identifies the content, by 12 hexadecimal digits."""
        return hashlib.sha256(orjson.dumps(self._content, option=_NUMERIC)).hexdigest()[:12]

    def line(self) -> bytes:
        """Returns the line, with its end."""
        values = {"kind": "setup", "format": FORMAT_VERSION, "setup": self.id, **self._content}
        return orjson.dumps(values, option=_NUMERIC | orjson.OPT_APPEND_NEWLINE)

    @cached_property
    def _content(self) -> dict[str, Any]:
        return {
            **({} if self.unsure is None else {"unsure": self.unsure.logged()}),
            **({"fallbacks": self.fallbacks} if self.fallbacks else {}),
            **({} if self.exploration is None else {"explore": self.exploration.logged()}),
            "in_force": self.in_force,
            "policies": {name: one.logged() for name, one in self.policies.items()},
            "models": [model.model_dump() for model in self.pool.models],
            "prices": self.prices,
            "software": dict(self.software),
        }


def software() -> dict[str, str]:
    """Returns the versions of the software that computes here, by name."""
    return {"routoo": __version__, "numpy": np.__version__, "scipy": scipy.__version__}
