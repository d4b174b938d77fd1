"""Ways to answer from a text of any length, as a user would have it: read in parts, and what others do instead."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import zip_longest

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document
from lcdoc.evaluate.reply import Reply
from lcdoc.fusion.excerpt import choose, excerpt
from lcdoc.fusion.lexical import WordIndex
from lcdoc.fusion.spans import SPAN_TOKENS, Span, cut_spans
from lcdoc.tasks.answer import Answer
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.host import Host
from lcdoc.tasks.parts_plan import EXCERPT_TOKENS, IN_PARTS, KV, PARTS
from lcdoc.tasks.parts_reading import PartsReading
from lcdoc.tasks.progress import Observer
from lcdoc.tasks.room import Need, context_window
from lcdoc.tokens import Prompt, TokenizedDocument, tokenize

# What lcdoc does, both ways; only the spans with a question's words, found without reading; only what comes first.
WORDS, FIRST = "words", "first"
WHOLE_MODES = (PARTS, KV, WORDS, FIRST)

# Only what stands around the sentence that is asked for: what the model can say at all.
NEAR = "near"
NEEDLE_MODES = (*WHOLE_MODES, NEAR)
NEAR_TOKENS = 2000


def whole_replies(
    mode: str,
    host: Host,
    settings: ReadSettings,
    document: Document,
    questions: Sequence[str],
    sought: Sequence[str],
    answer_tokens: int,
    observer: Observer,
) -> Iterator[Reply]:
    """An answer to each question, in one of NEEDLE_MODES. settings: of the host. sought: for each question the sentence
    that answers it; NEAR alone looks at them. Raises what Reading raises."""
    documents = [document]
    if mode in IN_PARTS:
        reading = PartsReading(
            documents,
            replace(settings, mode="auto", fusion=mode),
            max_new_tokens=answer_tokens,
            questions=questions,
            observer=observer,
            host=host,
        )
        for question in questions:
            answer = reading.ask(question, Sampling(), lambda text: None)
            yield _reply(answer, reading.passages(question))
        return
    tokens = tokenize(host.tokenizer, documents)
    for question, sentence in zip_longest(questions, sought):
        started = time.perf_counter()
        short = excerpt(documents, _chosen(mode, host, tokens, question, sentence, answer_tokens))
        again = Reading(
            short,
            replace(settings, mode="auto", extend="none", fusion="off"),
            max_new_tokens=answer_tokens,
            questions=[question],
            observer=observer,
            host=host,
        )
        waited_s = time.perf_counter() - started
        yield _reply(again.ask(question, Sampling(), lambda text: None), short, waited_s)


def _reply(answer: Answer, seen: Sequence[Document], waited_s: float = 0.0) -> Reply:
    text = "\n".join(page.text for document in seen for page in document.pages)
    return Reply(answer.answer.strip(), waited_s + answer.timing.ttft_s, answer.memory.kv_bytes, text)


def _chosen(
    mode: str, host: Host, tokens: TokenizedDocument, question: str, sentence: str | None, answer_tokens: int
) -> list[Span]:
    """With WORDS as many spans as are read again after reading in parts, with FIRST as many as the window holds, with
    NEAR those around the sentence."""
    need = Need.of(Prompt.from_tokenizer(host.tokenizer), tokens, [question], answer_tokens)
    room = context_window(host.config) - need.prompt_tokens - answer_tokens
    spans = cut_spans(tokens, min(SPAN_TOKENS, room // 2))
    if mode == FIRST:
        return [span for span in spans if span.stop <= room]
    if mode == NEAR:
        assert sentence, "this way is for questions whose answer's place is known"
        return _around(spans, sentence, min(NEAR_TOKENS, room) // 2)
    scores = WordIndex([span.text for span in spans]).scores(question)
    return choose(spans, scores, min(EXCERPT_TOKENS, room))


def _around(spans: Sequence[Span], sentence: str, reach: int) -> list[Span]:
    """The span that the sentence begins in, and those within so many tokens on both sides."""
    begins = ((span, span.page.page.text.find(sentence)) for span in spans)
    middle = next(span for span, char in begins if 0 <= char < span.char_stop)
    return [span for span in spans if middle.start - reach < span.stop <= middle.stop + reach]
