"""Deciding, before any weights are loaded, how a document will be read."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.budget import Limits, Rung, kv_bytes, ladder, offloaded
from lcdoc.engine.eviction import POLICIES
from lcdoc.engine.eviction.demand import Demand
from lcdoc.engine.extension import Extension
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import HeadProfile, load_profile
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.models import stored_weights
from lcdoc.tasks.answer import PlanSummary
from lcdoc.tasks.extending import bounded_split
from lcdoc.tasks.room import Need, Room, settle

DEFAULT_SINK_SIZE = 64
DEFAULT_RECENT_SIZE = 256

# Who judges where the user doesn't say: with a question known ahead, and without.
QUESTION_POLICY, BLIND_POLICY = "question", "reconstruct"

# More heads stream after a failed allocation where that frees at least this share of keys and values: for each head a
# step of its own would fail a chunk each.
STREAMING_STEP = 0.1


@dataclass(frozen=True)
class Plan:
    """rung: the way chosen. lesser: those below it, each to be had once. steps: what was told of steps down to this
    rung. rounded: whether keys and values are rounded, or were on a rung before. notes: what the user should know."""

    rung: Rung
    lesser: Iterator[Rung]
    room: Room
    settings: ReadSettings
    shape: ModelShape
    budget_bytes: int
    rounded: bool
    steps: tuple[str, ...] = ()

    @property
    def summary(self) -> PlanSummary:
        rung, split, extension = self.rung, self.rung.split, self.room.extension
        return PlanSummary(
            mode=_mode(rung, self.settings, self.room),
            rung=rung.name,
            loss=rung.loss,
            chunk_tokens=rung.chunk_tokens,
            capacity_tokens=self.room.capacity_tokens,
            kv_dtype=_stored_dtype(rung.kv_dtype, self.shape),
            sink_size=split.sink_size if split.num_streaming_heads else 0,
            recent_size=split.recent_size if split.num_streaming_heads else 0,
            prefill_recent_size=(split.prefill_recent_size or split.recent_size)
            if split.num_streaming_heads
            else 0,
            num_streaming_heads=split.num_streaming_heads,
            num_retrieval_heads=self.shape.num_open_heads - split.num_streaming_heads,
            evict=rung.eviction.policy.name if rung.eviction else None,
            keep_tokens=rung.eviction.keep_tokens if rung.eviction else None,
            extend=extension.method if extension else None,
            extend_factor=extension.factor if extension else None,
            extended_times=extension.times if extension else None,
            parts=1,
            parts_together=1,
            predicted_peak_bytes=rung.peak_bytes,
        )

    def step_down(self, seen_tokens: int, *, moving: bool = True, narrowed: bool = False) -> "Plan | None":
        """The plan to go on with when an allocation has failed with seen_tokens read: the next rung that needs less
        and can take over what was read, or None.

        moving: whether the cache may change, not the chunks alone. narrowed: whether the reading is over, and the wider
        windows that streaming heads have for it are gone."""
        for rung in self.lesser:
            if self._leads_to(rung, seen_tokens, moving, narrowed):
                step = f"an allocation failed: going on with {rung.name}"
                if seen_tokens and (more := self._more_streaming(rung)):
                    heads = "head streams" if more == 1 else "heads stream"
                    step += f"; {more} more {heads} from token {seen_tokens:,} on"
                if narrowed:  # heads that stream only now never had a wider window
                    wide = self.rung.split.prefill_recent_size
                    rung = replace(rung, split=replace(rung.split, prefill_recent_size=wide))
                rounded = _is_rounded(rung, self.shape) or (self.rounded and seen_tokens > 0)
                return replace(self, rung=rung, rounded=rounded, steps=(*self.steps, step))
        return None

    def _leads_to(self, rung: Rung, seen_tokens: int, moving: bool, narrowed: bool) -> bool:
        now, more = self.rung, self._more_streaming(rung)
        if rung.offloaded_layers != now.offloaded_layers or not now.split.is_within(rung.split):
            return False
        if rung.peak_bytes >= now.peak_bytes or (now.eviction and not rung.eviction):
            return False
        if more and rung.kv_bytes > (1 - STREAMING_STEP) * now.kv_bytes:
            return False
        if now.eviction and more and seen_tokens:
            return False  # heads of a layer that dropped tokens can't part
        if now.eviction is None and rung.eviction is not None:
            # All that was read has to be held before any of it can be dropped.
            held_bytes = now.kv_bytes - (now.narrowed_bytes if narrowed else 0)
            if self._bytes_before_eviction(rung, seen_tokens, narrowed) > held_bytes:
                return False
        turns = self.room.extension is not None and self.room.extension.turns
        moving = moving and not turns  # keys that were turned can't go elsewhere
        return moving or (not more and (rung.kv_dtype, rung.eviction) == (now.kv_dtype, now.eviction))

    def _more_streaming(self, rung: Rung) -> int:
        """Heads that stream on this rung and don't yet."""
        return rung.split.num_streaming_heads - self.rung.split.num_streaming_heads

    def _bytes_before_eviction(self, rung: Rung, seen_tokens: int, narrowed: bool) -> int:
        """What the cache takes when it has been moved to this rung, and nothing is dropped yet."""
        assert rung.eviction is not None
        split = replace(rung.split, prefill_recent_size=None) if narrowed else rung.split
        whole = replace(rung.eviction, keep_tokens=seen_tokens)
        return kv_bytes(self.shape, split, self.room.capacity_tokens, rung.kv_dtype, whole)

    @property
    def notes(self) -> tuple[str, ...]:
        notes = (self.room.note, self.rung.loss, self._offloaded, *self.steps)
        return tuple(note for note in notes if note)

    @property
    def _offloaded(self) -> str | None:
        if not self.rung.offloaded_layers:
            return None
        return (
            f"{_gigabytes(self.rung.offloaded_bytes)} of the weights are fetched anew for every chunk and every token: "
            f"nothing is lost, but it is slow"
        )


