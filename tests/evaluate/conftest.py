"""A model of random weights with a tokenizer of its own, small enough to read in milliseconds."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(write_tiny_model: Callable[..., Path]) -> Path:
    """A folder with a Llama of two layers and 2,048 tokens of context."""
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=2048, spread=0.2)
