"""Drafts: what small models write is ended where it loops, and taken only where it tells something."""

import pytest

from lcdoc.tasks.summarize.draft import Draft, has_enough, lines_of, without_loops
from lcdoc.tasks.summarize.inventions import without_inventions
from lcdoc.tasks.summarize.sentences import Sentence, choose_sentences, cut_sentences, find_evidence


@pytest.mark.parametrize(
    "text,kept",
    [
        (
            "The ship sailed north. It froze. The ship sailed north. It froze.",
            "The ship sailed north. It froze.",
        ),
        ("He said that he was and he was and he was and he was", "He said that he was and"),
        ("bla bla bla bla bla bla bla", "bla"),
        (
            "The story is a testament to the value of kindness. The story is a tale to the value of kindness. More.",
            "The story is a testament to the value of kindness.",
        ),
        ("Revenue was 5 in the third quarter of 2008. Revenue was 7 in the fourth quarter of 2008.", None),
        ("One came. Two came. Three came.", None),
    ],
)
def test_loops_end_a_text(text, kept):
    assert without_loops(text) == (text if kept is None else kept, kept is not None)


def test_a_draft_ends_with_its_last_whole_sentence():
    assert Draft.of("The ice broke. The men were", cut=True) == Draft("The ice broke.", True, False)
    assert Draft.of("The ice broke and the men were", cut=True).text == "The ice broke and the men were"
    assert (
        Draft.of("**Summary:** The *ice* broke near Dr. No.", cut=False).text
        == "The *ice* broke near Dr. No."
    )


@pytest.mark.parametrize("text", ["", "bla", "?? !! 12 -- 7 8 9 0 0 1", "Yes."])
def test_what_tells_nothing_is_not_usable(text):
    assert not Draft.of(text, cut=False).usable


def test_a_request_said_again_is_not_usable():
    request = "Provide a concise summary of the input text in one short sentence, focusing on key actions."
    draft = Draft.of(
        "Provide a concise summary of the text in one short sentence.", cut=False, request=request
    )
    assert not draft.usable and draft.looped


def test_words_of_any_script_are_usable():
    assert Draft.of("The ice broke at noon.", cut=False).usable
    assert Draft.of("船は氷の中で動けなくなった。", cut=False).usable


def test_enough_is_enough_at_the_end_of_a_sentence():
    assert has_enough("The ice broke at noon.", 5) and not has_enough("The ice broke at noon and", 5)
    assert has_enough("a b a b a b a b", 100)


def test_points_lose_their_marks():
    assert lines_of("- One\n* Two\n3. Three\n\n-\n(4) Four") == ["One", "Two", "Three", "Four"]


def test_sentences_end_where_they_end():
    text = "Mr. Ames met Dr. B. Low at 3.15 p.m. there. \u201cGo!\u201d he\nsaid. Was it late?\n\nA heading\n\nYes"
    assert cut_sentences(text) == [
        "Mr. Ames met Dr. B. Low at 3.15 p.m. there.",
        "\u201cGo!\u201d",
        "he said.",
        "Was it late?",
        "A heading",
        "Yes",
    ]


def test_evidence_is_what_shares_rare_words():
    texts = [f"The captain wrote about the {name} on that day." for name in ("whale", "storm", "cook", "ice")]
    texts.append("A Danish merchant bought eleven barrels of copper in Bergen.")
    sentences = [Sentence(None, text) for text in texts]
    [found] = find_evidence("Copper was sold to a merchant from Bergen.", sentences, 3)
    assert found.text == texts[-1]
    assert find_evidence("Love is the meaning of the whole of life.", sentences, 3) == []
    [chosen] = choose_sentences(sentences, "copper", 5)
    assert chosen.text == texts[-1]


def test_sentences_that_name_what_their_source_does_not_are_left_out():
    source = (
        "I met Clerval at Ingolstadt, and my father wrote to Elizabeth on the 12th of May that he was well."
    )
    names = "- He meets Clerval in Ingolstadt.\n- Elizabeth Bennet weeps.\n"
    text = names + "- Letters came.\n- It is 2013. Elizabeth hears on May 12th."
    left = without_inventions(Draft(text, False, False), source)
    assert (
        left.text == "- He meets Clerval in Ingolstadt.\n- Letters came.\nElizabeth hears on May 12th."
        and left.invented == 2
    )
    german = "Die Schiffe lagen im Eis, und der Kapit\u00e4n wartete mit der Mannschaft auf Wind."
    kept = Draft("Ein Kapit\u00e4n wartet mit seinen Leuten auf Wind.", False, False)
    assert without_inventions(kept, german) == kept
