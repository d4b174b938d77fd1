"""Spans and parts: every token once, every character where it stands, pages whole where they have room."""

from itertools import pairwise

import pytest

from lcdoc.fusion.parts import cut_parts
from lcdoc.fusion.spans import cut_spans


@pytest.mark.parametrize("max_tokens", [8, 63, 250, 10_000])
def test_spans_are_the_whole_text_within_its_pages(tokens, max_tokens):
    spans = cut_spans(tokens, max_tokens)
    assert spans[0].start == 0 and spans[-1].stop == len(tokens.token_ids)
    assert all(before.stop == after.start for before, after in pairwise(spans))
    assert all(0 < span.num_tokens <= max_tokens for span in spans)
    assert all(span.page.start <= span.start and span.stop <= span.page.stop for span in spans)


@pytest.mark.parametrize("max_tokens", [8, 63, 250])
def test_the_text_of_a_pages_spans_is_the_pages_text(tokens, max_tokens):
    spans = cut_spans(tokens, max_tokens)
    for page in tokens.spans:
        own = [span for span in spans if span.page is page]
        assert "".join(span.text for span in own) == page.page.text
        assert all(span.text == page.page.text[span.char_start : span.char_stop] for span in own)


def test_a_spans_tokens_say_its_text(tokens, tokenizer):
    for span in cut_spans(tokens, 63):
        if span.page.document.source != "odd.txt" and span.start > span.page.start:
            said = tokenizer.decode(tokens.token_ids[span.start : span.stop])
            assert said.strip() == span.text.strip()


def test_spans_end_where_sentences_do(tokens):
    spans = [span for span in cut_spans(tokens, 250) if span.page.page.number == 2][:-1]
    assert len(spans) > 3
    assert sum(span.text.rstrip()[-1] in ".!?" or span.text.endswith("\n") for span in spans) > len(spans) / 2


@pytest.mark.parametrize("max_tokens", [250, 400, 3000])
def test_parts_hold_every_span_once_and_divide_no_page_that_has_room(tokens, max_tokens):
    spans = cut_spans(tokens, 200)
    parts = cut_parts(spans, max_tokens)
    assert [span for part in parts for span in part] == spans
    sizes = [sum(span.num_tokens for span in part) for part in parts]
    assert all(0 < size <= max_tokens for size in sizes)
    for page in tokens.spans:
        holding = [part for part in parts if any(span.page is page for span in part)]
        if page.stop - page.start <= max_tokens:
            assert len(holding) == 1
    for part, following in pairwise(parts):
        first, size = following[0], sum(span.num_tokens for span in part)
        begins = first.start == first.page.start
        wanted = first.page.stop - first.page.start if begins else first.num_tokens
        assert size + wanted > max_tokens
