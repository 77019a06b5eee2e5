"""Tests of the even coverage of values and of pairs of values."""

from collections import Counter
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from engine.prompts.prompt_templates import Coverage

SIZES = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)
MAX_PAIR_DIFFERENCE = 12
"""Random draws would differ by about four standard deviations: 4 * sqrt(draws / pairs), up to 53 for 700 draws."""


def draw(sizes: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    coverage = Coverage(sizes)
    return [coverage[k] for k in range(count)]


@given(SIZES, st.integers(1, 700))
def test_values_and_pairs_are_covered_evenly(sizes: tuple[int, ...], count: int) -> None:
    rows = draw(sizes, count)
    for factor, size in enumerate(sizes):
        counts = Counter(row[factor] for row in rows)
        uses = [counts[value] for value in range(size)]
        assert max(uses) - min(uses) <= 1
    for a, b in combinations(range(len(sizes)), 2):
        counts_of_pairs = Counter((row[a], row[b]) for row in rows)
        pairs = [counts_of_pairs[x, y] for x in range(sizes[a]) for y in range(sizes[b])]
        assert max(pairs) - min(pairs) <= MAX_PAIR_DIFFERENCE


def test_evenness_lasts_over_cycles_and_access_is_random() -> None:
    sizes = (3, 4, 5)
    rows = draw(sizes, 20_000)
    assert Coverage(sizes)[19_999] == rows[19_999]
    for a, b in combinations(range(3), 2):
        counts = Counter((row[a], row[b]) for row in rows)
        assert max(counts.values()) - min(counts.values()) <= 8
    assert len(set(rows)) == 60
