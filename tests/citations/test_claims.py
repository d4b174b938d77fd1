"""lcdoc.citations: quotes find their page, to the letter or but for typography, and never by chance."""

from lcdoc.citations import find_quotes
from lcdoc.documents.document import Document, Page

PAGES = (
    Page(1, "i", "The committee met in March. Revenue rose to $4.2 million in the third quarter."),
    Page(
        2,
        "1",
        "It was agreed that the \u201cnorth-east\u201d line be closed \u2014 at once.\nCosts fell by 3%.",
    ),
)
DOCUMENT = Document("report.pdf", "pdf", "page", PAGES, 2)


def found(answer):
    return [(m.page.number if m.page else None, m.status, m.quote) for m in find_quotes(answer, [DOCUMENT])]


def test_a_quotation_to_the_letter_is_verified():
    answer = 'It says "Revenue rose to $4.2 million" there.'
    assert found(answer) == [(1, "verified", "Revenue rose to $4.2 million")]


def test_other_typography_and_line_ends_are_normalised():
    assert found("Its line be closed - at once, or so.") == []  # not a sentence of the source
    assert found("They wrote \u201cline be closed - at once. Costs fell by 3%\u201d then.") == [
        (2, "normalised", "line be closed - at once. Costs fell by 3%")
    ]


def test_an_invented_quotation_is_unverified_and_names_no_page():
    assert found('It says "Revenue fell to $4.2 million" there.') == [
        (None, "unverified", "Revenue fell to $4.2 million")
    ]


def test_a_sentence_taken_over_is_found_and_one_in_own_words_is_left():
    assert found("The committee met in March. So it did indeed meet.") == [
        (1, "verified", "The committee met in March")
    ]


def test_short_quotations_are_not_looked_up():
    assert found('It says "rose" and "in March".') == []
