"""The heads whose attention tells what bears on a question."""

from collections.abc import Sequence

from lcdoc.engine.profiles import HeadProfile

# So many find as much as all of a model's, in the mean over models (arXiv 2506.09944).
NUM_HEADS = 8

# Which of many short spans a question is about, fewer tell better: of 47 questions about 3,000 to 35,000 tokens, the
# right span is the first by the attention of SmolLM2's two best heads for 22, of its eight best for 17.
NUM_JUDGES = 2


def choose_heads(
    profile: HeadProfile | None, num_kv_heads: int, windows: Sequence[int | None], count: int = NUM_HEADS
) -> frozenset[tuple[int, int]]:
    """The (layer, KV head) pairs that retrieve most by the model's profile, so many; without one, all in the upper half
    of the layers. windows: each layer's own, or None; those with one see too little."""
    if profile is not None:
        return frozenset(profile.for_windows(windows).order[-count:])
    upper = [layer for layer, window in enumerate(windows) if window is None and layer >= len(windows) // 2]
    return frozenset((layer, head) for layer in upper for head in range(num_kv_heads))
