"""A model of random weights with a tokenizer of its own, small enough to calibrate in seconds."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(write_tiny_model: Callable[..., Path]) -> Path:
    """A folder with a Llama of three layers, two KV heads and 4,096 tokens of context."""
    return write_tiny_model(digits="joined", vocab_size=1200, num_layers=3, window=4096, spread=0.3)
