"""The adapter of each --format."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.adapters.llmrouter import read_llmrouter
from routoo_export.outcomes.adapters.mmlu_pro import read_mmlu_pro
from routoo_export.outcomes.adapters.routellm import read_routellm
from routoo_export.outcomes.adapters.routerbench import read_routerbench
from routoo_export.outcomes.adapters.routerdc import read_routerdc
from routoo_export.outcomes.bad_rows import BadRows
from routoo_export.outcomes.columns import OutcomeGrid
from routoo_export.outcomes.outcomes import read_grid

Adapter = Callable[[Sequence[str], BadRows], OutcomeGrid]


def read_parquet(inputs: Sequence[str], bad: BadRows) -> OutcomeGrid:
    """Read one parquet file of the project's own format, wide or long.

    Raises:
        OutcomeError: there are several files (whose prompt_ids may collide), or the file does not
            fit.
    """
    if len(inputs) != 1:
        raise OutcomeError(
            "--format parquet converts one file; training takes several (--outcomes F --outcomes G)"
        )
    return read_grid(Path(inputs[0]), bad)


ADAPTERS: Final[dict[str, Adapter]] = {
    "routerbench": read_routerbench,
    "routellm": read_routellm,
    "routerdc": read_routerdc,
    "mmlu-pro": read_mmlu_pro,
    "llmrouter": read_llmrouter,
    "parquet": read_parquet,
}
