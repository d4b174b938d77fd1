"""Where pages of a text lie: behind its first SINK_TOKENS, before its last RECENT_TOKENS or a few more."""

PAGE_TOKENS = 64
SINK_TOKENS = 64
RECENT_TOKENS = 128


def num_pages(seen_tokens: int) -> int:
    """Full pages once so many tokens are seen, however they came."""
    return max(0, seen_tokens - SINK_TOKENS - RECENT_TOKENS) // PAGE_TOKENS
