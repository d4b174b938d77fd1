"""The steps that a summary in parts is made of: a part is summarized, neighbours are merged; each is kept when it is
done, and told of."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from lcdoc.documents.document import Document, Page
from lcdoc.tasks.progress import Observer, Progress
from lcdoc.tasks.summarize.draft import Draft, without_known
from lcdoc.tasks.summarize.inventions import without_inventions
from lcdoc.tasks.summarize.narrator import Narrator
from lcdoc.tasks.summarize.node import Node, merged_node, part_node, short_node
from lcdoc.tasks.summarize.part import Part, place_of
from lcdoc.tasks.summarize.plan import SummaryPlan
from lcdoc.tasks.summarize.requests import onward_request, onward_text, summary_request
from lcdoc.tasks.summarize.saved import Saved
from lcdoc.tasks.summarize.sentences import cut_sentences
from lcdoc.tasks.summarize.summary import Place
from lcdoc.tasks.summarize.wish import Wish

# Told of each part that is done: how many are, of how many, and where it stands.
OnPart = Callable[[int, int, Place], None]


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
        self._tokens_done = self._tokens_resumed = 0
        self._tokens_total = sum(part.num_tokens for part in parts)
        self._started = time.perf_counter()

    def part(self, number: int, request: str, words: int, max_tokens: int) -> Node:
        """The summary of a part by itself."""
        part = self.parts[number]

        def make() -> Node:
            if len(part.text.split()) <= words:
                return short_node(number, part)
            draft = self._write([part.as_document], request, words, max_tokens, part.num_tokens)
            draft = without_inventions(draft, part.text)
            return part_node(number, part, draft, self.wish.focus, words)

        return self._one_part(number, make)

    def onward(self, number: int, so_far: Sequence[Node], words: int, max_tokens: int) -> Node:
        """The summary of a part by one who knows the summaries of what came before it."""
        part = self.parts[number]

        def make() -> Node:
            if len(part.text.split()) <= words:
                return short_node(number, part)
            document, before = part.as_document, self._latest(so_far)
            request = summary_request(self.wish, words)
            if before:
                request = onward_request(self.wish, words)
                lead, beginning = onward_text(before)
                pages = (_page(lead), *document.pages)
                pages = (pages[0], replace(pages[1], text=f"{beginning}\n\n{pages[1].text}"), *pages[2:])
                document = replace(document, pages=pages)
            draft = self._write([document], request, words, max_tokens, part.num_tokens)
            known = " ".join(node.text for node in so_far)
            draft = without_inventions(without_known(draft, known), f"{known}\n\n{part.text}")
            return part_node(number, part, draft, self.wish.focus, words)

        return self._one_part(number, make)

    def merge(self, children: Sequence[Node], words: int, max_tokens: int, observer: Observer) -> Node:
        """One summary of neighbours' summaries, with sentences of the document beside each."""
        if len(children) == 1:
            return children[0]
        name = f"merge {children[0].first}-{children[-1].last}"
        node = self._saved.take(name)
        if node is None:
            request = summary_request(self.wish, words)
            source = self.parts[children[0].first].document.source
            texts = self.merge_texts(children)
            pages = tuple(Page(index, str(index), text) for index, text in enumerate(texts, start=1))
            document = Document(source, "text", "section", pages, len(pages))
            draft = self._narrator.write([document], request, words, max_tokens, observer)
            draft = without_inventions(draft, "\n\n".join(texts))
            node = merged_node(children, draft, words)
            self._saved.put(name, node)
            self._narrator.forget_read()
        self.merges += 1
        self.nodes.append(node)
        return node

    def merge_texts(self, children: Sequence[Node]) -> list[str]:
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

    def count_merge(self, children: Sequence[Node]) -> int:
        """Tokens of what is read for it."""
        if len(children) == 1:
            return 0
        return sum(map(self._narrator.count, self.merge_texts(children)))

    def merging(self, done: int, total: int, started: float) -> Observer:
        """Tells of a merge after `done` of a level's `total` tokens."""

        def observe(progress: Progress) -> None:
            now = min(total, done + (progress.tokens_done if progress.phase == "read" else 0))
            self._tell(progress, "merge", now, total, now / max(time.perf_counter() - started, 1e-9))

        return observe

    def mapping(self, so_far: int = 0) -> Observer:
        """Tells of a part after so many of its tokens."""
        most = [so_far]

        def observe(progress: Progress) -> None:
            if progress.phase == "read":
                most[0] = max(most[0], progress.tokens_done)
            now = min(self._tokens_total, self._tokens_done + most[0])
            new = now - self._tokens_resumed
            self._tell(progress, "map", now, self._tokens_total, new / (time.perf_counter() - self._started))

        return observe

    def _one_part(self, number: int, make: Callable[[], Node]) -> Node:
        name = f"part {number}"
        resumed = self._saved.take(name)
        node = resumed or make()
        if resumed is None:
            self._saved.put(name, node)
            self._narrator.forget_read()
        tokens = self.parts[number].num_tokens
        self._tokens_done += tokens
        self._tokens_resumed += tokens if resumed else 0
        self.done += 1
        self.nodes.append(node)
        self._on_part(self.done, len(self.parts), place_of([self.parts[number]]))
        return node

    def _write(
        self, documents: Sequence[Document], request: str, words: int, max_tokens: int, part_tokens: int
    ) -> Draft:
        observe = self.mapping()

        def within(progress: Progress) -> None:
            observe(replace(progress, tokens_done=min(progress.tokens_done, part_tokens)))

        return self._narrator.write(documents, request, words, max_tokens, within)

    def _latest(self, nodes: Sequence[Node]) -> str:
        """The last sentences of the summaries, as many as have room beside a part."""
        kept: list[str] = []
        for sentence in reversed(cut_sentences(" ".join(node.text for node in nodes))):
            if self._narrator.count(" ".join([sentence, *kept])) > self.plan.so_far_tokens:
                break
            kept.insert(0, sentence)
        return " ".join(kept)

    def _tell(self, progress: Progress, phase: str, done: int, total: int, rate: float) -> None:
        self._observer(
            replace(progress, phase=phase, tokens_done=done, tokens_total=total, tokens_per_s=rate)
        )


def _page(text: str) -> Page:
    return Page(1, "1", text)
