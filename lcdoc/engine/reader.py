"""Reads token ids in chunks into a cache, and decodes from it. Knows nothing of text: token ids only."""

from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from lcdoc.engine.attention_mass import AttentionMass
from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.cache import CacheMark, DocumentCache
from lcdoc.engine.checkpoint import LOGITS, Checkpoint, Checkpoints
from lcdoc.engine.eviction import Eviction
from lcdoc.engine.eviction.policy import CHUNK, QUESTION
from lcdoc.engine.extension import Extension, extend_positions, put_rotary, rotary_of
from lcdoc.engine.graph import DecodeGraph
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.memory import AllocationFailed, allocating
from lcdoc.engine.moving import is_moved, move
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.rope import Rotation
from lcdoc.engine.sparse_prefill import SparsePrefill

Mark = tuple[CacheMark, torch.Tensor]

# Scored at a time: few enough that a cache of fewer bits holds most of what they see, as it does in decoding.
SCORE_TOKENS = 64


class Reader:
    """One model reading one sequence."""

    def __init__(
        self,
        model: Any,
        split: HeadSplit,
        *,
        capacity_tokens: int,
        chunk_tokens: int = 1024,
        kv_dtype: str = "model",
        eviction: Eviction | None = None,
        extension: Extension | None = None,
        rolling_tokens: int | None = None,
        place: Callable[[torch.Tensor], torch.Tensor] | None = None,
        sparse: SparsePrefill | None = None,
        selection: PageSelection | None = None,
    ) -> None:
        """model: a transformers causal language model loaded with lcdoc's attention implementation; before each pass it
        is given the rotary embedding that the extension asks for, so that readers may take turns with it.
        capacity_tokens: the most tokens that will be read and decoded together. kv_dtype, eviction, rolling_tokens,
        sparse, selection: see DocumentCache. place: gives the positions at which tokens come to stand, [length], for
        their numbers in the text; by default these are one and the same."""
        extend_positions(model, extension, capacity_tokens)
        self.model = model
        self.rotary = rotary_of(model)  # what positions are turned by
        self.chunk_tokens = chunk_tokens
        self._place = place
        num_layers = model.config.get_text_config().num_hidden_layers
        closing = eviction is not None and eviction.close_gaps
        turning = extension is not None and extension.turns
        rotation = Rotation.of(model) if closing or turning or rolling_tokens is not None else None
        self.cache = DocumentCache(
            num_layers,
            split,
            capacity_tokens,
            kv_dtype,
            eviction,
            rotation,
            extension,
            rolling_tokens,
            sparse,
            selection,
        )
        self.logits: torch.Tensor | None = None  # [vocab], of the last token read
        self.graph: DecodeGraph | None = None  # what decodes on CUDA, where the cache allows it

    @property
    def seen_tokens(self) -> int:
        """Tokens read or decoded so far."""
        return self.cache.get_seq_length()

    @torch.inference_mode()
    def prefill(
        self,
        token_ids: Sequence[int],
        on_chunk: Callable[[int], None] | None = None,
        trace: AttentionTrace | None = None,
    ) -> None:
        """Reads token_ids after what was read before; on_chunk hears how many of them are done. trace: sees what the
        last of them attends to.

        An interrupt between chunks leaves the cache whole: it then holds the chunks that were finished.
        """
        ids = torch.as_tensor(token_ids, dtype=torch.long)
        for start in range(0, len(ids), self.chunk_tokens):
            chunk = ids[start : start + self.chunk_tokens]
            is_last = start + len(chunk) == len(ids)
            self.logits = self._traced(chunk, trace if is_last else None)
            if on_chunk is not None:
                on_chunk(start + len(chunk))

    @torch.inference_mode()
    def read(
        self,
        token_ids: Sequence[int],
        on_chunk: Callable[[int], None] | None = None,
        *,
        questions: Sequence[Sequence[int]] = (),
        repeat_ids: Sequence[int] = (),
        checkpoints: Checkpoints | None = None,
    ) -> None:
        """Reads a document: as prefill, and after each chunk drops what eviction gives up. At its end streaming heads
        go on with their own window, where they had a wider one for the reading.

        questions: token ids of each question that will be asked, as far as they are known; a policy that listens to
        questions needs one. repeat_ids: those of a request to repeat the text, for a policy that listens to that.
        checkpoints: keeps each chunk, and spares reading those it has; not for a cache that evicts.
        Raises AllocationFailed with all chunks before in the cache, whole: seen_tokens tells where to go on.
        """
        self._evict()  # where that failed before
        for start in range(0, len(token_ids), self.chunk_tokens):
            chunk = token_ids[start : start + self.chunk_tokens]
            if checkpoints is None or not checkpoints.load(chunk, partial(self.restore, len(chunk))):
                self._read_or_rewind(chunk, self._probes(questions, [*repeat_ids, *chunk]))
                self._evict()
                if checkpoints is not None:
                    checkpoints.save(chunk, self.checkpoint(len(chunk)))
            if on_chunk is not None:
                on_chunk(start + len(chunk))
        allocating(self.cache.narrow)

    @torch.inference_mode()
    def step_down(
        self, *, split: HeadSplit, chunk_tokens: int, kv_dtype: str, eviction: Eviction | None
    ) -> None:
        """Goes on with less memory, and with all that was read; marks made before are worth nothing then, unless only
        chunk_tokens changes. split: heads that stream go on doing so, with windows of the same sizes. Raises
        AllocationFailed with the cache whole, to be taken further down."""
        self.chunk_tokens = chunk_tokens
        form = split, kv_dtype, eviction
        if is_moved(self.cache, *form):
            return
        allocating(partial(move, self.cache, *form))
        judged = [buffer.judgement[0] for buffer in self.cache.evicting]
        if judged and all(judged):  # else the next chunk tells what may go
            allocating(self.cache.evict)

    @torch.inference_mode()
    def checkpoint(self, num_tokens: int) -> Checkpoint:
        """What the last num_tokens have left."""
        assert self.logits is not None
        forms = tuple(layer.form for layer in self.cache.layers)
        gained = self.cache.gained(self.seen_tokens - num_tokens)
        return Checkpoint(forms, {**gained, LOGITS: self.logits})

    @torch.inference_mode()
    def restore(self, num_tokens: int, checkpoint: Checkpoint) -> None:
        """Takes what num_tokens have left. Where that fails everything is as it was."""
        before, device = allocating(self.cache.mark), self.model.device
        put = partial(self.cache.put, num_tokens, checkpoint.layers, checkpoint.tensors, device)
        try:
            allocating(put)
            self.logits = checkpoint.tensors[LOGITS].to(device)
        except BaseException:
            self.cache.rewind(before)
            raise

    def _probes(self, questions: Sequence[Sequence[int]], repeat: Sequence[int]) -> Sequence[Sequence[int]]:
        """What is put to the model after a chunk, and taken back."""
        eviction = self.cache.eviction
        if eviction is None or eviction.policy.listens == CHUNK:
            return ()
        return questions if eviction.policy.listens == QUESTION else (repeat,)

    def _evict(self) -> None:
        """Empties the tails. What is not reached, where it fails, keeps all that it holds."""
        if any(buffer.num_tail for buffer in self.cache.evicting):
            allocating(self.cache.evict)

    def _read_or_rewind(self, chunk: Sequence[int], probes: Sequence[Sequence[int]]) -> None:
        """Raises AllocationFailed with everything as it was. The mark for that is gone before the next is made."""
        before, logits = allocating(self.cache.mark), self.logits
        judgements = [buffer.judgement for buffer in self.cache.evicting]
        try:
            allocating(partial(self._read_chunk, chunk, probes))
        except AllocationFailed:
            self.logits = logits
            self.cache.rewind(before)
            for buffer, judgement in zip(self.cache.evicting, judgements, strict=True):
                buffer.judgement = judgement
            raise

    def _read_chunk(self, chunk: Sequence[int], probes: Sequence[Sequence[int]]) -> None:
        eviction = self.cache.eviction
        if eviction is None:
            with self.cache.reading():
                self.prefill(chunk)
            return
        overfull = self.seen_tokens + len(chunk) > eviction.keep_tokens
        scoring = overfull or eviction.policy.accumulates
        if not eviction.policy.accumulates:
            self.cache.forget_scores()
        self.cache.observe(scoring and not probes)
        try:
            self.prefill(chunk)
            if scoring and probes:
                self._observe(probes)
        finally:
            self.cache.observe(False)

    def _observe(self, probes: Sequence[Sequence[int]]) -> None:
        """Lets the cache watch what each probe attends to, and takes it back."""
        mark = self.mark()
        self.cache.observe(True)
        for probe in probes:
            try:
                self.prefill(probe)
            finally:
                self.rewind(mark)

    def probe(self, token_ids: Sequence[int], mass: AttentionMass) -> None:
        """Lets it watch what token_ids attend to, and takes them back."""
        mark = self.mark()
        self.cache.watch(mass)
        try:
            self.prefill(token_ids)
        finally:
            self.cache.watch(None)
            self.rewind(mark)

    @torch.inference_mode()
    def decode(
        self,
        pick: Callable[[torch.Tensor], int],
        stop_ids: Collection[int],
        max_new_tokens: int,
        trace: AttentionTrace | None = None,
    ) -> Iterator[int]:
        """Yields one token id at a time, at most max_new_tokens, until the model picks one of stop_ids,
        which is not yielded. Every token yielded is in the cache when the next is asked for. trace: sees what each
        token attends to."""
        for token_id in self.choose(pick, stop_ids, max_new_tokens):
            yield token_id
            self.step(token_id, trace)

    @torch.inference_mode()
    def choose(
        self, pick: Callable[[torch.Tensor], int], stop_ids: Collection[int], max_new_tokens: int
    ) -> Iterator[int]:
        """As decode, for one who has each token read, by `step` or with others', before asking for the next."""
        assert self.logits is not None, "decode needs at least one token read"
        allocating(self.cache.narrow)
        if self.graph is None and DecodeGraph.suits(self.model, max_new_tokens):
            self.graph = DecodeGraph(self.model, self.cache)
        for _ in range(max_new_tokens):
            token_id = allocating(partial(pick, self.logits))
            if token_id in stop_ids:
                return
            yield token_id

    @torch.inference_mode()
    def step(self, token_id: int, trace: AttentionTrace | None = None) -> None:
        """Reads a token that was chosen. trace: sees what it attends to."""
        with self.cache.decoding():
            self.logits = self._decoded(token_id, trace)

    def _decoded(self, token_id: int, trace: AttentionTrace | None) -> torch.Tensor:
        """As _traced for one token, by a graph where that can be."""
        position = self.seen_tokens
        if self.graph is not None:
            put_rotary(self.model, self.rotary)
            logits = self.graph.decode(token_id, self.positions(1), trace)
            if logits is not None:
                if trace is not None:
                    trace.end_query(position)
                return logits
        return self._traced(torch.tensor([token_id]), trace)

    def _traced(self, ids: torch.Tensor, trace: AttentionTrace | None) -> torch.Tensor:
        """The logits after ids [length], [vocab]; the trace sees what the last of them attends to."""
        position = self.seen_tokens + len(ids) - 1
        self.cache.follow(trace)
        try:
            return self._forward(ids)[-1]
        finally:
            self.cache.follow(None)
            if trace is not None:
                trace.end_query(position)

    @torch.inference_mode()
    def score(self, token_ids: Sequence[int]) -> torch.Tensor:
        """Reads token_ids and returns the log probability that each of them had, [length] in float32."""
        assert self.logits is not None, "score needs at least one token read"
        scores = [torch.empty(0)]
        for ids in torch.as_tensor(token_ids, dtype=torch.long).split(SCORE_TOKENS):
            after = self._forward(ids, num_logits=len(ids))
            scores.append(log_probabilities(torch.cat((self.logits[None], after[:-1])), ids))
            self.logits = after[-1]
        return torch.cat(scores)

    @torch.inference_mode()
    def surprise(self, token_ids: Sequence[int]) -> torch.Tensor:
        """As score, with negative log probabilities; 0 for the first token of all."""
        if self.logits is not None:
            return -self.score(token_ids)
        self.prefill(token_ids[:1])
        return torch.cat((torch.zeros(1), -self.score(token_ids[1:])))

    @torch.inference_mode()
    def keep(self, indices: torch.Tensor) -> None:
        """Of a text without end drops all tokens but these; marks made before are worth nothing then."""
        self.cache.keep(indices)

    def _forward(self, ids: torch.Tensor, num_logits: int = 1) -> torch.Tensor:
        """ids: [length]. Returns the logits after the last num_logits of them, [num_logits, vocab]."""
        put_rotary(self.model, self.rotary)
        forward = partial(
            self.model,
            input_ids=ids[None].to(self.model.device),
            position_ids=self.positions(len(ids))[None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=num_logits,
        )
        return allocating(forward).logits[0, -num_logits:]

    def positions(self, num_tokens: int) -> torch.Tensor:
        """Where the next tokens stand for the model, [num_tokens]."""
        first = self.cache.next_position
        positions = torch.arange(first, first + num_tokens, device=self.model.device)
        return positions if self._place is None else self._place(positions)

    @torch.inference_mode()
    def mark(self) -> Mark:
        """A point to return to, so that many questions share one reading."""
        assert self.logits is not None, "mark needs at least one token read"
        return self.cache.mark(), self.logits

    @torch.inference_mode()
    def rewind(self, mark: Mark) -> None:
        """Forgets everything since the mark."""
        cache_mark, self.logits = mark
        self.cache.rewind(cache_mark)


def score_bytes(num_tokens: int, vocab_size: int, itemsize: int) -> int:
    """Most bytes that `score` takes beside the reading: logits and a copy as the model computes them, twice in float32.
    itemsize: of the model's dtype."""
    return min(num_tokens, SCORE_TOKENS) * vocab_size * 2 * (itemsize + 4)


def log_probabilities(logits: torch.Tensor, token_ids: torch.Tensor) -> torch.Tensor:
    """What the logits [length, vocab] give token_ids [length], on the CPU in float32."""
    return logits.float().log_softmax(-1).gather(-1, token_ids.to(logits.device)[:, None])[:, 0].cpu()
