"""Decoding as one captured CUDA graph a token: Python then only says which token, and where it stands."""

from typing import Any

import torch

from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.cache import DocumentCache
from lcdoc.engine.memory import allocating
from lcdoc.engine.static_step import StaticStep
from lcdoc.errors import LcdocError

# Fewer tokens than this are sooner decoded than a graph is captured.
LEAST_TOKENS = 8


class DecodeGraph:
    """Replays one step for a cache, captured anew where the cache's buffers lie elsewhere."""

    def __init__(self, model: Any, cache: DocumentCache) -> None:
        self._step = StaticStep(model, cache)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._addresses: tuple[int, ...] = ()
        self._logits = torch.empty(0)
        self.refusal: str | None = None  # why no graph could be captured
        self.why_usual: str | None = (
            None  # why tokens are read the usual way, where that is no passing matter
        )

    @staticmethod
    def suits(model: Any, max_new_tokens: int) -> bool:
        """Whether the model decodes so many tokens with a graph: all weights must lie on one CUDA device."""
        on_gpu = model.device.type == "cuda" and all(w.device == model.device for w in model.parameters())
        return max_new_tokens >= LEAST_TOKENS and on_gpu

    @property
    def is_captured(self) -> bool:
        return self._graph is not None

    def decode(
        self, token_id: int, position: torch.Tensor, trace: AttentionTrace | None = None
    ) -> torch.Tensor | None:
        """Reads the token and returns the logits after it, [vocab]; None, and nothing read, where it must be read
        without a graph. position: int64 [1], where it stands for the model. trace: sees what it attends to."""
        if self.refusal is not None:
            return None
        if not self._step.is_allowed():
            self.why_usual = self._step.why_never() or self.why_usual
            return None
        self._step.set(token_id, position)
        addresses = self._step.addresses()
        if self._graph is None or addresses != self._addresses:
            try:
                allocating(self._capture)
            except (RuntimeError, LcdocError) as error:
                self._graph, self.refusal = None, (str(error).splitlines() or [type(error).__name__])[0]
                self.why_usual = f"CUDA refused to capture it ({self.refusal})"
                return None
            self._addresses = addresses
        assert self._graph is not None
        self._graph.replay()
        self._step.advance()
        if trace is not None:
            self._step.tell(trace)
        return self._logits.clone()

    def _capture(self) -> None:
        self._graph = None
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._step.forward()  # kernels are compiled and libraries opened before anything is captured
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._logits = self._step.forward()
        self._graph = graph
