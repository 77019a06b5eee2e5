"""Patterns and lists name exactly the tars that they are made of."""

from braceexpand import braceexpand
from hypothesis import given
from hypothesis import strategies as st

from shards.tools.number_patterns import brace_patterns, python_list

NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=25, unique=True).map(sorted)


@given(
    NUMBERS, st.sampled_from(["/a/{:05d}.tar", "/a b/it's {{x}},{{1..3}}/{}.tar", "gs://b2/s-{:02d}-train.tar", "/v{}"])
)
def test_patterns_and_lists_name_exactly_the_tars(numbers: list[int], name: str) -> None:
    urls = [name.format(i) for i in numbers]
    assert [url for pattern in brace_patterns(urls) for url in braceexpand(pattern)] == urls
    assert eval(python_list(urls)) == urls
    if numbers == list(range(numbers[0], numbers[-1] + 1)) and name.startswith("/a/"):
        assert len(brace_patterns(urls)) == 1, "consecutive shards are one pattern"
