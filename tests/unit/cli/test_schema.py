"""The JSON schemas of the settings and of pools: they describe every key, and fit real files."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import orjson
import pytest
import yaml

from routoo.cli.output.schema import schema_of
from routoo.config.settings import Settings
from routoo.routing.pool import DEFAULT_POOL, PoolFile

if TYPE_CHECKING:
    from pydantic import BaseModel

ROOT = Path(__file__).parents[3]
FILES: list[tuple[type[BaseModel], Path]] = [
    (Settings, ROOT / "examples/config.yaml"),
    (Settings, ROOT / "deploy/envoy/routoo.yaml"),
    (PoolFile, DEFAULT_POOL),
]


def _read(path: Path) -> Any:
    """The file as JSON has it: with days as texts."""

    def as_text(value: object) -> str:
        assert isinstance(value, date)
        return value.isoformat()

    return json.loads(json.dumps(yaml.safe_load(path.read_text("utf-8")), default=as_text))


@pytest.mark.parametrize("model", [Settings, PoolFile])
def test_every_key_is_described(model: type[BaseModel]) -> None:
    schema = schema_of(model, "Title")
    parts = {model.__name__: schema, **schema["$defs"]}
    missing = [
        f"{name}.{key}"
        for name, part in parts.items()
        for key, value in part.get("properties", {}).items()
        if not value.get("description") and "$ref" not in value
    ]
    assert missing == []
    assert schema["title"] == "Title"


@pytest.mark.parametrize(("model", "path"), FILES)
def test_real_files_fit(model: type[BaseModel], path: Path) -> None:
    schema = schema_of(model, "Title")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(_read(path), schema, cls=jsonschema.Draft202012Validator)


@pytest.mark.parametrize("wrong", [{"listn": "x"}, {"batching": {"max_batch": 0}}])
def test_a_wrong_key_or_value_does_not(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema_of(Settings, "Title"))


@pytest.mark.parametrize("kind", ["settings", "pool"])
def test_the_command_prints_one(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    from routoo.cli.app import main

    assert main(["schema", kind]) == 0
    assert orjson.loads(capsys.readouterr().out)["type"] == "object"