def make_plan(
    config: Any, settings: ReadSettings, need: Need, shape: ModelShape, *, base_bytes: int, budget_bytes: int
) -> Plan:
    """The least lossy way to read within the model's window and the budget.

    config: the model's. base_bytes: what the process takes before the weights are loaded. Raises DoesNotFitError
    where the window or the budget is too small, UsageError where the settings don't go together.
    """
    need, room = settle(config, settings, need, shape)
    chosen, least = None, None
    sizes = room.capacity_tokens, base_bytes, budget_bytes
    rungs = list_rungs(settings, shape, *sizes, need, room.extension)
    for rung in rungs:
        if rung.peak_bytes <= budget_bytes:
            chosen = rung
            break
        least = rung if least is None or rung.peak_bytes < least.peak_bytes else least
    if chosen is None:
        assert least is not None
        raise DoesNotFitError(
            f"reading {need.document_tokens:,} tokens needs {_gigabytes(least.peak_bytes)} at the least "
            f"({least.name}; weights {_gigabytes(shape.weights_bytes)}), but the budget is "
            f"{_gigabytes(budget_bytes)}; raise --budget, {_instead(room)}choose pages with --pages, or a smaller "
            f"--model"
        )
    return Plan(chosen, rungs, room, settings, shape, budget_bytes, _is_rounded(chosen, shape))


