"""Settings: one mistake per case, each with the words that its author needs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from routoo.config.loading import SettingsSource, load_settings
from routoo.config.yaml_files import read_yaml_mapping
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from routoo.config.settings import Settings


@pytest.fixture(autouse=True)
def _no_settings_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("ROUTOO_") and name != "ROUTOO_DATA":
            monkeypatch.delenv(name)


def config_file(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path | None, **overrides: object) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


# Each entry: the content of the file, and words of the message.
MISTAKES = {
    "not yaml": (
        "listen: [127.0.0.1:1",
        ["line 1, column", "malformed YAML", "expected ',' or ']'"],
    ),
    "tab": ("policy:\n\tname: lp", ["line 2, column 1", "malformed YAML"]),
    "control character": ("listen: \x01", ["malformed YAML"]),
    "list as key": ("? [a]\n: 1", ["line 1, column 3", "key ['a'] is not text"]),
    "impossible date": ("listen: 2020-13-45", ["malformed YAML"]),
    "boolean as key": ("log: {on: 1}", ["line 1, column 7", "key True is not text"]),
    "undefined alias": ("listen: *nowhere", ["malformed YAML", "undefined alias 'nowhere'"]),
    "python object": ("listen: !!python/name:os.system", ["malformed YAML"]),
    "list": ("- listen", ["has to be a mapping of settings, is a list"]),
    "text": ("listen", ["has to be a mapping of settings, is a str"]),
    "key twice": ("listen: a:1\nlisten: b:2", ["line 2, column 1", "key 'listen' stands twice"]),
    "nested key twice": (
        "policy:\n  name: lp\n  name: lp",
        ["line 3, column 3", "key 'name' stands twice"],
    ),
    "unknown key": ("lissten: 127.0.0.1:1", ["lissten: unknown key", "correct its spelling"]),
    "unknown nested key": ("policy: {max_cost: 1}", ["policy.max_cost: unknown key"]),
    "number as key": ("7: 8", ["line 1, column 1", "key 7 is not text"]),
    "section is a number": ("policy: 3", ["policy:", "(given: 3)"]),
    "port missing": ("listen: localhost", ["listen: has to be HOST:PORT", "'localhost'"]),
    "port too large": ("listen: localhost:65536", ["listen: has to be HOST:PORT"]),
    "port negative": ("listen: 'localhost:-1'", ["listen: has to be HOST:PORT"]),
    "host missing": ("listen: ':50051'", ["listen: has to be HOST:PORT"]),
    "metrics address": ("metrics: {listen: '9095'}", ["metrics.listen: has to be HOST:PORT"]),
    "negative cost": (
        "policy: {max_mean_cost_usd: -0.001}",
        ["policy.max_mean_cost_usd: Input should be greater than 0", "(given: -0.001)"],
    ),
    "zero cost": ("policy: {max_mean_cost_usd: 0}", ["should be greater than 0", "(given: 0)"]),
    "infinite cost": ("policy: {max_mean_cost_usd: .inf}", ["should be a finite number"]),
    "cost is not a number": ("policy: {max_mean_cost_usd: .nan}", ["should be a finite number"]),
    "unknown policy": ("policy: {name: random}", ["policy.name: Input should be 'lp'", "'random'"]),
    "policy without its section": (
        "policy: {name: threshold}",
        ["policy: policy.name is threshold, which needs the section policy.threshold"],
    ),
    "offered policy without its section": (
        "policy: {offered: [best, fixed]}",
        ["policy: policy.offered is fixed, which needs the section policy.fixed"],
    ),
    "shadow of itself": (
        "policy: {shadow: lp}",
        ["policy.shadow is lp, the policy in force; name another"],
    ),
    "one model twice": (
        "policy: {threshold: {strong: a, weak: a, threshold: 0.1}}",
        ["policy.threshold: strong and weak are the same model; name two"],
    ),
    "gap of one model": (
        "policy: {quality_gap: {small: a, large: a}}",
        ["policy.quality_gap: small and large are the same model; name two"],
    ),
    "threshold above 1": (
        "policy: {threshold: {strong: a, weak: b, threshold: 12}}",
        ["policy.threshold.threshold: Input should be less than or equal to 1"],
    ),
    "no batch": ("batching: {max_batch: 0}", ["batching.max_batch", "greater than or equal to 1"]),
    "no queue": ("batching: {max_queue: 0}", ["batching.max_queue", "greater than or equal to 1"]),
    "half a prompt": ("limits: {max_batch_prompts: 1.5}", ["limits.max_batch_prompts", "integer"]),
    "message limit": ("limits: {max_message_bytes: 2147483648}", ["limits.max_message_bytes"]),
    "negative grace": ("shutdown_grace_s: -1", ["shutdown_grace_s", "greater than or equal to 0"]),
    "endless grace": ("shutdown_grace_s: .inf", ["shutdown_grace_s", "finite"]),
    "unknown provider": ("predictor: {provider: tpu}", ["predictor.provider", "'cpu' or 'cuda'"]),
    "unknown level": ("log: {level: loud}", ["log.level", "(given: 'loud')"]),
    "a percentile that nobody learns": (
        "policy: {latency_percentile: 80}",
        ["policy.latency_percentile", "50, 90, 95 or 99"],
    ),
    "a half-life that is none": (
        "corrections: {latency_half_life_s: 0}",
        ["corrections.latency_half_life_s", "greater than 0"],
    ),
    "two mistakes": ("lisen: 1\nlog: {level: loud}", ["(and 1 more)"]),
}


@pytest.mark.parametrize(("text", "pieces"), MISTAKES.values(), ids=MISTAKES)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, pieces: list[str]) -> None:
    path = config_file(tmp_path, text)
    message = refusal(path)
    assert message.startswith(f"{path}:")
    for piece in pieces:
        assert piece in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.yaml"
    assert refusal(path) == f"{path}: cannot be read: No such file or directory"


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"listen: \xff\xfe")
    assert refusal(path) == f"{path}: cannot be read: not UTF-8"


@given(text=st.text(alphabet="a0-:{}[]?!&*<>=|\n \t'\"#%\x01", max_size=14))
def test_any_text_is_a_mapping_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = config_file(tmp_path_factory.getbasetemp(), text)
    with suppress(ConfigError):
        assert isinstance(read_yaml_mapping(path), dict)


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("batching: {max_queue: 15}", "the last line has no line end"),
        ("policy:\n  unsure:\n", "line 2: the last key has no value"),
        ("policy:\n  unsure: # a rule\n\n", "line 2: the last key has no value"),
        ("policy:\n  offered:\n    - lp\n    -\n", "line 4: the last key has no value"),
    ],
)
def test_a_file_that_may_be_half_written_is_not_read_again(
    tmp_path: Path, text: str, piece: str
) -> None:
    source = SettingsSource(config_file(tmp_path, text))
    with pytest.raises(ConfigError, match=piece):
        source.read_finished()


@pytest.mark.parametrize(
    "text",
    [
        "policy: {unsure: null}\n",
        "policy:\n  unsure: ~\n",
        '{"batching": {"max_queue": 15}}',
        "",
        "# nothing\n",
    ],
)
def test_a_file_that_is_finished_is_read_again(tmp_path: Path, text: str) -> None:
    source = SettingsSource(config_file(tmp_path, text))
    assert source.read_finished().model_dump() == source.read().model_dump()


def test_an_alias_of_the_collection_that_it_stands_in_is_no_endless_search(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        SettingsSource(config_file(tmp_path, "a: &a [*a]\n")).read_finished()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    assert load_settings(config_file(tmp_path, text)).model_dump() == load_settings().model_dump()


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    text = "pool: pools/mine.yaml\npredictor: {artifact: ../predictor/1}"
    settings = load_settings(config_file(tmp_path, text))
    assert settings.pool == tmp_path / "pools/mine.yaml"
    assert settings.predictor.artifact == tmp_path / "../predictor/1"


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    settings = load_settings(config_file(tmp_path, "pool: /etc/routoo/pool.yaml"))
    assert settings.pool == Path("/etc/routoo/pool.yaml")


def test_flags_win_over_environment_wins_over_file_wins_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config_file(tmp_path, "policy: {max_mean_cost_usd: 0.5}\nbatching: {max_batch: 7}")
    assert load_settings(path).policy.max_mean_cost_usd == 0.5
    monkeypatch.setenv("ROUTOO_POLICY__MAX_MEAN_COST_USD", "0.25")
    assert load_settings(path).policy.max_mean_cost_usd == 0.25
    flags = load_settings(path, {"policy": {"max_mean_cost_usd": 0.125}})
    assert flags.policy.max_mean_cost_usd == 0.125
    assert flags.batching.max_batch == 7
    assert flags.batching.max_queue == 4096


@pytest.mark.parametrize(
    ("name", "value", "pieces"),
    [
        ("ROUTOO_LISEN", "a:1", ["environment variable ROUTOO_LISEN", "known here: batching,"]),
        (
            "ROUTOO_POLICY__MAX_COST",
            "1",
            ["no such setting; known here: cascade, explore, fallbacks,"],
        ),
        ("ROUTOO_POLICY__FIXED__MODLE", "a", ["no such setting; known here: model"]),
        ("ROUTOO_POLICY__NAME__DEEP", "1", ["environment variable ROUTOO_POLICY__NAME__DEEP"]),
        ("routoo_lisen", "a:1", ["environment variable routoo_lisen: no such setting"]),
        ("ROUTOO_POLICY__MAX_MEAN_COST_USD", "much", ["max_mean_cost_usd", "(given: 'much')"]),
        ("ROUTOO_LISTEN", "here", ["listen: has to be HOST:PORT"]),
        ("ROUTOO_POLICY", "not json", ['environment: error parsing value for field "policy"']),
    ],
)
def test_a_wrong_environment_variable_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, pieces: list[str]
) -> None:
    monkeypatch.setenv(name, value)
    message = refusal(None)
    for piece in pieces:
        assert piece in message


def test_variables_of_other_parts_of_the_project_are_let_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ROUTOO_DATA", "somewhere")
    monkeypatch.setenv("ROUTOO_ADDRESS", "127.0.0.1:1")
    assert load_settings().listen == "127.0.0.1:50051"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROUTOO_PORT", "tcp://10.0.0.1:50051"),
        ("ROUTOO_SERVICE_HOST", "10.0.0.1"),
        ("ROUTOO_SERVICE_HOST", "fd00::1"),
        ("ROUTOO_SERVICE_PORT", "50051"),
        ("ROUTOO_SERVICE_PORT_GRPC", "50051"),
        ("ROUTOO_PORT_50051_TCP", "tcp://[fd00::1]:50051"),
        ("ROUTOO_PORT_50051_TCP_PROTO", "tcp"),
        ("ROUTOO_PORT_50051_TCP_PORT", "50051"),
        ("ROUTOO_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("ROUTOO_METRICS_PORT", "tcp://10.0.0.1:9095"),
    ],
)
def test_variables_of_kubernetes_services_are_let_through(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert load_settings().listen == "127.0.0.1:50051"


@pytest.mark.parametrize("name", ["ROUTOO_PORT", "ROUTOO_METRICS_PORT", "ROUTOO_SERVICE_HOST"])
def test_a_misspelt_setting_is_no_variable_of_kubernetes(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "router:50051")
    assert f"environment variable {name}: no such setting" in refusal(None)


MERGED = """
budgets:
  - &everyone {name: everyone, usd: 50, per: 1h}
  - {<<: *everyone, name: team-a, tenant: team-a}
  - &less {usd: 5, <<: *everyone, name: team-b, tenant: team-b}
  - {<<: [{tenant: team-c}, *less], name: team-c}
