"""Tokens are made, stored as hashes and recognized, and wrong ones are refused."""

from __future__ import annotations

import fcntl
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.security.caller import ADMIN, ROUTE
from routoo.api.security.tokens import Tokens, append_token, new_token, read_tokens
from routoo.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

NOW_S = 1.7e9


def test_a_token_stands_for_its_caller_after_the_file_was_written_and_read(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    texts = {}
    for tenant, roles in (("a", [ROUTE]), ("", [ADMIN, ROUTE]), ("ü", [ADMIN])):
        texts[tenant], stored = new_token(tenant, roles, NOW_S)
        append_token(file, stored)
    tokens = read_tokens(file)
    assert len(tokens) == 3
    for tenant, text in texts.items():
        caller = tokens.caller_of(text, NOW_S)
        assert caller is not None
        assert caller.tenant == tenant
    assert tokens.caller_of(texts["ü"], NOW_S).roles == {ADMIN}  # type: ignore[union-attr]


def test_the_mark_of_an_editor_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    text, stored = new_token("a", [ROUTE], NOW_S)
    append_token(file, stored)
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read_tokens(file).caller_of(text, NOW_S) is not None


def test_the_file_is_its_owners_and_holds_no_token(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    text, stored = new_token("a", [ROUTE], NOW_S)
    append_token(file, stored)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # The secret may have an underscore itself.
    secret = text.split("_", 2)[2]
    assert text.split("_")[1] in file.read_text()
    assert secret not in file.read_text()
    assert secret not in repr(stored)


def test_two_tokens_share_neither_salt_nor_secret() -> None:
    (one, first), (other, second) = (new_token("a", [ROUTE], NOW_S) for _ in range(2))
    assert one != other
    assert first.salt != second.salt
    assert first.digest != second.digest


def test_a_token_expires_at_its_time() -> None:
    text, stored = new_token("a", [ROUTE], NOW_S, valid_s=60.0)
    tokens = Tokens([stored])
    assert tokens.caller_of(text, NOW_S + 59.9) is not None
    assert tokens.caller_of(text, NOW_S + 60.0) is None


def test_the_time_of_expiry_survives_the_file(tmp_path: Path) -> None:
    text, stored = new_token("a", [ROUTE], NOW_S, valid_s=60.0)
    append_token(tmp_path / "t", stored)
    tokens = read_tokens(tmp_path / "t")
    assert tokens.caller_of(text, NOW_S + 59.9) is not None
    assert tokens.caller_of(text, NOW_S + 60.1) is None


@given(text=st.text(max_size=100))
def test_no_other_text_is_a_token(text: str) -> None:
    token, stored = new_token("a", [ROUTE], NOW_S)
    tokens = Tokens([stored])
    assert tokens.caller_of(text, NOW_S) is None
    assert tokens.caller_of(token + text, NOW_S) is (stored.caller if not text else None)


@given(place=st.integers(0, 62), sign=st.sampled_from("0aZ_-"))
def test_a_token_with_one_other_sign_is_refused(place: int, sign: str) -> None:
    token, stored = new_token("a", [ROUTE], NOW_S)
    changed = token[:place] + sign + token[place + 1 :]
    known = Tokens([stored]).caller_of(changed, NOW_S)
    assert (known is not None) == (changed == token)


def test_a_line_is_added_behind_one_without_its_end(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    (_, first), (text, second) = new_token("a", [ROUTE], NOW_S), new_token("b", [ROUTE], NOW_S)
    file.write_bytes(b"# ours\n\n" + first.line().rstrip())
    append_token(file, second)
    tokens = read_tokens(file)
    assert len(tokens) == 2
    assert tokens.caller_of(text, NOW_S) is not None


def line(**changes: object) -> bytes:
    values = orjson.loads(new_token("a", [ROUTE], NOW_S)[1].line())
    return orjson.dumps({key: value for key, value in (values | changes).items() if value != ...})


WRONG = {
    "no JSON": b"{",
    "a list": b"[]",
    "a secret": b"routoo_0123456789ab_secret-secret-secret",
    "a key too much": orjson.dumps(orjson.loads(line()) | {"token": "secret"}),
    "no salt": orjson.dumps({k: v for k, v in orjson.loads(line()).items() if k != "salt"}),
    "a short salt": line(salt="00"),
    "a hash of another length": line(sha256="00"),
    "no hexadecimal": line(sha256="zz" * 32),
    "an unknown role": line(roles=["root"]),
    "no role": line(roles=[]),
    "a number as tenant": line(tenant=7),
    "an id of another form": line(id="../../etc"),
    "a time that is none": line(expires="tomorrow"),
    "not UTF-8": b"\xff\xfe",
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_line_is_named_and_not_quoted(tmp_path: Path, case: str) -> None:
    file = tmp_path / "tokens.jsonl"
    file.write_bytes(b"# first\n" + WRONG[case] + b"\n")
    with pytest.raises(ConfigError) as caught:
        read_tokens(file)
    assert str(caught.value) == f"{file}:2: not a line of `routoo token new`; remove it"
    assert caught.value.__cause__ is None


def test_an_id_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    one = line()
    file.write_bytes(one + b"\n" + one + b"\n")
    with pytest.raises(ConfigError, match=r":2: the id stands twice"):
        read_tokens(file)


def test_a_file_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read: No such file .*`routoo token new`"):
        read_tokens(tmp_path / "none")
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        append_token(tmp_path / "none" / "t", new_token("a", [ROUTE], NOW_S)[1])


def test_commands_at_once_lose_no_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    first, second = (new_token("", ["route"], 0.0)[1] for _ in range(2))
    with path.open("wb") as file, ThreadPoolExecutor(1) as other:
        fcntl.flock(file, fcntl.LOCK_EX)
        adding = other.submit(append_token, path, second)
        with pytest.raises(TimeoutError):  # it waits until the first command is done
            adding.result(timeout=0.2)
        file.write(first.line())
        file.flush()
        fcntl.flock(file, fcntl.LOCK_UN)
        adding.result()
    assert path.read_bytes() == first.line() + second.line()


def test_a_disk_that_is_full_leaves_no_half_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens.jsonl"
    append_token(path, new_token("a", [ROUTE], NOW_S)[1])
    kept = path.read_bytes()
    # A file that may not grow stands in for the disk; the limit is this process's alone.
    code = (
        "import resource, sys; from pathlib import Path;"
        "from routoo.api.security.tokens import append_token, new_token;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(kept) + 20},) * 2);"
        "append_token(Path(sys.argv[1]), new_token('b', ['route'], 0.0)[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False
    )
    assert "cannot be written: File too large" in done.stderr
    assert path.read_bytes() == kept
