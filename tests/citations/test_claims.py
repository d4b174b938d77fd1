"""lcdoc.citations.checker: what is found of quotes, figures, negations and page numbers, and what is left alone."""

import pytest

from lcdoc.citations.checker import Checker
from lcdoc.citations.claim import Claim
from lcdoc.documents.document import Document, Page

PAGES = (
    Page(1, "i", "The committee met in March. Revenue rose to $4.2 million in the third quarter of 2019."),
    Page(
        2,
        "1",
        "It was agreed that the \u201cnorth-east\u201d line be closed \u2014 at once.\nCosts fell by 3%. The "
        "engineers did not inspect the older bridge before the winter",
    ),
    Page(3, "2", "of that year. It was not possible to hire 1,234 drivers, as Dr. Nakamura had warned."),
)
CHECKER = Checker([Document("report.pdf", "pdf", "page", PAGES, 3)])


def claims(answer: str) -> list[Claim]:
    return CHECKER.claims(answer)


def quotes(answer: str) -> list[tuple[str, int | None, bool]]:
    """Status, first page and whether it is supported, of each quotation."""
    return [
        (claim.status, claim.place.first.number if claim.place else None, claim.supported)
        for claim in claims(answer)
        if claim.kind == "quote"
    ]


@pytest.mark.parametrize(
    ("quote", "page"),
    [
        ('"Revenue rose to $4.2 million"', 1),
        ('"revenue rose to $4.2 million,"', 1),
        ("\u201cline be closed - at once.  Costs fell by 3%\u201d", 2),
        ("\u00abthe 'north\u2011east' line be closed\u00bb", 2),
        ('"It was agreed ... be closed"', 2),
        ('"[T]he committee met in March."', 1),
        ('"inspect the older bridge before the winter of that year"', 2),
    ],
    ids=["letter", "case and comma", "typography", "marks", "ellipsis", "bracket", "two pages"],
)
def test_true_quotes_are_verified(quote: str, page: int) -> None:
    assert quotes(f"It says {quote} there.") == [("verified", page, True)]


@pytest.mark.parametrize(
    ("quote", "problem"),
    [
        ("Revenue rose to $4.3 million in the third", '"4.3" is "4.2" in the source'),
        ("It was possible to hire 1,234 drivers", 'leaves out "not"'),
        ("The engineers did inspect the older bridge", 'leaves out "not"'),
        ("The committee never met in March. Revenue", '"never" is not in the source'),
    ],
)
def test_changed_quotes_are_repaired_with_the_sources_words(quote: str, problem: str) -> None:
    (claim,) = claims(f'It says "{quote}".')
    assert (claim.status, claim.problems, claim.supported) == ("repaired", (problem,), False)
    assert claim.place is not None and claim.place.words in "\n".join(page.text for page in PAGES)


def test_a_quote_that_differs_by_punctuation_alone_is_repaired_and_supported() -> None:
    assert quotes('"to hire 1,234 drivers as Dr Nakamura had warned"') == [("repaired", 3, True)]


def test_an_invented_quote_names_no_page() -> None:
    assert quotes('It says "the whale was sighted off Java Head".') == [("unverified", None, False)]


def test_quotes_begin_and_end_with_whole_words() -> None:
    assert quotes('It was "possible to hire 1,23"') != [("verified", 3, True)]
    assert (
        Checker([Document("a.txt", "text", "lines", (Page(1, "line 1", "It was impossible to say."),), 1)])
        .claims('"possible to say"')[0]
        .status
        == "repaired"
    )


def test_short_quotations_are_not_looked_up() -> None:
    assert quotes('It says "rose" and "in March".') == []


@pytest.mark.parametrize(
    ("reference", "supported"),
    [
        ("(p. 2)", True),
        ("(page 1)", True),  # as labelled
        ("[pp. 1-2]", True),
        ("(p. i)", False),
        ("(p. 3)", False),
        ("(page 17)", False),
        ("[^1]\n\n[^1]: report.pdf, p. 2", True),
        ("[1]\n\n[1] report.pdf p. 3 (label 2)", False),
    ],
)
def test_named_pages_are_checked(reference: str, supported: bool) -> None:
    assert quotes(f'We read "line be closed \u2014 at once" {reference}')[0] == ("verified", 2, supported)


@pytest.mark.parametrize(
    ("sentence", "status"),
    [
        ("The committee met in March.", "verified"),
        ("In 2019, revenue was 4.2 million.", "supported"),
        ("In 2019, revenue was 4.8 million.", "unsupported"),
        ("In 2019, revenue was 4.2 million (p. 3).", "unsupported"),
        ("The report says that the engineers did inspect the older bridge before winter.", "unsupported"),
        ("The report says that the engineers did not inspect the older bridge before winter.", "unchecked"),
        ("They could not hire 1234 drivers.", "supported"),
        ("It was possible to hire 1234 drivers.", "unsupported"),
        ("They meant well.", "unchecked"),
    ],
)
def test_sentences_in_own_words(sentence: str, status: str) -> None:
    assert [claim.status for claim in claims(sentence)] == [status]


def test_figures_and_names_beside_a_quote_are_looked_up_on_its_page() -> None:
    assert all(claim.supported for claim in claims('In 2019, it says, "Revenue rose to $4.2 million".'))
    wrong = claims('In 2018, says Zacharias, "Revenue rose to $4.2 million".')[1]
    assert wrong.problems == ("2018 is not there", "Zacharias stands nowhere in the documents")
    elsewhere = claims('In 2019, says Nakamura, "Revenue rose to $4.2 million".')[1]
    assert (elsewhere.supported, elsewhere.notes) == (True, ("Nakamura is not on the page",))


def test_abbreviations_and_figures_do_not_end_sentences() -> None:
    answer = "Dr. Nakamura warned of it on p. 2. They could not hire 1,234 drivers."
    assert len(claims(answer)) == 2


@pytest.mark.parametrize(
    "answer",
    [
        '"' * 50_000,
        '"the ... ' + "of ... " * 5_000 + '"',
        "p. 1, " * 8_000,
        "one hundred and " * 3_000,
        "[1] a\n" * 8_000,
    ],
    ids=["marks", "ellipses", "pages", "number words", "footnotes"],
)
def test_odd_answers_come_to_an_end(answer: str) -> None:
    assert all(isinstance(claim, Claim) for claim in claims(answer))
