"""How much of a stream a model's window has room for."""

from lcdoc.engine.stream_sizes import StreamSizes
from lcdoc.errors import UsageError

# The most that is held where the user doesn't say; in a small window no more than these shares of it.
SINK_TOKENS = 8
WINDOW_TOKENS, WINDOW_SHARE = 2048, 1 / 4
KEEP_TOKENS, KEEP_SHARE = 1024, 1 / 8
NOTES_TOKENS, NOTES_SHARE = 512, 1 / 16
# Of the window, at most so much is read at once, and answered.
CHUNK_SHARE = 1 / 16
ANSWER_SHARE = 1 / 8


def fit_sizes(
    context_tokens: int,
    head_tokens: int,
    request_tokens: int,
    max_new_tokens: int,
    *,
    sink: int | None,
    window: int | None,
    keep: int | None,
    chunk: int,
) -> StreamSizes:
    """context_tokens: the model's window. head_tokens: what stands before the text, which always stays. request_tokens:
    what is put to it at most, besides notes. The others as the user has them. Raises UsageError where that is too
    much."""
    most = notes_tokens(context_tokens) + request_tokens + answer_tokens(context_tokens, max_new_tokens)
    sizes = StreamSizes(
        sink=head_tokens + (SINK_TOKENS if sink is None else sink),
        keep=_least(KEEP_TOKENS, context_tokens * KEEP_SHARE) if keep is None else keep,
        window=_least(WINDOW_TOKENS, context_tokens * WINDOW_SHARE) if window is None else window,
        chunk=_least(chunk, context_tokens * CHUNK_SHARE),
        after=most,
    )
    if sizes.capacity > context_tokens:
        raise UsageError(
            f"{sizes.sink:,} first tokens, {sizes.keep:,} kept, a window of {sizes.window:,}, chunks of "
            f"{sizes.chunk:,} and {most:,} for what is asked and answered are more than the model's window of "
            f"{context_tokens:,}; take a smaller --recent-size, --keep, --chunk-tokens or --max-new-tokens"
        )
    return sizes


def notes_tokens(context_tokens: int) -> int:
    """The longest notes."""
    return _least(NOTES_TOKENS, context_tokens * NOTES_SHARE)


def answer_tokens(context_tokens: int, max_new_tokens: int) -> int:
    """The longest digest or answer."""
    return _least(max_new_tokens, context_tokens * ANSWER_SHARE)


def _least(tokens: int, share: float) -> int:
    return max(1, min(tokens, int(share)))
