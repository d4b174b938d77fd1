"""The steps that a summary in parts is made of: a part is summarized, neighbours are merged; each is kept when it is
done, and told of."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lcdoc.documents.document import Document, Page
from lcdoc.tasks.progress import Observer
from lcdoc.tasks.summarize.draft import Draft, without_known
from lcdoc.tasks.summarize.inventions import without_inventions
from lcdoc.tasks.summarize.narrator import Narrator, Order
from lcdoc.tasks.summarize.node import Node, merged_node, part_node, short_node
from lcdoc.tasks.summarize.part import Part, place_of
from lcdoc.tasks.summarize.plan import SummaryPlan
from lcdoc.tasks.summarize.requests import onward_request, onward_text, summary_request
from lcdoc.tasks.summarize.saved import Saved
from lcdoc.tasks.summarize.sentences import cut_sentences
from lcdoc.tasks.summarize.summary import Place
from lcdoc.tasks.summarize.tally import Tally
from lcdoc.tasks.summarize.wish import Wish

# Told of each part that is done: how many are, of how many, and where it stands.
OnPart = Callable[[int, int, Place], None]


@dataclass(frozen=True)
class Asked:
    """Of a part by itself, by its number, or of neighbours: what is asked for, and how much of it."""

    request: str
    words: int
    max_tokens: int


class Work:
    """parts: of all documents. done: parts that have been summarized."""

    def __init__(
        self,
        narrator: Narrator,
        saved: Saved,
        wish: Wish,
        plan: SummaryPlan,
        parts: Sequence[Part],
        observer: Observer,
        on_part: OnPart,
    ) -> None:
        self.parts, self.wish, self.plan = parts, wish, plan
        self._narrator, self._saved, self._observer, self._on_part = narrator, saved, observer, on_part
        self.nodes: list[Node] = []  # whatever was made, parts and merges
        self.done = 0
        self.merges = 0
        self._tally = Tally(observer, "map", sum(part.num_tokens for part in parts))

    def summarize_parts(self, asked: Mapping[int, Asked]) -> list[Node]:
        """Summaries of parts by themselves, in the order of their numbers here; as many are written at the same time as
        the plan has room for."""
        nodes = {number: self._ready(number, wanted.words) for number, wanted in asked.items()}
        waiting = [number for number, node in nodes.items() if node is None]
        orders = [
            Order(
                [self.parts[number].as_document],
                asked[number].request,
                asked[number].words,
                asked[number].max_tokens,
                self._tally.begin(number, self.parts[number].num_tokens),
            )
            for number in waiting
        ]
        for index, draft in self._write_all(orders):
            number, part = waiting[index], self.parts[waiting[index]]
            draft = without_inventions(draft, part.text)
            node = part_node(number, part, draft, self.wish.focus, asked[number].words)
            nodes[number] = self._finish(number, node)
        return [node for node in nodes.values() if node is not None]

    def onward(self, number: int, so_far: Sequence[Node], words: int, max_tokens: int) -> Node:
        """The summary of a part by one who knows the summaries of what came before it."""
        part = self.parts[number]
        node = self._ready(number, words)
        if node is not None:
            return node
        document, before = part.as_document, self._latest(so_far)
        request = summary_request(self.wish, words)
        if before:
            request = onward_request(self.wish, words)
            lead, beginning = onward_text(before)
            pages = (_page(lead), *document.pages)
            pages = (pages[0], replace(pages[1], text=f"{beginning}\n\n{pages[1].text}"), *pages[2:])
            document = replace(document, pages=pages)
        observer = self._tally.begin(number, part.num_tokens)
        draft = self._narrator.write(Order([document], request, words, max_tokens, observer))
        known = " ".join(node.text for node in so_far)
        draft = without_inventions(without_known(draft, known), f"{known}\n\n{part.text}")
        return self._finish(number, part_node(number, part, draft, self.wish.focus, words))

    def merge(
        self, groups: Sequence[Sequence[Node]], asked: Sequence[Asked], counted: bool = True
    ) -> list[Node]:
        """One summary of each group of neighbours' summaries, with sentences of the document beside them; as many are
        written at the same time as the plan has room for. A group of one stands as it is. counted: whether progress
        tells of them, and not of the parts all the while."""
        texts = [self._merge_texts(group) if len(group) > 1 else [] for group in groups]
        sizes = [sum(map(self._narrator.count, own)) if counted else 0 for own in texts]
        tally = Tally(self._observer, "merge", sum(sizes)) if counted else self._tally
        nodes: dict[int, Node] = {}
        for index, group in enumerate(groups):
            if len(group) == 1:
                nodes[index] = group[0]
            elif node := self._saved.take(_merge_name(group)):
                nodes[index] = self._merged(node)
                tally.end(index, sizes[index], resumed=True)
        waiting = [index for index in range(len(groups)) if index not in nodes]
        orders = [
            Order(
                [self._merge_document(groups[index], texts[index])],
                asked[index].request,
                asked[index].words,
                asked[index].max_tokens,
                tally.begin(index, sizes[index]),
            )
            for index in waiting
        ]
        for number, draft in self._write_all(orders):
            index = waiting[number]
            draft = without_inventions(draft, "\n\n".join(texts[index]))
            nodes[index] = merged_node(groups[index], draft, asked[index].words)
            self._saved.put(_merge_name(groups[index]), nodes[index])
            self._narrator.forget_read()
            self._merged(nodes[index])
            tally.end(index, sizes[index])
        return [nodes[index] for index in range(len(groups))]

    def _merge_document(self, children: Sequence[Node], texts: Sequence[str]) -> Document:
        pages = tuple(Page(number, str(number), text) for number, text in enumerate(texts, start=1))
        source = self.parts[children[0].first].document.source
        return Document(source, "text", "section", pages, len(pages))

    def _merge_texts(self, children: Sequence[Node]) -> list[str]:
        """The children's summaries, each with as many of its sentences as have room."""
        room = self.plan.part_tokens // len(children)
        texts = []
        for child in children:
            text = child.text
            for quote in child.quotes:
                longer = f'{text}\n"{quote}"'
                if quote in text or self._narrator.count(longer) > room:
                    continue
                text = longer
            texts.append(text)
        return texts

    def _write_all(self, orders: Sequence[Order]) -> Iterator[tuple[int, Draft]]:
        return self._narrator.write_all(orders, self.plan.rows, self.plan.reading.rung.chunk_tokens)

    def _ready(self, number: int, words: int) -> Node | None:
        """What needs no writing: a part that was summarized in an earlier run, or is no longer than its summary."""
        part, node = self.parts[number], self._saved.take(_part_name(number))
        if node is not None:
            return self._finish(number, node, resumed=True)
        if len(part.text.split()) <= words:
            return self._finish(number, short_node(number, part))
        return None

    def _finish(self, number: int, node: Node, resumed: bool = False) -> Node:
        if not resumed:
            self._saved.put(_part_name(number), node)
            self._narrator.forget_read()
        self._tally.end(number, self.parts[number].num_tokens, resumed)
        self.done += 1
        self.nodes.append(node)
        self._on_part(self.done, len(self.parts), place_of([self.parts[number]]))
        return node

    def _merged(self, node: Node) -> Node:
        self.merges += 1
        self.nodes.append(node)
        return node

    def _latest(self, nodes: Sequence[Node]) -> str:
        """The last sentences of the summaries, as many as have room beside a part."""
        kept: list[str] = []
        for sentence in reversed(cut_sentences(" ".join(node.text for node in nodes))):
            if self._narrator.count(" ".join([sentence, *kept])) > self.plan.so_far_tokens:
                break
            kept.insert(0, sentence)
        return " ".join(kept)


def _part_name(number: int) -> str:
    return f"part {number}"


def _merge_name(children: Sequence[Node]) -> str:
    return f"merge {children[0].first}-{children[-1].last}"


def _page(text: str) -> Page:
    return Page(1, "1", text)
