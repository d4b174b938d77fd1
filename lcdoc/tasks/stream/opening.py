"""Opening a stream: the model on its device, how much of the text is held, and who judges what stays."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from lcdoc.config import ReadSettings, Sampling
from lcdoc.engine.attention_mass import Pair
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.stream_judges import Asked, Judge, Surprising
from lcdoc.engine.stream_reader import StreamReader
from lcdoc.engine.stream_sizes import StreamSizes
from lcdoc.errors import DoesNotFitError, ModelError
from lcdoc.fusion.attention import NULL_QUESTION
from lcdoc.fusion.heads import choose_heads
from lcdoc.tasks.ask import stop_ids_of
from lcdoc.tasks.host import Host
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.plan import Plan, profile_for
from lcdoc.tasks.room import Need, context_window
from lcdoc.tasks.stream.sizes import answer_tokens, fit_sizes, notes_tokens
from lcdoc.tasks.stream.stream import Stream
from lcdoc.tasks.stream.teller import Teller, prompt_for, request_tokens
from lcdoc.tokens import Prompt


@dataclass(frozen=True)
class StreamWish:
    """question: answered each time instead of a digest. keep_tokens: of what left the window, how much stays; None for
    the default. notes: whether notes are taken of all that leaves the window; None for where digests are written."""

    question: str | None = None
    keep_tokens: int | None = None
    notes: bool | None = None


def open_stream(
    settings: ReadSettings,
    wish: StreamWish,
    sampling: Sampling,
    host: Host | None = None,
) -> Stream:
    """Loads the model. Of the settings sink_size, recent_size and chunk_tokens are the stream's own. Raises
    DoesNotFitError, ModelError and UsageError."""
    host = host or Host(settings)
    sizes = choose_sizes(host.config, host.tokenizer, settings, wish, sampling)
    answer = answer_tokens(context_window(host.config), sampling.max_new_tokens)
    plan, sizes = _plan(host, settings, sizes, answer)
    model = host.load(settings.weights, plan.rung.offloaded_layers)
    shape, own = host.shape(settings.weights), with_own_profile(settings, host.files)
    heads = choose_heads(profile_for(own, shape), shape.num_kv_heads, shape.windows)
    return make_stream(model, host.tokenizer, heads, sizes, wish, sampling)


def choose_sizes(
    config: Any, tokenizer: Any, settings: ReadSettings, wish: StreamWish, sampling: Sampling
) -> StreamSizes:
    """As the settings and the wish have it, and the model's window allows. Raises UsageError."""
    prompt = prompt_for(tokenizer, wish.question)
    return fit_sizes(
        context_window(config),
        len(prompt.head_ids()),
        request_tokens(prompt, wish.question),
        sampling.max_new_tokens,
        sink=settings.sink_size,
        window=settings.recent_size,
        keep=wish.keep_tokens,
        chunk=settings.chunk_tokens,
    )


def make_stream(
    model: Any,
    tokenizer: Any,
    heads: Collection[Pair],
    sizes: StreamSizes,
    wish: StreamWish,
    sampling: Sampling,
    *,
    blind: bool = False,
) -> Stream:
    """heads: whose attention tells what bears on a question. blind: what stays is chosen as if none were known."""
    context = context_window(model.config)
    prompt = prompt_for(tokenizer, wish.question)
    reading = StreamReader(model, sizes, _judge(prompt, heads, None if blind else wish.question))
    stop_ids = stop_ids_of(model, tokenizer)
    limits = answer_tokens(context, sampling.max_new_tokens), notes_tokens(context)
    teller = Teller(reading, tokenizer, stop_ids, wish.question, sampling, *limits)
    keeps_notes = wish.question is None if wish.notes is None else wish.notes
    return Stream(reading, teller, prompt, keeps_notes=keeps_notes, context_tokens=context)


def _judge(prompt: Prompt, heads: Collection[Pair], question: str | None) -> Judge:
    if question is None:
        return Surprising()
    return Asked(heads, prompt.plain_ids(question), prompt.plain_ids(NULL_QUESTION))


def _plan(host: Host, settings: ReadSettings, sizes: StreamSizes, answer: int) -> tuple[Plan, StreamSizes]:
    """How the weights and the cache fit the budget; the chunk may have to be smaller for it."""
    shape = host.shape(settings.weights)
    if any(window is not None for window in shape.windows):
        raise ModelError(
            "this model has layers with a window of their own, whose positions can't be closed up; lcdoc stream needs "
            "a model whose layers all see the whole text: choose another with --model"
        )
    plain = replace(
        settings,
        mode="auto",
        kv_dtype="model",
        evict=None,
        keep=None,
        extend="none",
        fusion="off",
        streaming=None,
        profile="none",
        sink_size=None,
        recent_size=None,
        chunk_tokens=sizes.chunk,
    )
    plan = host.plan(plain, Need(sizes.capacity - answer, 0, answer, keep_turns=False))
    rung = plan.rung
    token_bytes = shape.num_layers * shape.num_kv_heads * shape.head_dim * shape.dtype.itemsize
    unturned_bytes = sizes.held * token_bytes  # keys that are held twice
    if (
        rung.split != HeadSplit.exact()
        or rung.eviction
        or rung.peak_bytes + unturned_bytes > host.budget_bytes
    ):
        raise DoesNotFitError(
            f"holding {sizes.capacity:,} tokens takes more than the budget of {host.budget_bytes / 1e9:.2f} GB; raise "
            f"--budget, or take a smaller --recent-size, --keep or --model"
        )
    return plan, replace(sizes, chunk=min(sizes.chunk, rung.chunk_tokens))
