"""Odd bodies are read by one rule, and nothing but ``model`` changes in the bytes."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.api.llm.bodies import large, request_body
from routoo.api.llm.bodies.json_text import read_json
from routoo.api.llm.bodies.request_body import RequestBody, read_body
from routoo.errors import InvalidRequestError, UnreadableBodyError

AUTO = ("auto",)
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


def read(data: bytes) -> RequestBody:
    """Reads a body that is to be routed."""
    found = read_body(data, AUTO)
    assert found is not None
    return found


def in_steps(patch: pytest.MonkeyPatch, most_bytes: int = 8, most_signs: int = 4) -> None:
    """Has bodies of any size read as large ones are, in tiny steps."""
    patch.setattr(request_body, "SMALL_BYTES", -1)
    patch.setattr("routoo.api.llm.bodies.structure._STEP", 7)
    patch.setattr(large, "_STEP_BYTES", most_bytes)
    patch.setattr(large, "_STEP_SIGNS", most_signs)


def outcome(data: bytes) -> Any:
    """Returns what becomes of a body: its values and new bytes, or the kind of its refusal."""
    try:
        found = read_body(data, AUTO)
    except UnreadableBodyError as error:
        return "unreadable", error.may_be_routed
    except InvalidRequestError:
        return "refused"
    return None if found is None else (found.values, found.rewritten("new", {"n": b"5"}))


@given(before=SPACE, members=MEMBERS, after=SPACE, mark=st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_all_other_bytes_survive(
    before: str, members: list[tuple[str, str, str, str, str, str]], after: str, mark: bytes
) -> None:
    def written(*, replaced: bool) -> bytes:
        items = ['"model":"new"' if replaced else '"model":"auto"']
        for a, key, b, c, value, d in members:
            now = NEW.decode() if replaced and json.loads(key) == "model" else value
            items.append(f"{a}{key}{b}:{c}{now}{d}")
        text = f"{before}{{{','.join(items)}}}{after}"
        return mark + text.encode()

    body = written(replaced=False)
    found = outcome(body)
    with pytest.MonkeyPatch.context() as patch:
        in_steps(patch)
        patch.setattr(large, "READ", _Everything())
        assert outcome(body) == found
    if isinstance(found, tuple) and found[0] != "unreadable":
        assert read(body).rewritten("new") == written(replaced=True)


class _Everything(frozenset[str]):
    """Every key."""

    def __contains__(self, _key: object) -> bool:
        return True


@given(
    data=st.binary(max_size=80) | st.text(alphabet='{}[],:"\\\\ 1aeu', max_size=40).map(str.encode)
)
def test_bytes_of_any_kind_are_read_or_refused(data: bytes) -> None:
    for body in (data, b'{"model":"auto","messages":[' + data, b'{"model":"auto","x":%b}' % data):
        found = outcome(body)
        assert found is None or isinstance(found, (tuple, str))
        with pytest.MonkeyPatch.context() as patch:
            in_steps(patch)
            patch.setattr(large, "READ", _Everything())
            assert outcome(body) == found


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
            rb'{"\u006dodel":"auto","x":"\"model\":\"auto\""}',
            rb'{"\u006dodel":"new","x":"\"model\":\"auto\""}',
        ),
    ],
)
def test_examples(body: bytes, expected: bytes) -> None:
    assert read(body).rewritten("new") == expected


def test_a_model_name_is_written_as_json() -> None:
    changed = read(b'{"model":"auto"}').rewritten('a "b" \\ é')
    assert json.loads(changed) == {"model": 'a "b" \\ é'}


def test_a_long_text_full_of_brackets_and_escapes() -> None:
    text = '\\"model\\": {[' * 50_000
    body = f'{{"a":"{text}","b":[{"[" * 500}{"]" * 500}],"model":"auto"}}'.encode()
    assert read(body).rewritten("new") == body.replace(b'"model":"auto"', b'"model":"new"')


@pytest.mark.parametrize("wide", [0, 100_000])
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (rb"a \ud83d b", "a \ufffd b"),
        (rb"\uDE00", "\ufffd"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ud83d\ude00\ude00", "\U0001f600\ufffd"),
        (rb"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (rb"\ud83d\n", "\ufffd\n"),
    ],
)
def test_half_a_pair_of_surrogates_is_read(written: bytes, said: str, wide: int) -> None:
    body = b'{"model":"auto","' + written + b'":"' + written + b'"' + b" " * wide + b"}"
    found = read(body)
    assert found.values == {"model": "auto", said: said}
    assert found.rewritten("new") == body.replace(b'"auto"', b'"new"')


@pytest.mark.parametrize("wide", [0, 100_000])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"auto","a": [1]} ', b'{"model":"auto","a": [1],"n":5} '),
        (b'{"n": null, "model":"auto"}', b'{"n": 5, "model":"auto"}'),
        (b'{"model":"auto","\\u006e":"}"}', b'{"model":"auto","\\u006e":5}'),
        (b'{"model":"auto","a":"}\\"}"\n}\n', b'{"model":"auto","a":"}\\"}"\n,"n":5}\n'),
    ],
)
def test_a_number_is_put_in_place_or_added(body: bytes, expected: bytes, wide: int) -> None:
    space = b" " * wide
    assert read(space + body).rewritten("auto", {"n": b"5"}) == space + expected
    assert orjson.loads(expected)["n"] == 5


CHAT = b'"messages":[{"role":"user","content":"hi"}]'
PADDING = b'"user":"' + b"x" * request_body.SMALL_BYTES + b'"'


@pytest.mark.parametrize("padding", [b'"user":"x"', PADDING], ids=["small", "large"])
@pytest.mark.parametrize(
    ("odd", "told"),
    [
        (b'{"model":"auto",%b,"x":NaN}', "not JSON"),
        (b'{"model":"auto",%b,"x":-Infinity}', "not JSON"),
        (b'{"model":"auto",%b,"max_tokens":1e400}', "not JSON"),
        (b'{"model":"auto",%b,"n":' + b"1" * 5000 + b"}", "not JSON"),
        (b'{"model":"auto",%b,"x":"\xed\xa0\xbd"}', "not JSON"),
        (b'{"model":"auto",%b,"x":"\xff"}', "not JSON"),
        (b'{"model":"auto",%b,}', "not JSON"),
        (b'{"model":"auto",%b}}', "not JSON"),
        (b'{"model":"auto",%b} {"model":"x"}', "not JSON"),
        (b'{"model":"auto",%b', "not JSON"),
        (b'{"model":"auto",%b,"tools":[1,,2]}', "not JSON"),
        (b"{'model':'auto',%b}", "not JSON"),
        (b'{"model":"auto",%b,"model":"auto","n":1,"n":1}', "'n' stands twice"),
        (b'{"max_tokens":9000,%b,"model":"auto","max_tokens" : 1}', "'max_tokens' stands twice"),
        (b'{"n":8,%b,"model":"auto","\\u006e":1}', "'n' stands twice"),
        (b'{%b,"model":"auto","tools":[{"a":{"b":1,"b":2}}]}', "'b' stands twice"),
    ],
)
def test_what_is_not_read_is_refused(odd: bytes, told: str, padding: bytes) -> None:
    body = odd % (padding + b"," + CHAT)
    with pytest.raises(InvalidRequestError) as refused:
        read_body(body, AUTO)
    assert told in str(refused.value)
    assert getattr(refused.value, "may_be_routed", True)


@pytest.mark.parametrize("padding", [b'"user":"x:y"', PADDING], ids=["small", "large"])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"model":"auto",%b,"model":"auto"}', b'{"model":"new",%b,"model":"new"}'),
        (b'{"model":"auto",%b,"model":"gpt-4o"}', b'{"model":"new",%b,"model":"new"}'),
        (b'{"model":"gpt-4o",%b,"model" :"auto"}', b'{"model":"new",%b,"model" :"new"}'),
        (b'{"mod\\u0065l":"auto",%b,"model":null}', b'{"mod\\u0065l":"new",%b,"model":"new"}'),
        (b'{"model":{"a":["]}"]},%b,"model":"auto"}', b'{"model":"new",%b,"model":"new"}'),
    ],
)
def test_each_model_is_replaced(body: bytes, expected: bytes, padding: bytes) -> None:
    more = padding + b"," + CHAT
    assert read(body % more).rewritten("new") == expected % more


@pytest.mark.parametrize("coding", ["utf-16", "utf-16-be", "utf-32"])
def test_other_encodings_that_name_a_route_are_refused(coding: str) -> None:
    with pytest.raises(UnreadableBodyError) as refused:
        read_body('{"model":"auto"}'.encode(coding), AUTO)
    assert refused.value.may_be_routed


@pytest.mark.parametrize(
    "body", [b"", b"not JSON", b"[" * 100_000, b'{"model":"gpt-4o"', b"\x1f\x8b\x08\0"]
)
def test_what_is_not_json_and_names_no_route_is_somebody_else_s(body: bytes) -> None:
    with pytest.raises(UnreadableBodyError) as refused:
        read_body(body, AUTO)
    assert not refused.value.may_be_routed


@pytest.mark.parametrize("wide", [0, 100_000])
@pytest.mark.parametrize(
    "body",
    [b'["auto"]', b'"auto"', b"null", b"1", b"{}", b'{"model":["auto"]}', b'{"model":"AUTO"}'],
)
def test_what_names_no_route_passes(body: bytes, wide: int) -> None:
    assert read_body(b" " * wide + body, AUTO) is None


@pytest.mark.parametrize("deep", [300, 1100, 5000, 100_000])
@pytest.mark.parametrize(("opens", "closes"), [(b'{"a":', b"}"), (b"[", b"]")])
def test_deep_nesting_is_counted(opens: bytes, closes: bytes, deep: int) -> None:
    tool = opens * deep + b'"far \\u00e9"' + closes * deep
    body = b'{"model":"auto",%b,"tools":[%b]}' % (CHAT, tool)
    found = read(body)
    assert found.rewritten("new") == body.replace(b'"auto"', b'"new"')
    if deep > 1024:
        (counted,) = found.counted
        assert tool.endswith(counted.encode() + closes * 3)
        assert len(counted) >= len(tool) - 20


def test_a_part_with_many_values_is_counted_and_its_message_read() -> None:
    many = orjson.dumps(list(range(600_000)))
    body = (
        b'{"model":"auto","messages":[{"role":"user","content":[{"type":"text","text":"hi"},'
        b'{"type":"tool_use","name":"f","input":{"rows":%b}}]}]}' % many
    )
    found = read(body)
    assert found.counted == ((b'{"rows":%b}' % many).decode(),)
    (message,) = found.values["messages"]
    assert message["content"][0]["text"] == "hi"
    assert message["content"][1] == {"type": "tool_use", "name": "f", "input": 0}


@pytest.mark.parametrize(
    "values", [b"[]", b"{}", b'"a"', b'{"role":"user","content":"x"}'], ids=str
)
@pytest.mark.parametrize("key", [b"messages", b"tools", b"input"])
def test_too_many_values_are_refused(values: bytes, key: bytes) -> None:
    many = b",".join([values] * 500_000)
    with pytest.raises(InvalidRequestError, match="too many values"):
        read_body(b'{"model":"auto","%b":[%b]}' % (key, many), AUTO)
    assert read_body(b'{"model":"gpt-4o","%b":[%b]}' % (key, many), AUTO) is None


def test_what_is_no_input_is_not_built() -> None:
    many = b",".join([b"[]"] * 500_000)
    found = read(b'{"metadata":[%b],"model":"auto",%b,"n":2}' % (many, CHAT))
    assert found.values.keys() == {"model", "messages", "n"}
    assert not found.counted


def test_a_long_prompt_of_tokens_is_read_whole() -> None:
    tokens = list(range(500_000))
    found = read(b'{"model":"auto","prompt":%b}' % orjson.dumps(tokens))
    assert found.values["prompt"] == tokens


def test_long_arrays_are_read_whole() -> None:
    messages = [{"role": "user", "content": f'{number} \u00e9["' * 7} for number in range(30_000)]
    body = orjson.dumps({"messages": messages, "model": "auto", "tools": messages[:5000]})
    found = read(body)
    assert found.values == orjson.loads(body)
    assert orjson.loads(found.rewritten("new")) == {**orjson.loads(body), "model": "new"}


@pytest.mark.parametrize(
    "value",
    [b"[]", b'{"role":"user","content":"x"}', b'"a"', b"1", b'{"a":{"a":{"a":{"a":{"a":{}}}}}}'],
    ids=str,
)
@pytest.mark.parametrize("key", [b"messages", b"tools", b"prompt", b"metadata"])
def test_the_parser_is_given_a_bounded_step(
    monkeypatch: pytest.MonkeyPatch, key: bytes, value: bytes
) -> None:
    """Between two steps the loop goes on, so that the longest of them is what others wait for."""
    steps: list[int] = []

    def watched(text: bytes) -> Any:
        steps.append(len(text))
        return read_json(text)

    monkeypatch.setattr(large, "read_json", watched)
    many = b",".join([value] * (60_000 if len(value) < 20 else 20_000))
    found = read(b'{"model":"auto","%b":[%b]}' % (key, many))
    assert max(steps) <= large._STEP_BYTES + 2
    if key == b"metadata":
        assert len(steps) <= 5
    else:
        assert found.values[key.decode()] == orjson.loads(b"[%b]" % many)
