"""Summarizing documents: planned before anything is loaded, written part by part, and put together with its pages."""

import hashlib
import time
from collections.abc import Callable, Sequence
from itertools import chain

from lcdoc.config import ReadSettings
from lcdoc.documents.document import Document
from lcdoc.errors import DocumentError
from lcdoc.store.store import Store
from lcdoc.tasks.answer import PlanSummary
from lcdoc.tasks.host import Host
from lcdoc.tasks.parts_plan import part_settings
from lcdoc.tasks.progress import Observer, Progress, silent
from lcdoc.tasks.summarize import merging
from lcdoc.tasks.summarize.coverage import check_coverage
from lcdoc.tasks.summarize.inventions import without_inventions
from lcdoc.tasks.summarize.narrator import Narrator, Order
from lcdoc.tasks.summarize.node import MODEL, REPLACED, Node
from lcdoc.tasks.summarize.part import Part, Unit, cut_unit, units_of
from lcdoc.tasks.summarize.plan import plan_summary
from lcdoc.tasks.summarize.receipt import make_summary_receipt
from lcdoc.tasks.summarize.requests import onward_request, paragraphs_request, points_request, summary_request
from lcdoc.tasks.summarize.saved import Saved
from lcdoc.tasks.summarize.sections import node_sections, whole_sections
from lcdoc.tasks.summarize.sentences import choose_sentences, sentences_of
from lcdoc.tasks.summarize.summary import Section, Summary
from lcdoc.tasks.summarize.wish import LEAST_CHAPTER_WORDS, Wish
from lcdoc.tasks.summarize.work import OnPart, Work
from lcdoc.tokens import tokenize

# What is read at once is looked at in so many stretches, when it is asked what of it the summary speaks of.
STRETCHES, LEAST_STRETCH_TOKENS = 20, 100


