"""Answers that go round in a circle, as small models' do."""

from collections.abc import Sequence

# What is said so often over and over, and for so long, is said without end. Tables and lists stay below it.
LEAST_TIMES = 4
LEAST_TOKENS = 64

MOST_TOKENS_APART = 64


def goes_in_a_circle(token_ids: Sequence[int]) -> bool:
    """Whether the last tokens are the same few, LEAST_TIMES or more in a row."""
    for apart in range(1, MOST_TOKENS_APART + 1):
        length = max(LEAST_TIMES * apart, LEAST_TOKENS)
        if length > len(token_ids):
            return False
        last = token_ids[len(token_ids) - length :]
        if last[apart:] == last[:-apart]:
            return True
    return False
