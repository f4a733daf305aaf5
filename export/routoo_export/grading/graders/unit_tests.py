"""Grading of code by unit tests: they run in a process of their own, with limits.

A model wrote what is run. The process has limits on processor time, memory, files and processes, an
empty folder, no environment, and no network (a network namespace of its own, without which nothing
is run unless that is allowed). That keeps mistakes in; it is no wall against code that wants out.
Run it in a container that holds nothing else.
"""

from __future__ import annotations

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from routoo_export.errors import GradingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FENCE: Final = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL)
_MIB: Final = 1024 * 1024
_NO_NAMESPACE: Final = 77
_GRACE_S: Final = 5.0
# It limits itself before it runs what a model wrote: a function between fork and exec could hang.
_RUNNER: Final = """
import ctypes, json, os, resource, sys
asked = json.loads(sys.stdin.buffer.read())
limits = asked["limits"]
if not limits["network"]:
    unshare = ctypes.CDLL(None).unshare
    if unshare(0x40000000) and unshare(0x50000000):
        os._exit(77)
mib = 1024 * 1024
for what, most in (
    (resource.RLIMIT_CPU, limits["seconds"]),
    (resource.RLIMIT_AS, limits["memory_mib"] * mib),
    (resource.RLIMIT_FSIZE, limits["file_mib"] * mib),
    (resource.RLIMIT_NPROC, limits["processes"]),
    (resource.RLIMIT_CORE, 0),
):
    resource.setrlimit(what, (most, most))
names, passed = {"__name__": "answer"}, []
try:
    exec(compile(asked["code"], "answer", "exec"), names)
except BaseException:
    names = None
for test in asked["tests"]:
    good = names is not None
    if good:
        try:
            exec(compile(test, "test", "exec"), dict(names))
        except BaseException:
            good = False
    passed.append(good)
os.write(int(sys.argv[1]), json.dumps([asked["nonce"], passed]).encode())
os._exit(0)
"""


@dataclass(frozen=True, slots=True)
class TestLimits:
    """Limits of one run.

    Attributes:
        seconds: of the clock, and of processor time.
        memory_mib: of address space.
        file_mib: of any file that is written.
        processes: of the user, threads included.
        network: whether a machine that cannot shut the network off runs them all the same.
    """

    __test__ = False  # pytest takes it for a test

    seconds: int = 10
    memory_mib: int = 1024
    file_mib: int = 16
    processes: int = 64
    network: bool = False


def grade_by_tests(answer: str, tests: Sequence[str], limits: TestLimits) -> float:
    """Returns the share of tests that pass, from 0 to 1.

    The code is that of the answer's fences, all of them together, or else the whole answer. A test
    passes if it runs to its end after the code, in the same names.

    Args:
        answer: of the model.
        tests: Python source, at least one.
        limits: of the run.

    Raises:
        GradingError: the network cannot be shut off here.
    """
    nonce = secrets.token_hex(16)
    asked = {"code": code_of(answer), "tests": list(tests), "nonce": nonce}
    passed = _run({**asked, "limits": asdict(limits)}, limits)
    if len(passed) != len(tests):
        return 0.0
    return sum(passed) / len(tests)


def code_of(answer: str) -> str:
    """Returns the code of an answer: its fences, or else all of it."""
    fences = _FENCE.findall(answer)
    return "\n\n".join(fences) if fences else answer


def can_shut_off_network() -> bool:
    """Whether a process without network can be made here."""
    try:
        return bool(grade_by_tests("", ["pass"], TestLimits()))
    except GradingError:
        return False


def _run(asked: Mapping[str, Any], limits: TestLimits) -> list[bool]:
    inside, outside = os.pipe()
    try:
        with tempfile.TemporaryDirectory() as folder:
            code = _ended(orjson.dumps(asked), folder, outside, limits)
        os.set_blocking(inside, False)
        told = _read(inside) if code == 0 else b""
    finally:
        os.close(inside)
        os.close(outside)
    if code == _NO_NAMESPACE:
        raise GradingError(
            "the network cannot be shut off for tests here; run in a container with user"
            " namespaces, or allow it with --allow-network"
        )
    try:
        said, passed = orjson.loads(told)
    except (ValueError, TypeError):
        return []
    return [one is True for one in passed] if said == asked["nonce"] else []


def _ended(asked: bytes, folder: str, report: int, limits: TestLimits) -> int:
    """Runs the tests, kills what is left of them, and returns the exit code."""
    process = subprocess.Popen(  # noqa: S603 - what is run is limited, as the module says
        [sys.executable, "-I", "-c", _RUNNER, str(report)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=Path(folder),
        env={"HOME": folder, "TMPDIR": folder, "PATH": "/usr/bin:/bin"},
        pass_fds=(report,),
        start_new_session=True,
    )
    try:
        with suppress(subprocess.TimeoutExpired):
            process.communicate(asked, timeout=limits.seconds + _GRACE_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode


def _read(inside: int) -> bytes:
    try:
        return os.read(inside, _MIB)
    except BlockingIOError:
        return b""
