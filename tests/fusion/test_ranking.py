"""Words in common, judgements joined, and what is chosen and put together from them."""

import pytest

from lcdoc.fusion import lexical
from lcdoc.fusion.excerpt import BETWEEN_TOKENS, choose, excerpt
from lcdoc.fusion.ranking import fuse, ranks_of
from lcdoc.fusion.spans import cut_spans
from lcdoc.tokens import tokenize


def test_rare_words_find_a_planted_sentence(tokens):
    texts = [span.text for span in cut_spans(tokens, 100)]
    texts[7] += " The special magic number for copper is 3254257. "
    scores = lexical.WordIndex(texts).scores("What is the special magic number for Copper?")
    assert max(range(len(texts)), key=scores.__getitem__) == 7
    assert scores[7] > 2 * sorted(scores)[-2]


@pytest.mark.parametrize("question", ["", "?!", "zyzzyva"])
def test_without_words_in_common_there_is_no_score(question):
    assert lexical.WordIndex(["some text", "", "..."]).scores(question) == [0.0, 0.0, 0.0]
    assert lexical.WordIndex(["", "..."]).scores("text") == [0.0, 0.0]


def test_scripts_without_spaces_are_taken_by_letters():
    assert lexical.words_of("Caf\u00e9-7 \u4e2d\u6587\u3002") == ["caf\u00e9", "7", "\u4e2d", "\u6587"]
    scores = lexical.WordIndex(["\u4e2d\u6587\u3002", "abc", "\u4e2d\u56fd"]).scores("\u6587\u5b57")
    assert scores[0] > 0 and scores[1:] == [0.0, 0.0]


def test_ranks_are_shared_by_equals_and_not_given_for_nothing():
    assert ranks_of([5.0, 9.0, 5.0, 0.0, -1.0]) == [2, 1, 2, None, None]


def test_what_both_judges_like_comes_first_and_a_judge_without_an_opinion_is_not_asked():
    fused = fuse([0.9, 0.5, 0.1, -1.0], [0.0, 7.0, 8.0, 9.0])
    assert set(sorted(range(4), key=fused.__getitem__)[2:]) == {1, 2}
    first, second, third = fuse([3.0, 2.0, 1.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0])
    assert first == second == third  # the judges count alike
    assert fuse([0.0] * 3, [1.0, 3.0, 2.0]) == fuse([1.0, 3.0, 2.0], [0.0] * 3)
    assert fuse([0.0, 0.0], [0.0, 0.0]) == [0.0, 0.0]


def test_the_best_are_chosen_while_there_is_room_and_one_in_any_case(tokens):
    spans = cut_spans(tokens, 100)
    scores = [float(idx % 7) for idx in range(len(spans))]
    chosen = choose(spans, scores, 500)
    assert sum(span.num_tokens + BETWEEN_TOKENS for span in chosen) <= 500
    assert len(chosen) > 3 and all(scores[spans.index(span)] == 6 for span in chosen[:3])
    assert len(choose(spans, scores, 1)) == 1


def test_an_excerpt_is_word_for_word_in_order_on_its_own_pages(tokens):
    documents = list({id(span.document): span.document for span in tokens.spans}.values())
    spans = [span for span in cut_spans(tokens, 100) if span.page.document is documents[0]]
    second = [span for span in spans if span.page.page.number == 2]
    fourth = next(span for span in spans if span.page.page.number == 4)
    first, other = excerpt(documents, [fourth, second[4], second[0], second[1]])
    assert [page.number for page in first.pages] == [2, 4] and other.pages == ()
    assert first.pages[0].text == (
        (second[0].text + second[1].text).rstrip() + "\n...\n" + second[4].text.rstrip() + "\n...\n"
    )
    assert first.pages[1].text == fourth.text
    assert (first.source, first.num_pages, first.unit) == ("novel.pdf", 5, "page")


def test_an_excerpt_of_one_of_several_files_names_it(tokens, tokenizer):
    documents = list({id(span.document): span.document for span in tokens.spans}.values())
    chosen = [span for span in cut_spans(tokens, 100) if span.page.page.number == 2][3:4]
    text = tokenizer.decode(tokenize(tokenizer, excerpt(documents, chosen)).token_ids)
    assert text.startswith("File: novel.pdf\n\n[Page 2]\n")
