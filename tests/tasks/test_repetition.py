"""When an answer counts as going in a circle, and how it is led out of one."""

import pytest
import torch

from lcdoc.engine.sampling import Sampler
from lcdoc.tasks.repetition import LEAST_TOKENS, MOST_TOKENS_APART, CircleBreaker, goes_in_a_circle


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


VOCAB = 100


def picked(order: list[int], second: int, num_tokens: int) -> tuple[list[int], CircleBreaker]:
    """What a model says that goes on with `order` over and over, and whose second choice is always the same."""
    breaker, said = CircleBreaker(Sampler()), []
    for _ in range(num_tokens):
        logits = torch.zeros(VOCAB)
        logits[second] = 1.0
        logits[order[len(said) % len(order)]] = 2.0
        before = logits.clone()
        said.append(breaker(logits))
        assert torch.equal(logits, before), "what others may still need is left as it is"
    return said, breaker


@pytest.mark.parametrize("apart", [4, 5, 16, MOST_TOKENS_APART])
def test_a_phrase_said_three_times_is_not_begun_again(apart: int) -> None:
    phrase = list(range(10, 10 + apart))
    said, breaker = picked(phrase, second=7, num_tokens=3 * apart + 1)
    assert said == [*phrase * 3, 7]
    assert breaker.times_broken == 1


@pytest.mark.parametrize(
    "phrase", [[5], [5, 6], [5, 6, 8], [5, 6, 5, 6, 5, 9], list(range(MOST_TOKENS_APART + 1))]
)
def test_short_and_very_long_ones_are_left_alone(phrase: list[int]) -> None:
    said, breaker = picked(phrase, second=7, num_tokens=5 * len(phrase))
    assert said == phrase * 5
    assert breaker.times_broken == 0


def test_a_model_that_goes_another_way_by_itself_is_not_counted() -> None:
    breaker = CircleBreaker(Sampler())
    for token_id in [1, 2, 3, 4] * 3:
        assert breaker(torch.nn.functional.one_hot(torch.tensor(token_id), VOCAB).float()) == token_id
    assert breaker(torch.nn.functional.one_hot(torch.tensor(9), VOCAB).float()) == 9
    assert breaker.times_broken == 0
