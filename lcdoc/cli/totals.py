"""What will be read and what was, in words: the lines before and after the answers."""

from collections.abc import Iterable, Sequence

from lcdoc.cli.measures import bytes_text, count, ranges
from lcdoc.tasks.answer import Answer, PlanSummary, Receipt


def plan_line(plan: PlanSummary, budget_bytes: int) -> str:
    """How the document is going to be read, what that gives up, and what it takes."""
    loss = f" ({plan.loss})" if plan.loss else ""
    peak = f"about {bytes_text(plan.predicted_peak_bytes)} of {bytes_text(budget_bytes)}"
    return f"plan: {plan.rung}{loss}, {peak} at the most"


def totals_line(answers: Sequence[Answer]) -> str:
    """Tokens and pages of total, exactness, memory and times of one reading and all its answers."""
    last = answers[-1]
    timing, memory = last.timing, last.memory
    decode_s = sum(answer.timing.decode_s for answer in answers)
    peak_bytes = max(answer.memory.peak_bytes for answer in answers)
    return "; ".join(
        [
            *reading_facts(last.receipt),
            f"KV {bytes_text(memory.kv_bytes)} {last.receipt.kv_dtype}, "
            f"peak {bytes_text(peak_bytes)} of {bytes_text(memory.budget_bytes)}",
            f"loaded in {timing.load_s:.1f} s, {_read_in(last)}, answered in {decode_s:.1f} s "
            f"({timing.decode_tokens_per_s:,.1f} tokens/s)",
        ]
    )


def _read_in(answer: Answer) -> str:
    receipt, timing = answer.receipt, answer.timing
    if receipt.tokens_from_store >= receipt.tokens_read:
        return f"taken from the store in {timing.prefill_s:.1f} s"
    return f"read in {timing.prefill_s:.1f} s ({timing.prefill_tokens_per_s:,.0f} tokens/s)"


def reading_facts(receipt: Receipt) -> list[str]:
    """Short facts: what was read, what was not and why, what was approximated."""
    facts = [
        f"read {receipt.tokens_read:,} of {count(receipt.tokens_total, 'token')}, "
        f"{receipt.pages_read:,} of {count(receipt.pages_total, 'page')}"
    ]
    unread = ((page.source, page.reason, page.page) for page in receipt.pages_unread)
    facts += [f"unread: {group}" for group in grouped_pages(unread)]
    if receipt.pages_evicted:
        worst = max(loss.share_evicted for loss in receipt.pages_evicted)
        pages = count(len(receipt.pages_evicted), "page")
        facts.append(f"{receipt.mode} mode dropped parts of {pages}, up to {worst:.0%} of one")
    facts.append("exact" if receipt.exact else "not exact")
    return [*facts, *receipt.notes]


def grouped_pages(pages: Iterable[tuple[str, str, int]]) -> list[str]:
    """(source, reason, page) -> "report.pdf page 3-5, 9 (scan)", a line for each source and reason."""
    groups: dict[tuple[str, str], list[int]] = {}
    for source, reason, page in pages:
        groups.setdefault((source, reason), []).append(page)
    return [f"{source} page {ranges(numbers)} ({reason})" for (source, reason), numbers in groups.items()]


def page_name(unit: str, label: str) -> str:
    """("page", "xii") -> "page xii"; other units' labels already say what they are."""
    return f"page {label}" if unit == "page" else label
