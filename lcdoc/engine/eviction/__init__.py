"""Dropping keys and values that are least likely to be needed: one file and one score per policy."""

from dataclasses import dataclass

from lcdoc.engine.eviction.expected import ExpectedAttention
from lcdoc.engine.eviction.h2o import HeavyHitters
from lcdoc.engine.eviction.keydiff import DistinctKeys
from lcdoc.engine.eviction.policy import CHUNK, Policy
from lcdoc.engine.eviction.question import QuestionProbe
from lcdoc.engine.eviction.recent import Recent
from lcdoc.engine.eviction.reconstruct import Reconstruction
from lcdoc.engine.eviction.snapkv import ObservationWindow
from lcdoc.engine.eviction.tova import LastToken

POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Recent(),
        HeavyHitters(),
        ObservationWindow(),
        LastToken(),
        DistinctKeys(),
        ExpectedAttention(),
        Reconstruction(),
        QuestionProbe(),
    )
}

# What goes over to neighbours in every head, where nothing tells the heads that retrieve.
UNKNOWN_WEIGHT = 0.1

# Never evicted: a head without its first tokens breaks, and one without its last loses the thread.
SINK_TOKENS = 8
RECENT_TOKENS = 32


@dataclass(frozen=True)
class Eviction:
    """policy: who judges. keep_tokens: held per retrieval head after each chunk, on average over the heads.
    tail_tokens: room for what is read before the next eviction: a chunk and a probe, or questions and answers.
    close_gaps: whether what is kept moves up to positions without gaps, all heads keeping as many, so that a text
    longer than the trained window is read within it. head_weights: [num_layers][num_kv_heads] from 0 to 1, how much
    what a token has goes over to its neighbours; None where nothing tells the heads that retrieve."""

    policy: Policy
    keep_tokens: int
    tail_tokens: int
    close_gaps: bool = False
    head_weights: tuple[tuple[float, ...], ...] | None = None

    def probe_tokens(self, chunk_tokens: int) -> int:
        """At most so many are put to what is held after each chunk, beside the chunk itself."""
        return 0 if self.policy.listens == CHUNK else self.tail_tokens - chunk_tokens
