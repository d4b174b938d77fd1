"""How the summaries of a unit's parts become as few as are wanted."""

from collections.abc import Iterator, Sequence
from itertools import islice

from lcdoc.tasks.summarize.node import Node
from lcdoc.tasks.summarize.plan import limit_tokens
from lcdoc.tasks.summarize.requests import points_request, summary_request
from lcdoc.tasks.summarize.wish import Wish
from lcdoc.tasks.summarize.work import Asked, Work


def asked_of_parts(work: Work, numbers: Sequence[int], target: int, words: int) -> dict[int, Asked]:
    """Of each part of a unit by itself: what will stand where there are no more than wanted, else what is merged.
    words: of what will stand."""
    plan = work.plan
    if len(numbers) <= target:
        own_words = words * target // len(numbers)
        request = final_request(work.wish, own_words, -(-target // len(numbers)))
        asked = Asked(request, own_words, answer_limit(work, own_words))
    else:
        request = summary_request(work.wish, plan.note_words)
        asked = Asked(request, plan.note_words, plan.note_tokens)
    return dict.fromkeys(numbers, asked)


def merge_levels(work: Work, units: Sequence[tuple[list[Node], int]], words: int) -> tuple[list[Node], int]:
    """Neighbours merged, level by level, until each unit has no more nodes than its target (arXiv 2502.00977: sentences
    of the document go along into every merge). Returns them, and how many levels there were."""
    levels = 0
    units = list(units)
    while any(len(nodes) > target for nodes, target in units):
        levels += 1
        planned = [
            (list(_groups(nodes, max(target, -(-len(nodes) // work.plan.merged_at_once)))), target)
            if len(nodes) > target
            else ([[node] for node in nodes], target)
            for nodes, target in units
        ]
        groups = [group for groups, _ in planned for group in groups]
        last = [len(groups) <= target for groups, target in planned for _ in groups]
        asked = [_asked_of_merge(work, words, is_last) for is_last in last]
        merged = iter(work.merge(groups, asked))
        units = [(list(islice(merged, len(groups))), target) for groups, target in planned]
    return [node for nodes, _ in units for node in nodes], levels


def go_onward(work: Work, numbers: Sequence[int], target: int, words: int) -> tuple[list[Node], int]:
    """Part by part, each in the light of what came before; what has been written is merged where it becomes too much
    (BooookScore's incremental updating, arXiv 2310.00785). Returns the nodes, and how many levels of merging they went
    through."""
    limit = min(work.plan.note_tokens, answer_limit(work, words))
    nodes: list[Node] = []
    depth: dict[int, int] = {}  # of each node, by its first part

    def merge_smallest() -> None:
        sizes = [after.last - before.first for before, after in zip(nodes, nodes[1:], strict=False)]
        index = sizes.index(min(sizes))
        pair = nodes[index : index + 2]
        depth[pair[0].first] = 1 + max(depth.get(node.first, 0) for node in pair)
        asked = Asked(summary_request(work.wish, words), words, limit)
        nodes[index : index + 2] = work.merge([pair], [asked], counted=False)

    for number in numbers:
        nodes.append(work.onward(number, nodes, words, limit))
        if len(nodes) > 2 * target:
            while len(nodes) > target:
                merge_smallest()
    while len(nodes) > target:
        merge_smallest()
    return nodes, max((depth.get(node.first, 0) for node in nodes), default=0)


def _asked_of_merge(work: Work, words: int, is_last: bool) -> Asked:
    if is_last:
        return Asked(summary_request(work.wish, words), words, answer_limit(work, words))
    own_words = work.plan.note_words
    return Asked(summary_request(work.wish, own_words), own_words, work.plan.note_tokens)


def final_request(wish: Wish, words: int, points: int) -> str:
    """points: how many the text should give, where they are wanted."""
    if wish.style == "bullets" and points > 1:
        return points_request(wish, points)
    return summary_request(wish, words)


def answer_limit(work: Work, words: int) -> int:
    return min(limit_tokens(words), work.plan.answer_tokens)


def _groups(nodes: Sequence[Node], count: int) -> Iterator[list[Node]]:
    """So many runs of neighbours, about equally long."""
    for index in range(count):
        yield list(nodes[index * len(nodes) // count : (index + 1) * len(nodes) // count])