class Summarizer:
    """Documents and a plan for summarizing them; making it loads no weights. `run` may be interrupted: what was
    finished is saved, and another Summarizer of the same documents, settings and wish goes on from there, until
    `forget`."""

    def __init__(
        self,
        documents: Sequence[Document],
        settings: ReadSettings,
        wish: Wish,
        *,
        observer: Observer = silent,
        on_note: Callable[[str], None] = lambda note: None,
        on_part: OnPart = lambda done, total, place: None,
        restart: bool = False,
        store: Store | None = None,
    ) -> None:
        """on_part hears of each part that is done: how many are, of how many, and where it stands. restart: forgets
        what an earlier run saved. store: what is read is kept there, a part until its summary is finished. Raises
        DoesNotFitError where nothing can be read within the budget, DocumentError for documents without text,
        UsageError for a wish that can't be had of this model."""
        self.documents, self._wish = tuple(documents), wish
        self._observer, self._on_part = observer, on_part
        self._settings = part_settings(settings)
        self._host = Host(settings)
        self._narrator = Narrator(self._host, self._settings, on_note, store)
        tokenizer = self._host.tokenizer
        self._tokens = tokenize(tokenizer, documents)
        if not self._tokens.token_ids:
            raise DocumentError("the document holds no text that the model can read")
        self._units = units_of(documents, wish.style)
        self._words = self._section_words()
        self._plan = plan_summary(
            self._host,
            self._settings,
            document_tokens=len(self._tokens.token_ids),
            prompt_tokens=self._narrator.prompt_tokens(self._requests()),
            words=wish.words,
            section_words=self._words,
            part_tokens=wish.part_tokens,
            may_be_whole=len(self._units) == len(documents),
            onward=wish.method == "incremental",
        )
        cut_tokens = self._plan.cut_tokens
        if self._plan.at_once:
            cut_tokens = max(LEAST_STRETCH_TOKENS, len(self._tokens.token_ids) // STRETCHES)
        cut = [(unit, cut_unit(tokenizer, unit, cut_tokens)) for unit in self._units]
        self._cut: list[tuple[Unit, list[Part]]] = [(unit, parts) for unit, parts in cut if parts]
        self._parts = list(chain.from_iterable(parts for _, parts in self._cut))
        self._saved = Saved(self._key(), on_note, restart)
        self.num_saved = 0 if self._plan.at_once else len(self._saved)
        self._work: Work | None = None

    @property
    def plan(self) -> PlanSummary:
        """How the documents are read."""
        parts = len(self._parts)
        loss = f"summarized in {parts} parts, which are read by themselves; {self._how()}"
        return self._plan.summary(parts, loss)

    @property
    def budget_bytes(self) -> int:
        """What the process has to stay under."""
        return self._host.budget_bytes

    @property
    def num_parts(self) -> int:
        """Texts that are summarized one by one; 1 where all is read at once."""
        return 1 if self._plan.at_once else len(self._parts)

    @property
    def parts_done(self) -> int:
        return self._work.done if self._work else 0

    @property
    def saved_in(self) -> str:
        """The file that finished parts are kept in."""
        return str(self._saved.path)

    def run(self) -> Summary:
        """The summary. Raises KeyboardInterrupt where it was interrupted, DoesNotFitError where memory is refused all
        the same."""
        started = time.perf_counter()
        self._observer(Progress("load", 0, 0, 0.0, 0, self._host.meter.now_bytes(), self.budget_bytes))
        nodes, sections, method, levels = self._at_once() if self._plan.at_once else self._in_parts()
        coverage = check_coverage(self._parts, sections)
        cut = any(node.cut for node in nodes)
        answers = self._narrator.answers
        receipt = make_summary_receipt(
            self.documents,
            method=method,
            read_exactly=all(answer.receipt.exact for answer in answers),
            tokens=len(self._tokens.token_ids),
            kv_dtype=self.plan.kv_dtype,
            num_parts=self.num_parts,
            parts_together=self._plan.together(self.num_parts),
            part_tokens=self._plan.cut_tokens,
            levels=levels,
            merges=self._work.merges if self._work else 0,
            nodes=nodes,
            resumed=self._saved.resumed,
            sections=sections,
            coverage=coverage,
            notes=self._narrator.notes,
        )
        return Summary(
            summary="\n\n".join(_with_title(section) for section in sections),
            style=self._wish.style,
            focus=self._wish.focus,
            sections=tuple(sections),
            coverage=coverage,
            complete=not cut,
            finish_reason="length" if cut else "stop",
            receipt=receipt,
            plan=self.plan,
            memory=self._narrator.memory(self.plan),
            timing=self._narrator.timing(time.perf_counter() - started),
            model=self._narrator.model(),
        )

    def forget(self) -> None:
        """Removes what was saved on the way."""
        self._saved.forget()

    def _at_once(self) -> tuple[list[Node], list[Section], str, int]:
        wish = self._wish
        sizes = wish.words, self._plan.answer_tokens
        draft = self._narrator.write(Order(self.documents, self._requests()[0], *sizes, self._observer))
        draft = without_inventions(draft, "\n\n".join(part.text for part in self._parts))
        last = len(self._parts) - 1
        if draft.usable:
            node = Node(0, last, draft.text, (), MODEL, draft.cut, draft.looped, draft.invented)
        else:
            sentences = [sentence for document in self.documents for sentence in sentences_of(document.pages)]
            chosen = choose_sentences(sentences, wish.focus, wish.words)
            text = "\n".join(sentence.text for sentence in chosen) or self._parts[0].text
            node = Node(0, last, text, (), REPLACED, invented=draft.invented)
        writer = "model" if node.origin == MODEL else "document"
        return [node], list(whole_sections(node.text, self.documents, wish.style, writer)), "exact", 0

    def _in_parts(self) -> tuple[list[Node], list[Section], str, int]:
        work = Work(
            self._narrator, self._saved, self._wish, self._plan, self._parts, self._observer, self._on_part
        )
        self._work, levels = work, 0
        numbers, first = [], 0
        for _, parts in self._cut:
            numbers.append(range(first, first + len(parts)))
            first += len(parts)
        targets = [self._target(unit, parts) for unit, parts in self._cut]
        units = list(zip(numbers, targets, strict=True))
        if self._wish.method == "incremental":
            nodes = []
            for of_unit, target in units:
                made, depth = merging.go_onward(work, of_unit, target, self._words)
                nodes += made
                levels = max(levels, depth)
        else:
            asked = [merging.asked_of_parts(work, *unit, self._words) for unit in units]
            made = work.summarize_parts(dict(chain.from_iterable(one.items() for one in asked)))
            mapped = [(made[of_unit.start : of_unit.stop], target) for of_unit, target in units]
            nodes, levels = merging.merge_levels(work, mapped, self._words)
        method = self._wish.method if levels or self._wish.method == "incremental" else "parts"
        return work.nodes, list(self._sections(nodes)), method, levels

    def _sections(self, nodes: Sequence[Node]) -> "chain[Section]":
        titles: dict[int, str | None] = {}
        points: dict[int, int] = {}
        first = 0
        for unit, parts in self._cut:
            for number in range(first, first + len(parts)):
                titles[number] = unit.title
                points[number] = -(-self._target(unit, parts) // len(parts))
            first += len(parts)
        return chain.from_iterable(
            node_sections(node, self._parts, self._wish.style, points[node.first], titles[node.first])
            for node in nodes
        )

    def _target(self, unit: Unit, parts: Sequence[Part]) -> int:
        """How many sections a unit should have: a chapter one, a document its share."""
        if unit.title is not None:
            return 1
        return max(1, round(self._wish.num_sections * len(parts) / len(self._parts)))

    def _section_words(self) -> int:
        if self._wish.style == "chapters" and len(self._units) > 1:
            return max(LEAST_CHAPTER_WORDS, self._wish.words // len(self._units))
        return max(1, self._wish.words // self._wish.num_sections)

    def _requests(self) -> list[str]:
        """All that may be asked; the first is for what is read at once."""
        wish, count = self._wish, self._wish.num_sections
        whole = summary_request(wish, wish.words)
        if count > 1:
            whole = (
                points_request(wish, count) if wish.style == "bullets" else paragraphs_request(wish, count)
            )
        return [whole, onward_request(wish, wish.words), points_request(wish, count)]

    def _how(self) -> str:
        if self._wish.method == "incremental":
            return "each in the light of what came before"
        together = self._plan.together(len(self._parts))
        times = f"{together} at a time; " if together > 1 else ""
        return f"{times}their summaries are merged where they are more than wanted"

    def _key(self) -> dict[str, object]:
        """All that decides what is written."""
        wish, files = self._wish, self._host.files
        pages = [
            (span.document.source, span.page.number, span.page.label, span.start)
            for span in self._tokens.spans
        ]
        text = hashlib.sha256(repr((pages, self._tokens.token_ids)).encode()).hexdigest()
        weights = sorted(files.path.iterdir()) if files.path.is_dir() else [files.path]
        stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights]
        return {
            "model": [files.name, hashlib.sha256(repr(stamps).encode()).hexdigest()],
            "computed": [self._host.dtype_name, self._host.device.type, self._settings.weights],
            "wish": [wish.words, wish.style, wish.focus, wish.method],
            "tokens": [self._plan.part_tokens, self._plan.note_tokens, self._plan.answer_tokens],
            "text": text,
        }


def summarize(
    documents: Sequence[Document],
    settings: ReadSettings,
    *,
    length: str = "medium",
    style: str = "prose",
    focus: str | None = None,
    method: str = "hierarchical",
    part_tokens: int | None = None,
    observer: Observer = silent,
    on_note: Callable[[str], None] = lambda note: None,
) -> Summary:
    """The summary of documents of any length; arguments are those of Wish and Summarizer. Interrupted, the same call
    goes on from the last finished part."""
    wish = Wish(length, style, focus, method, part_tokens)
    summarizer = Summarizer(documents, settings, wish, observer=observer, on_note=on_note)
    summary = summarizer.run()
    summarizer.forget()
    return summary


def _with_title(section: Section) -> str:
    return f"{section.title}\n{section.text}" if section.title else section.text