"""


def test_mappings_take_over_the_keys_of_others(tmp_path: Path) -> None:
    budgets = load_settings(config_file(tmp_path, MERGED)).budgets
    told = [(one.name, one.tenant, one.usd) for one in budgets]
    assert told == [
        ("everyone", "", 50.0),
        ("team-a", "team-a", 50.0),
        ("team-b", "team-b", 5.0),
        ("team-c", "team-c", 5.0),
    ]


@pytest.mark.parametrize(
    ("text", "piece"),
    [
        ("log: {<<: {level: info}, <<: {level: info}}", "key '<<' stands twice"),
        ("log: {<<: {level: info, level: info}}", "key 'level' stands twice"),
        ("log: {<<: info}", "expected a mapping or list of mappings"),
        ("log: {<<: {lvl: info}}", "log.lvl: unknown key"),
        ("log: &a {<<: *a, lvl: info}", "log.lvl: unknown key"),
    ],
)
def test_what_is_taken_over_is_checked(tmp_path: Path, text: str, piece: str) -> None:
    assert piece in refusal(config_file(tmp_path, text))


def test_mappings_that_take_each_other_over_many_times_stay_small(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 30)]
    found = read_yaml_mapping(config_file(tmp_path, "\n".join(lines)))
    assert found["a29"] == {"x": 1}


def test_a_wrong_flag_is_refused() -> None:
    assert "policy.max_mean_cost_usd" in refusal(None, policy={"max_mean_cost_usd": -1.0})
    assert "unknown key" in refusal(None, polcy={"max_mean_cost_usd": 1.0})


def test_settings_cannot_be_changed_after_they_are_read() -> None:
    settings: Settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.listen = "a:1"
    with pytest.raises(ValidationError, match="frozen"):
        settings.policy.max_mean_cost_usd = 1.0