def list_rungs(
    settings: ReadSettings,
    shape: ModelShape,
    capacity_tokens: int,
    base_bytes: int,
    budget_bytes: int | None = None,
    need: Need | None = None,
    extension: Extension | None = None,
) -> Iterator[Rung]:
    """The ladder under the user's settings, lazily. budget_bytes: given, weights may stay off the device to keep to
    it. need: what is to be read; without it nothing is evicted. extension: how positions go beyond the window."""
    profile = profile_for(settings, shape)
    weights = stored_weights(settings.weights, shape.dtype)
    if settings.mode == "exact" and weights != "model":
        raise UsageError(f"--mode exact keeps the model's own numbers; it can't go with --weights {weights}")
    turns = extension is not None and extension.turns
    demand = _demand(settings, need, capacity_tokens) if need and not turns else None
    if demand is not None and profile is not None:
        demand = replace(demand, head_weights=profile.head_weights)
    limits = replace(
        _limits(settings, shape, profile, extension),
        weights=weights,
        demand=demand,
        extension=extension,
        sparse=settings.sparse_prefill,
        select_pages=settings.page_selection != "off" and settings.mode != "exact",
    )
    sizes = {
        "capacity_tokens": capacity_tokens,
        "chunk_tokens": settings.chunk_tokens,
        "base_bytes": base_bytes,
    }
    # Where gaps are closed all heads keep as many tokens, so that none can stream.
    streams = settings.mode == "auto" and not (demand and demand.close_gaps)
    resident = ladder(shape, **sizes, limits=limits, profile=profile if streams else None)
    if budget_bytes is None or weights != "model":
        return resident
    return chain(resident, offloaded(shape, **sizes, budget_bytes=budget_bytes, limits=limits))


def _limits(
    settings: ReadSettings, shape: ModelShape, profile: HeadProfile | None, extension: Extension | None
) -> Limits:
    """What the settings take out of the ladder's hands."""
    kv_dtype = None if settings.kv_dtype == "auto" else settings.kv_dtype
    if extension is not None and extension.grouping is not None:
        kv_dtype = "model"
    sizes = settings.sink_size, settings.recent_size
    _check_sparse(settings)
    _check_pages(settings)
    if settings.mode in ("auto", "exact") and sizes != (None, None):
        raise UsageError(f"sink and recent sizes belong to --mode stream or duo, not {settings.mode}")
    if settings.mode != "duo" and settings.streaming is not None:
        raise UsageError(
            f"--streaming {settings.streaming} belongs to --mode duo, not {settings.mode}; leave one of them out"
        )
    if settings.mode == "exact":
        if kv_dtype not in (None, "model"):
            raise UsageError(
                f"--mode exact keeps the model's own numbers; it can't go with --kv-dtype {kv_dtype}"
            )
        return Limits(HeadSplit.exact(), "model", exact=True)
    if extension is not None and extension.method == "lm-infinite":
        if settings.mode == "stream" and settings.recent_size is None:
            settings = replace(settings, recent_size=DEFAULT_RECENT_SIZE)
        return Limits(bounded_split(settings, shape, extension.window_tokens), kv_dtype)
    if settings.mode == "stream":
        sink_size = DEFAULT_SINK_SIZE if settings.sink_size is None else settings.sink_size
        recent_size = settings.recent_size or DEFAULT_RECENT_SIZE
        split = HeadSplit.stream(shape.num_layers, shape.num_kv_heads, sink_size, recent_size)
        return Limits(split.outside(shape.windows), kv_dtype)
    if settings.mode == "duo":
        if profile is None:
            raise UsageError(
                "--mode duo needs a head profile; name one with --profile, see `lcdoc profiles list`, or make one "
                "with lcdoc calibrate"
            )
        count = profile.num_streaming
        if settings.streaming is not None:
            count = _part(settings.streaming, shape.num_open_heads)
        return Limits(profile.streaming(count, *sizes), kv_dtype)
    return Limits(None, kv_dtype)


def _check_sparse(settings: ReadSettings) -> None:
    """Raises UsageError where no head could read by blocks, or none may."""
    if not settings.sparse_prefill:
        return
    other = None
    if settings.mode in ("exact", "stream"):
        other = f"--mode {settings.mode}"
    elif settings.evict is not None or settings.keep is not None:
        other = "--evict or --keep"
    elif settings.extend == "self-extend":
        other = "--extend self-extend"
    if other:
        raise UsageError(
            f"--sparse-prefill on is for heads that keep every key where it is; it can't go with {other}: leave out "
            f"one of them"
        )


def _check_pages(settings: ReadSettings) -> None:
    """Raises UsageError where no head could be decoded by pages, or none may."""
    if settings.page_selection != "on":
        return
    other = None
    if settings.mode in ("exact", "stream"):
        other = f"--mode {settings.mode}"
    elif settings.evict is not None or settings.keep is not None:
        other = "--evict or --keep"
    elif settings.extend in ("self-extend", "lm-infinite"):
        other = f"--extend {settings.extend}"
    if other:
        raise UsageError(
            f"--page-selection on is for heads that keep everything where it is, and gives up exactness; it can't go "
            f"with {other}: leave out one of them"
        )


