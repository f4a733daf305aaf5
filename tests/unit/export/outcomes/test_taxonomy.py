"""The taxonomy of tasks: what ships, and files that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from routoo_export.errors import OutcomeError
from routoo_export.outcomes.taxonomy import read_taxonomy, shipped_taxonomy

if TYPE_CHECKING:
    from pathlib import Path


def test_the_shipped_one_has_two_levels() -> None:
    shipped = shipped_taxonomy()
    assert len(shipped.kinds) == 25
    assert len(set(shipped.groups)) == 9
    assert set(shipped.groups).isdisjoint(shipped.kinds)
    assert shipped.groups[shipped.kinds.index("sql_data")] == "programming"
    assert all(shipped.descriptions[name] for name in (*shipped.kinds, *shipped.groups))


CIRCLE = """
- {name: a, within: b, description: x}
- {name: b, within: a, description: y}
- {name: c, description: z}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "tasks.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_kinds_of_ones_own_are_read(tmp_path: Path) -> None:
    found = read_taxonomy(
        written(
            tmp_path,
            "- {name: support, description: ours}\n"
            "- {name: refund, within: support, description: money back}\n"
            "- {name: other, description: the rest}\n",
        )
    )
    assert found.kinds == ("refund", "other")
    assert found.groups == ("support", "other")


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("- {name: a, description: x}\n- {name: a, description: y}\n", "a stands twice"),
        (
            CIRCLE,
            "a circle",
        ),
        ("- {name: a, within: a, description: x}\n", "a circle"),
        ("- {name: a, within: b, description: x}\n", "'b', which there is not"),
        ("- {name: a}\n", "a has no description"),
        ("- {name: 'a b', description: x}\n", "entry 1: needs a name"),
        ("- {name: a, description: x, colour: red}\n", "entry 1: needs a name"),
        ("name: a\n", "has to be a list"),
        ("- [", "cannot be read"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path: Path, text: str, piece: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(OutcomeError) as caught:
        read_taxonomy(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert piece in message.replace("\n", " ")
