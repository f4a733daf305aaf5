"""``replace_model`` exchanges the model's value and no other byte."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.extproc.json_body import read_json
from routoo.api.extproc.model_key import replace_model, with_fields, with_number

NEW = b'"new"'
SPACE = st.text(alphabet=" \t\r\n", max_size=3)
# Written as text, since a parser would not keep the different spellings of a number.
NUMBERS = st.sampled_from(
    ["0", "-0", "1", "1.0", "1.50", "1e5", "1E+05", "-2.5e-3", "123456789012"]
)
STRINGS = st.one_of(
    st.text(max_size=12).map(json.dumps),
    st.text(max_size=12).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from([r'"\u006dodel"', r'"a\/b"', r'"\"model\":"', r'"}{][,:"', r'"\\"', '"model"']),
)
KEYS = st.one_of(
    STRINGS, st.sampled_from(['"model"', r'"\u006dodel"', r'"mod\u0065l"', '"Model"', '"model "'])
)
WORDS = st.sampled_from(["true", "false", "null"])


@st.composite
def nested(draw: st.DrawFn, children: st.SearchStrategy[str]) -> str:
    """Draws an array or an object, with spaces anywhere, which may contain the key ``model``."""
    parts = draw(st.lists(st.tuples(SPACE, KEYS, SPACE, SPACE, children, SPACE), max_size=3))
    if draw(st.booleans()):
        items = ",".join(f"{a}{value}{b}" for a, _, _, _, value, b in parts)
        return f"[{items}]"
    items = ",".join(f"{a}{key}{b}:{c}{value}{d}" for a, key, b, c, value, d in parts)
    return f"{{{items}}}"


VALUES = st.recursive(st.one_of(NUMBERS, STRINGS, WORDS), nested, max_leaves=10)
MEMBERS = st.lists(st.tuples(SPACE, KEYS, SPACE, SPACE, VALUES, SPACE), max_size=6)


@given(before=SPACE, members=MEMBERS, after=SPACE)
def test_all_other_bytes_survive(
    before: str, members: list[tuple[str, str, str, str, str, str]], after: str
) -> None:
    def written(*, replaced: bool) -> bytes:
        items = []
        for a, key, b, c, value, d in members:
            now = NEW.decode() if replaced and json.loads(key) == "model" else value
            items.append(f"{a}{key}{b}:{c}{now}{d}")
        return f"{before}{{{','.join(items)}}}{after}".encode()

    body = written(replaced=False)
    try:
        read_json(body)
    except orjson.JSONDecodeError:
        return  # such as a number that is too large
    assert replace_model(body, "new") == written(replaced=True)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"auto"}', b'{"model":"new"}'),
        (b'{ "model" :\t"auto" , "n": 1.50 }', b'{ "model" :\t"new" , "n": 1.50 }'),
        (
            b'{"messages":[{"model":"auto"}],"model":"auto","z":{"model":"auto"}}',
            b'{"messages":[{"model":"auto"}],"model":"new","z":{"model":"auto"}}',
        ),
        (
            b'{"model":"first","model":{"a":["]}"]},"model":"auto"}',
            b'{"model":"new","model":"new","model":"new"}',
        ),
        (
            rb'{"\u006dodel":"auto","x":"\"model\":\"auto\""}',
            rb'{"\u006dodel":"new","x":"\"model\":\"auto\""}',
        ),
        (b'{"a":[[],[[]],{}],"model":null}', b'{"a":[[],[[]],{}],"model":"new"}'),
        (b"{}", b"{}"),
    ],
)
def test_examples(body: bytes, expected: bytes) -> None:
    assert replace_model(body, "new") == expected


def test_a_model_name_is_written_as_json() -> None:
    changed = replace_model(b'{"model":"auto"}', 'a "b" \\ é')
    assert json.loads(changed) == {"model": 'a "b" \\ é'}


def test_a_long_text_full_of_brackets_and_escapes() -> None:
    text = '\\"model\\": {[' * 50_000
    body = f'{{"a":"{text}","b":[{"[" * 500}{"]" * 500}],"model":"auto"}}'.encode()
    changed = replace_model(body, "new")
    assert changed == body.replace(b'"model":"auto"', b'"model":"new"')


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"a \ud83d b", "a \ufffd b"),
        (rb"\uDE00", "\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83d\ude00\ude00", "\U0001f600\ufffd"),
        (rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (rb"\ud83d\n", "\ufffd\n"),
    ],
)
def test_half_a_pair_of_surrogates_is_read(written: bytes, read: str) -> None:
    body = b'{"model":"auto","' + written + b'":"' + written + b'"}'
    assert read_json(body) == {"model": "auto", read: read}
    assert replace_model(body, "new") == body.replace(b'"auto"', b'"new"')


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": [1]} ', b'{"a": [1],"n":5} '),
        (b'{"n": null, "a": {"n": 1}}', b'{"n": 5, "a": {"n": 1}}'),
        (b'{"n":1,"\\u006e":"}"}', b'{"n":5,"\\u006e":5}'),
        (b'{"a":"}\\"}"\n}\n', b'{"a":"}\\"}"\n,"n":5}\n'),
    ],
)
def test_a_number_is_put_in_place_or_added(body: bytes, expected: bytes) -> None:
    assert with_number(body, "n", 5) == expected
    assert orjson.loads(expected)["n"] == 5


FIELDS = {
    "effort": "high",
    "thinking": {"type": "enabled", "budget": 9},
    "deep": {"kwargs": {"think": False}},
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{ }", b'{ "effort":"high","thinking":{"type":"enabled","budget":9}}'),
        (
            b'{"a": 1.50, "effort": "low"}\n',
            b'{"a": 1.50, "effort": "low","thinking":{"type":"enabled","budget":9}}\n',
        ),
        (
            b'{"effort": null ,"thinking":{"type":"disabled", "x": 1}}',
            b'{"effort": "high" ,"thinking":{"type":"disabled", "x": 1}}',
        ),
        (
            b'{"thinking": { "x" :[{}] , "type":"enabled" }, "effort":"}"}',
            b'{"thinking": { "x" :[{}] , "type":"enabled" ,"budget":9}, "effort":"}"}',
        ),
        (
            b'{"thinking":{},"thinking":null,"effort":[1]}',
            b'{"thinking":%(new)b,"thinking":%(new)b,"effort":[1]}'
            % {b"new": b'{"type":"enabled","budget":9}'},
        ),
    ],
)
def test_fields_are_added_and_never_written_over(body: bytes, expected: bytes) -> None:
    wanted = {name: FIELDS[name] for name in ("effort", "thinking")}
    assert with_fields(body, wanted) == expected


@given(
    before=SPACE,
    members=st.lists(
        st.tuples(
            SPACE,
            st.one_of(KEYS, st.sampled_from(['"effort"', '"thinking"', '"deep"', '"typ\\u0065"'])),
            SPACE,
            SPACE,
            VALUES,
            SPACE,
        ),
        max_size=6,
    ),
    after=SPACE,
)
def test_a_body_says_all_that_it_said_and_the_fields(
    before: str, members: list[tuple[str, str, str, str, str, str]], after: str
) -> None:
    items = [f"{a}{key}{b}:{c}{value}{d}" for a, key, b, c, value, d in members]
    body = f"{before}{{{','.join(items)}}}{after}".encode()
    try:
        said = read_json(body)
    except orjson.JSONDecodeError:
        return
    changed = with_fields(body, FIELDS)
    now = read_json(changed)
    for name, value in said.items():
        if name in FIELDS and value is None:
            assert now[name] == FIELDS[name]
        elif name not in FIELDS or not isinstance(value, dict):
            assert now[name] == value
    for name, value in FIELDS.items():
        if name not in said:
            assert now[name] == value
    # Nothing is taken away: the old bytes are left in their order, but for nulls.
    rest = iter(changed.replace(b"null", b""))
    assert all(byte in rest for byte in body.replace(b"null", b""))
    assert with_fields(changed, FIELDS) == changed
