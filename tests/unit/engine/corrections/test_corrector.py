"""The corrector: factors in force, what they are learned from, and the file that keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from routoo.config.sections.corrections import CorrectionSettings
from routoo.engine.corrections.corrector import Corrector
from routoo.engine.corrections.file import CorrectionFile
from routoo.errors import ConfigError
from routoo.routing.corrections.speed import Declared, TimedAnswer
from routoo.routing.corrections.table import Answer, Layout, Table
from routoo.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

DECLARED = (Declared(500.0, 10.0), Declared(500.0, 10.0))
LAYOUT = Layout("p1", ("small", "large"), ("chat",), DECLARED)


def answers(times: float, count: int = 50, model: str = "small") -> list[Answer]:
    return [Answer("p1", model, "chat", 100.0, 100.0 * times, float("inf"))] * count


class Kept:
    """A corrector with its counts, and a clock that is set by hand."""

    def __init__(self, path: Path | None = None) -> None:
        self.now_s = self.time_s = 0.0
        self.metrics = Metrics()
        self.corrector = Corrector(
            CorrectionSettings(),
            self.metrics.outcomes.corrections,
            file=None if path is None else CorrectionFile(path),
            clock_s=lambda: self.now_s,
            time_s=lambda: self.time_s,
        )

    def learn(self, found: list[Answer]) -> None:
        self.now_s += 60.0
        self.corrector.learn(found)

    def tell(self, latency_ms: float, count: int) -> None:
        """Tells the times of answers of 100 tokens, a second apart."""
        for _ in range(count):
            self.time_s += 1.0
            times = TimedAnswer(DECLARED[0], 100.0, 100.0, latency_ms, None, False, self.time_s)  # noqa: FBT003
            self.learn([Answer("p1", "small", "chat", 100.0, 100.0, float("inf"), times)])

    def counted(self, result: str) -> float:
        name, labels = "routoo_corrections_total", {"result": result}
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def test_factorsin_force_are_exchanged_as_a_whole_and_only_for_a_change() -> None:
    kept = Kept()
    before = kept.corrector.factors(LAYOUT)
    assert before.changes_nothing
    assert kept.corrector.factors(LAYOUT) is before
    kept.learn(answers(10.0))
    after = kept.corrector.factors(LAYOUT)
    assert after.lengths[0, 0] == pytest.approx(10.0, rel=0.15)
    assert (after.lengths[:, 1] == 1.0).all()
    assert before.changes_nothing
    now = after.lengths[0, 0]
    kept.learn(answers(float(now), 1))
    assert kept.corrector.factors(LAYOUT) is after
    assert kept.counted("learned") == 51


def test_an_answer_that_is_known_is_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(tmp_path / "corrections.json")
    kept.corrector.factors(LAYOUT)
    steps: list[tuple[str, bool]] = []

    class Watched(Corrector):
        """Tells when what is known is replaced, and whether it is in force."""

        def __setattr__(self, name: str, value: Any) -> None:
            if name == "table":
                steps.append(("known", self.factors(LAYOUT).lengths[0, 0] > 5.0))
            super().__setattr__(name, value)

    class Prices:
        predictor, models = "p1", ("small", "large")

        def take(self, factors: Any) -> None:
            steps.append(("priced", factors.lengths[0, 0] > 5.0))

    monkeypatch.setattr(kept.corrector, "__class__", Watched)
    kept.corrector.reprice(Prices())  # type: ignore[arg-type]
    kept.learn(answers(10.0))
    assert steps == [("priced", True), ("known", True)]


def test_a_new_layout_gets_what_is_known_and_old_ones_are_forgotten() -> None:
    kept = Kept()
    kept.learn(answers(4.0))
    for number in range(20):
        assert kept.corrector.factors(Layout("p1", ("small", f"m{number}"), ())).lengths[0, 0] > 3.0
    assert len(kept.corrector.in_force) <= 6


def test_a_file_keeps_them_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state" / "corrections.json"
    first = Kept(path)
    first.learn(answers(10.0))
    first.corrector.close()
    assert path.stat().st_mode & 0o777 == 0o600
    again = Kept(path).corrector
    assert again.table == first.corrector.table
    again.keep_models(["large"])
    again.step()
    assert again.table == Table()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-10],
        lambda content: content.replace(b"small", b"smell"),
        lambda _: b"",
        lambda _: b"\xff\x00",
        lambda _: b"[]",
        lambda _: b'{"format": 99}',
    ],
)
def test_a_damaged_file_is_said_counted_and_put_aside(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "corrections.json"
    first = Kept(path)
    first.learn(answers(10.0))
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    with capture_logs() as logs:
        kept = Kept(path)
    assert kept.corrector.factors(LAYOUT).changes_nothing
    assert [one["log_level"] for one in logs] == ["warning"]
    assert kept.counted("file_damaged") == 1
    assert (tmp_path / "corrections.json.damaged").read_bytes() == broken
    kept.learn(answers(10.0))
    assert Kept(path).corrector.table == kept.corrector.table


def test_a_file_that_cannot_be_written_costs_nothing_but_the_file(tmp_path: Path) -> None:
    path = tmp_path / "corrections.json"
    kept = Kept(path)
    beside = tmp_path / "corrections.json.new"
    beside.mkdir()
    with capture_logs() as logs:
        kept.learn(answers(10.0))
        kept.learn(answers(10.0))
    assert kept.counted("file_failed") == 2
    assert [one["log_level"] for one in logs] == ["error"]
    assert kept.corrector.factors(LAYOUT).lengths[0, 0] > 8.0
    beside.rmdir()
    kept.learn([])
    assert Kept(path).corrector.table == kept.corrector.table


def test_a_place_that_is_no_place_for_a_file_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "corrections.json"):
        with pytest.raises(ConfigError, match=r"corrections\.path"):
            CorrectionFile(path)


def test_factors_follow_the_hour_of_the_day_without_a_report() -> None:
    kept = Kept()
    for hour, latency_ms in ((8, 1500.0), (9, 4500.0), (10, 1500.0)):
        kept.time_s = hour * 3600.0
        kept.tell(latency_ms, 100)
    assert kept.corrector.factors(LAYOUT).latencies[0, 0] == pytest.approx(1.0, rel=0.15)
    found = []
    for hour in (32, 33, 34):
        kept.time_s = hour * 3600.0
        kept.learn([])
        found.append(float(kept.corrector.factors(LAYOUT).latencies[0, 0]))
    assert found == pytest.approx([1.0, 3.0, 1.0], rel=0.2)
    kept.time_s = 0.0  # a clock that is set back
    kept.learn([])
    assert kept.corrector.factors(LAYOUT).latencies[0, 0] > 0.0


def test_what_is_not_to_be_learned_from_stays_as_it_is_at_any_hour(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "corrections.json")
    kept.tell(9000.0, 100)
    frozen = Corrector(
        CorrectionSettings(learn=False),
        Metrics().outcomes.corrections,
        file=CorrectionFile(tmp_path / "corrections.json"),
        time_s=lambda: 1e9,
    )
    was, is_now = kept.corrector.factors(LAYOUT), frozen.factors(LAYOUT)
    assert is_now.latencies[0, 0] == pytest.approx(was.latencies[0, 0], rel=0.02)
