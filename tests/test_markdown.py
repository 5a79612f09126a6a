from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from jftdata.markdown import plain, table

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
HOSTILE = st.text(st.sampled_from("ab |\\`*_{}[]()<>#~&;!$\"'/=-\n\t"), max_size=30)


def shown(text):
    """The words of inline tokens; fails on any that is not plain text."""
    words = []
    for token in READER.parse(text):
        for part in token.children or []:
            assert part.type == "text", part
            words.append(part.content)
    return "".join(words)


@given(HOSTILE)
def test_plain_text_is_shown_as_it_is_on_one_line(text):
    assert shown(f"x{plain(text)}x") == f"x{' '.join(text.split())}x"


@given(st.lists(st.lists(HOSTILE, min_size=2, max_size=2), max_size=4))
def test_a_table_has_the_cells_it_was_given(rows):
    made = table(("a", "b"), [[plain(cell) for cell in row] for row in rows])
    tokens = READER.parse(made)
    cells = [token for before, token in pairwise(tokens) if before.type in ("td_open", "th_open")]
    assert [cell.content for cell in cells[:2]] == ["a", "b"]
    got = ["".join(part.content for part in cell.children) for cell in cells[2:]]
    assert got == [" ".join(cell.split()) for row in rows for cell in row]


def test_text_is_ranged_left_and_numbers_right():
    assert (
        table(("a", "b", "c"), [("x", 1000, "y")], text=(0, 2))
        == "| a | b | c |\n| --- | ---: | --- |\n| x | 1,000 | y |"
    )
