"""When an answer counts as going in a circle."""

import pytest

from lcdoc.tasks.repetition import LEAST_TOKENS, MOST_TOKENS_APART, goes_in_a_circle


@pytest.mark.parametrize("apart", [1, 2, 7, 16, 17, 63, MOST_TOKENS_APART])
def test_the_same_few_tokens_over_and_over(apart: int) -> None:
    circle = list(range(apart))
    times = max(4, -(-LEAST_TOKENS // apart))
    assert goes_in_a_circle([900, 901, *circle * times])
    assert goes_in_a_circle([*circle * times, *circle[: apart // 2]])  # wherever it is just now
    assert not goes_in_a_circle(circle * 3)
    assert not goes_in_a_circle([*circle * times, 900])


def test_what_changes_each_time_is_no_circle() -> None:
    rows = [token for row in range(50) for token in (7, 8, 9, row, 10)]
    assert not goes_in_a_circle(rows)


def test_a_circle_that_is_too_long_is_not_looked_for() -> None:
    assert not goes_in_a_circle(list(range(MOST_TOKENS_APART + 1)) * 10)


def test_little_was_said() -> None:
    assert not goes_in_a_circle([])
    assert not goes_in_a_circle([5] * (LEAST_TOKENS - 1))
