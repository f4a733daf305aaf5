"""Graders by reference, by unit tests, and by a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routoo_export.errors import GradingError
from routoo_export.grading.graders.person import PersonStoppedError, grade_by_person
from routoo_export.grading.graders.reference import check_reference, grade_by_reference
from routoo_export.grading.graders.unit_tests import TestLimits, grade_by_tests

if TYPE_CHECKING:
    from routoo_export.grading.graders.reference import ReferenceKind

LIMITS = TestLimits(seconds=1, memory_mib=512)
# For code that ends by itself, however long this machine takes to start it.
PATIENT = TestLimits(seconds=120, memory_mib=512)


@pytest.mark.parametrize(
    ("kind", "answer", "reference", "score"),
    [
        ("exact", "  Paris. ", "paris", 1.0),
        ("exact", "Let me think.\nThe answer is: **Paris**", "Paris", 1.0),
        ("exact", r"So \boxed{Paris}", "paris", 1.0),
        ("exact", "Paris or London", "Paris", 0.0),
        ("exact", "", "Paris", 0.0),
        ("numeric", "17 * 23 = 391", "391", 1.0),
        ("numeric", "The answer is 1,234.50", "1234.5", 1.0),
        ("numeric", "about 3, so the answer is 1/3", "0.3333333333", 1.0),
        ("numeric", r"\boxed{-2.5e3}", "-2500", 1.0),
        ("numeric", "50%", "0.5", 1.0),
        ("numeric", "no idea", "4", 0.0),
        ("numeric", "5", "4", 0.0),
        ("regex", "call foo(1)", r"foo\(\d\)", 1.0),
        ("regex", "call bar(1)", r"foo\(\d\)", 0.0),
        ("json", 'Here:\n```json\n{"b": 1.0, "a": [true]}\n```', '{"a": [true], "b": 1}', 1.0),
        ("json", 'It is {"a": 1} I think', '{"a": 1}', 1.0),
        ("json", '{"a": true}', '{"a": 1}', 0.0),
        ("json", "none", '{"a": 1}', 0.0),
        ("json", "[" * 5_000, "[]", 0.0),
        ("exact", "x" * 200_000, "x" * 200_000, 0.0),
    ],
)
def test_references(kind: ReferenceKind, answer: str, reference: str, score: float) -> None:
    assert grade_by_reference(kind, answer, reference) == score


@pytest.mark.parametrize(
    ("kind", "reference", "message"),
    [
        ("numeric", "many", "is no number"),
        ("regex", "(", "is no pattern"),
        ("json", "{", "is no JSON"),
        ("taste", "x", "is none of exact, json, numeric, regex, tests"),
    ],
)
def test_a_reference_that_does_not_fit_is_refused_before(
    kind: str, reference: str, message: str
) -> None:
    with pytest.raises(GradingError, match=message):
        check_reference(kind, reference)


@given(st.floats(-1e9, 1e9).map(lambda value: round(value, 4)))
def test_every_number_equals_itself(value: float) -> None:
    for text in (f"{value}", f"{value:,}", f"I get 7, so the answer is {value}."):
        assert grade_by_reference("numeric", text, repr(value)) == 1.0


@settings(max_examples=40)
@given(st.text(max_size=100), st.sampled_from(["exact", "json", "numeric", "regex"]))
def test_any_answer_has_a_grade(answer: str, kind: ReferenceKind) -> None:
    assert grade_by_reference(kind, answer, "1") in (0.0, 1.0)


GOOD = "Here it is:\n```python\ndef add(a, b):\n    return a + b\n```\nDone."


def test_the_share_of_tests_that_pass() -> None:
    tests = [
        "assert add(1, 2) == 3",
        "assert add(1, 2) == 4",
        "add = None",
        "assert add(0, 0) == 0",
    ]
    assert grade_by_tests(GOOD, tests, PATIENT) == 0.75
    assert grade_by_tests("def add(a, b): return a + b", tests[:1], PATIENT) == 1.0
    assert grade_by_tests("", ["assert True"], PATIENT) == 1.0


@pytest.mark.parametrize(
    "code",
    [
        "while True: pass",
        "hoard = bytearray(10**10)",
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "open('big', 'wb').write(bytes(64 * 2**20))",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "def add(:",
        "x" * 100,
        "\x00",
    ],
)
def test_code_that_does_not_come_to_its_end_fails(code: str) -> None:
    assert grade_by_tests(code, ["pass"], LIMITS) == 0.0


def test_code_has_no_network_no_secrets_and_no_files_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OURS_KEY", "secret")
    code = """
import os, socket
try:
    socket.create_connection(("127.0.0.1", 9), 1)
except OSError as error:
    failed = error.errno
"""
    tests = [
        "import errno; assert failed in (errno.ENETUNREACH, errno.EADDRNOTAVAIL)",
        "assert 'OURS_KEY' not in os.environ",
        "assert os.listdir('.') == []",
    ]
    assert grade_by_tests(code, tests, PATIENT) == 1.0


@pytest.mark.parametrize(
    ("typed", "score"),
    [(["y"], 1.0), (["N"], 0.0), (["7"], 0.7), (["11", "maybe", "10"], 1.0), (["s"], None)],
)
def test_a_person_grades_by_keys(typed: list[str], score: float | None) -> None:
    shown: list[str] = []
    keys = iter(typed)
    found = grade_by_person("2+2", "4\x1b[2J", "1 of 1", lambda _: next(keys), shown.append)
    assert found == score
    assert "\x1b" not in shown[0]


def test_a_person_may_stop() -> None:
    def closed(_: str) -> str:
        raise EOFError

    for ask in (closed, lambda _: "q"):
        with pytest.raises(PersonStoppedError):
            grade_by_person("2+2", "", "1 of 1", ask, lambda _: None)
