"""Blocks of text, facts and tables are laid out to fit a screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routoo.cli.output.numbers import durations, price, usd, usd_column
from routoo.cli.output.render import (
    ASCII,
    PLAIN,
    UNICODE,
    Bar,
    Block,
    Column,
    Facts,
    Glyphs,
    Row,
    TextLine,
    TextTable,
    layout,
)

GRID = TextTable(
    [Column("name"), Column("figure", "right"), Column("note", optional=True), Column("more")],
    [
        Row(["organisation/a-long-model-name", "1.25", "first", "x"], marked=True),
        Row(["b", "11.25", "second", ""]),
    ],
)


def _texts(block: Block, glyphs: Glyphs, width: int | None) -> list[str]:
    return [line.text for line in layout([block], glyphs, width)]


def test_a_pipe_gets_every_column_and_no_trailing_blanks() -> None:
    assert _texts(GRID, PLAIN, None) == [
        "   name                            figure  note    more",
        "*  organisation/a-long-model-name    1.25  first   x",
        "   b                                11.25  second",
    ]


def test_one_empty_line_stands_before_a_table() -> None:
    facts = Facts([("one", "1")])
    lines = [line.text for line in layout([facts, facts, GRID, GRID], PLAIN, None)]
    assert [at for at, line in enumerate(lines) if not line] == [2, 6]


@pytest.mark.parametrize("width", [None, 60])
def test_what_is_shown_cannot_steer_a_terminal(width: int | None) -> None:
    name = "a\x1b[2Jb\x9bc\u202ed\x07\x7f"
    blocks = [
        TextLine(name),
        Facts([("tenant", name)]),
        TextTable([Column("tenant")], [Row([name])]),
    ]
    for line in layout(blocks, PLAIN, width):
        assert line.text.isprintable()
        assert "[2Jb" in line.text or line.text in ("", "tenant")


def test_a_wide_terminal_gets_every_column_and_a_rule() -> None:
    assert _texts(GRID, UNICODE, 55) == [
        "   name                            figure  note    more",
        "─" * 55,
        "➤  organisation/a-long-model-name    1.25  first   x",
        "   b                                11.25  second",
    ]


def test_optional_columns_go_first() -> None:
    header, _, *rows = _texts(GRID, ASCII, 54)
    assert header.split() == ["name", "figure", "more"]
    assert rows[0] == ">  organisation/a-long-model-name    1.25  x"


def test_then_names_have_lines_of_their_own() -> None:
    assert _texts(GRID, UNICODE, 36) == [
        "name",
        "   figure  more",
        "─" * 33,
        "➤  organisation/a-long-model-name",
        "     1.25  x",
        "b",
        "    11.25",
    ]


def test_figures_that_do_not_fit_have_a_line_each() -> None:
    assert _texts(GRID, ASCII, 14)[1:] == [
        ">  organisatio",
        "n/a-long-model",
        "-name",
        "   figure  1.25",
        "   more    x",
        "b",
        "   figure  11.25",
    ]


@given(
    st.lists(st.text("abcdefgh-/.", min_size=1, max_size=70), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(20, 120),
)
def test_names_are_never_cut(names: list[str], figures: int, width: int) -> None:
    columns = [Column("model"), *(Column(f"figure {one}", "right") for one in range(figures))]
    rows = [Row([name, *(["12.5"] * figures)]) for name in names]
    shown = _texts(TextTable(columns, rows), UNICODE, width)
    assert all(len(line) <= width for line in shown)
    joined = "".join(line.strip() for line in shown)
    assert all(name in joined for name in names)


def test_bars_grow_with_their_fraction_and_fill_the_column_at_1() -> None:
    rows = [Row([Bar(step / 100)]) for step in range(101)]
    for glyphs in (PLAIN, ASCII, UNICODE):
        texts = _texts(TextTable([Column("bar")], rows), glyphs, None)
        bars = texts[2:] if glyphs.rule else texts[1:]
        lengths = [len(bar) for bar in bars]
        assert lengths == sorted(lengths)
        assert (bars[0], bars[-1]) == ("", glyphs.bar[-1] * 20)


def test_long_facts_wrap_under_their_value() -> None:
    facts = Facts([("a", "one two three four"), ("long", "short")])
    assert _texts(facts, UNICODE, 16) == [
        "a     one two",
        "      three four",
        "long  short",
    ]


def test_blocks_of_different_kinds_stand_apart() -> None:
    blocks = [TextLine("one"), TextLine("two"), Facts([("k", "v")]), TextLine("three")]
    assert [line.text for line in layout(blocks, PLAIN, None)] == [
        "one",
        "two",
        "",
        "k  v",
        "",
        "three",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert _texts(TextTable([Column("a"), Column("b")], []), PLAIN, None) == ["a  b"]


WORDS = st.lists(st.text("abc/-", min_size=1, max_size=12), max_size=8).map(" ".join)


@given(WORDS, st.integers(20, 120), st.lists(st.tuples(st.text("k", max_size=5), WORDS)))
def test_prose_and_facts_keep_every_word_and_the_width(
    prose: str, width: int, pairs: list[tuple[str, str]]
) -> None:
    lines = [line.text for line in layout([TextLine(prose), Facts(pairs)], UNICODE, width)]
    assert all(len(line) <= width for line in lines)
    said = " ".join(lines).split()
    assert said == " ".join([prose, *(f"{name} {value}" for name, value in pairs)]).split()


def test_money_has_three_digits_and_at_least_cents() -> None:
    amounts = [0, 0.000123456, 0.0042, 0.5, 12.345, 1234.5]
    assert [usd(amount) for amount in amounts] == [
        "$0.00",
        "$0.000123",
        "$0.00420",
        "$0.500",
        "$12.35",
        "$1,234.50",
    ]


@given(st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1))
def test_a_column_of_money_has_one_number_of_decimals(amounts_usd: list[float]) -> None:
    texts = usd_column(amounts_usd)
    assert len({len(text.partition(".")[2]) for text in texts}) == 1
    order = sorted(range(len(texts)), key=amounts_usd.__getitem__)
    shown = [float(texts[index].replace(",", "")[1:]) for index in order]
    assert shown == sorted(shown)


def test_durations_share_the_unit_of_the_first() -> None:
    assert durations([610_000, 200_000]) == ["0.61 ms", "0.20"]
    assert durations([11_028_980_000, 12_990_000]) == ["11.03 s", "0.01"]


def test_prices_are_readable_from_small_to_large() -> None:
    assert [price(p) for p in (0.0, 12.2541, 999.96, 13570.4)] == ["0", "12.25", "1,000", "13,570"]
