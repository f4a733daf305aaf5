"""``balanced``: the rule of ``lp`` at the knee, past which money buys less than it does on average.

The price of this point of the pool's cost-quality curve, see ``routoo.selector.lp.presets``, stands
in the case like any other price.
"""

from dataclasses import dataclass

from routoo.selector.policies.lp import Lp


@dataclass(frozen=True, slots=True)
class Balanced(Lp):
    """Chooses the highest score minus cost at the price of the point."""
