"""The reference that the site of docs/ makes of the code is whole."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import BaseModel

from routoo.api.status import STATUS
from routoo.config.settings import Settings
from routoo.errors import PredictorError
from routoo.v1 import outcome_pb2, route_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATOR = Path(__file__).parents[3] / "docs" / "_generate"


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, str]]:
    """The generated pages by their names."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(GENERATOR))
        yield importlib.import_module("reference.pages").pages()


def part_of(page: str, head: str) -> str:
    """Returns what stands under a heading of the second level."""
    return page.split(f"\n## {head}\n")[1].split("\n## ", maxsplit=1)[0]


def test_every_setting_has_its_words(pages: dict[str, str]) -> None:
    text = pages["settings"]
    for name, value in Settings():
        if isinstance(value, BaseModel):
            part = part_of(text, name)
            for field in type(value).model_fields:
                assert f"| `{field}` |" in part or f"\n## {name}.{field}" in text, (name, field)
        else:
            assert f"| `{name}` |" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize(
    ("section", "name", "answer"),
    [
        ("http", "listen", "restart"),
        ("policy", "max_mean_cost_usd", "yes"),
        ("predictor", "artifact", "yes"),
        ("predictor", "backend", "restart"),
        ("security", "tokens", "yes"),
        ("security", "reflection", "restart"),
    ],
)
def test_a_setting_says_whether_a_reload_takes_it(
    pages: dict[str, str], section: str, name: str, answer: str
) -> None:
    lines = part_of(pages["settings"], section).splitlines()
    (row,) = [line for line in lines if line.startswith(f"| `{name}` |")]
    assert row.split(" | ")[3] == answer


def test_every_error_has_its_remedy(pages: dict[str, str]) -> None:
    rows = {line.split("`")[1]: line for line in pages["errors"].splitlines() if "| `" in line}
    assert set(rows) == {kind.__name__ for kind in (*STATUS, PredictorError)}
    assert all(row.rpartition(" | ")[2].strip(" |") for row in rows.values())


def test_every_message_and_field_is_told(pages: dict[str, str]) -> None:
    for file in (route_pb2, outcome_pb2):
        for message in file.DESCRIPTOR.message_types_by_name.values():
            part = part_of(pages["api"], message.name)
            for field in message.fields:
                assert f"| {field.number} | `{field.name}` | `" in part, field.full_name


@pytest.mark.parametrize(
    "command", ["routoo serve", "routoo pool add", "routoo-export data convert"]
)
def test_a_command_shows_its_help(pages: dict[str, str], command: str) -> None:
    assert f"Usage: {command} " in part_of(pages["commands"], command)


def test_metrics_doors_and_lines_are_those_of_a_service(pages: dict[str, str]) -> None:
    for metric in ("decisions", "workers_up", "provider_failures", "budget_limit_usd"):
        assert f"| `routoo_{metric}` |" in pages["metrics"]
    assert "| `POST /v1/route` |" in pages["http-doors"]
    for kind in ("setup", "batch", "decision", "outcome", "escalation"):
        assert f'"kind": "{kind}"' in part_of(pages["decision-log"], kind)