def _demand(settings: ReadSettings, need: Need, capacity_tokens: int) -> Demand | None:
    """What may be evicted: what was asked for, else as much as the budget needs, by the policy that fits best."""
    asked = settings.evict is not None or settings.keep is not None
    if settings.mode == "stream" or (settings.mode == "exact" and not asked):
        if asked:
            raise UsageError("--evict and --keep are for retrieval heads, and --mode stream has none")
        return None
    if asked and settings.mode == "exact":
        raise UsageError("--mode exact drops nothing; leave out --evict and --keep, or take --mode auto")
    if asked and settings.kv_dtype in ("int8", "int4"):
        raise UsageError(
            f"evicted heads keep 16 bits or more; --evict can't go with --kv-dtype {settings.kv_dtype}"
        )
    policy = settings.evict or (BLIND_POLICY if need.keep_turns else QUESTION_POLICY)
    if policy == QUESTION_POLICY and need.keep_turns:
        raise UsageError("--evict question needs a question known before the reading; a chat has none")
    demand = Demand(
        POLICIES[policy],
        document_tokens=need.document_tokens,
        after_tokens=capacity_tokens - need.document_tokens,
        question_tokens=need.prompt_tokens,
        keep_tokens=None if settings.keep is None else _kept(settings.keep, need.document_tokens),
        asked=asked,
    )
    window = need.close_gaps_within
    if window is None:
        return demand
    most = window - demand.tail_tokens(settings.chunk_tokens)
    keep_tokens = demand.keep_tokens or most
    if keep_tokens > most:
        raise UsageError(
            f"--keep {settings.keep} is {keep_tokens:,} tokens, but the model's window of {window:,} has room for "
            f"{max(most, 0):,} beside a chunk and the answer; keep less, or take smaller --chunk-tokens"
        )
    return replace(demand, keep_tokens=keep_tokens, close_gaps=True)


def _kept(keep: str, document_tokens: int) -> int:
    if keep.endswith("%"):
        return int(document_tokens * float(keep[:-1]) / 100)
    return int(keep)


def _part(share: str, num_heads: int) -> int:
    """("75%", 10) -> 8: the nearest number, the greater of two."""
    return int(num_heads * float(share[:-1]) / 100 + 0.5)


def profile_for(settings: ReadSettings, shape: ModelShape) -> HeadProfile | None:
    """The profile that the settings name, for a model of this shape; None where it tells nothing of heads. Raises
    UsageError where it isn't for such a model."""
    if settings.profile is None:
        return None
    if settings.mode not in ("auto", "duo"):
        raise UsageError(f"a head profile is used by --mode duo and auto, not by --mode {settings.mode}")
    profile = load_profile(settings.profile)
    profile.check_shape(shape.num_layers, shape.num_kv_heads)
    return profile.for_windows(shape.windows) if profile.gates else None


def _instead(room: Room) -> str:
    """What needs less memory than extended positions do."""
    if room.extension is None:
        return ""
    return f"take --keep {room.extension.window_tokens // 2} to hold what matters most, "


def _mode(rung: Rung, settings: ReadSettings, room: Room) -> str:
    if settings.mode != "auto":
        return settings.mode
    if room.extension is not None and room.extension.method == "lm-infinite":
        return "stream"
    if rung.eviction is not None:
        return "evict"
    return "duo" if rung.split.num_streaming_heads else "exact"


def _stored_dtype(kv_dtype: str, shape: ModelShape) -> str:
    return str(shape.dtype).removeprefix("torch.") if kv_dtype == "model" else kv_dtype


def _is_rounded(rung: Rung, shape: ModelShape) -> bool:
    """Whether keys and values are stored with fewer bits than the model computes in."""
    return bool(rung.loss) and _stored_dtype(rung.kv_dtype, shape) != _stored_dtype("model", shape)


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"
