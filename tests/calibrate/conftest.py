"""A model of random weights with a tokenizer of its own, small enough to calibrate in seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(write_tiny_model: Callable[..., Path]) -> Path:
    """A folder with a Llama of three layers, two KV heads and 4,096 tokens of context."""
    return write_tiny_model(digits="joined", vocab_size=1200, num_layers=3, window=4096, spread=0.3)


@pytest.fixture(scope="session")
def tiny_beyond(write_tiny_model: Callable[..., Path]) -> Path:
    """The same in two layers, with 512 tokens of context."""
    return write_tiny_model(digits="joined", vocab_size=1200, num_layers=2, window=512, spread=0.3)
