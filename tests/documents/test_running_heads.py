"""Headers and footers go only when they truly run through the document."""

from lcdoc.documents.running_heads import remove_running_heads

BODY = [
    "The first line of the body of page {}.",
    "A second line.",
    "A third line that is longer.",
    "More of it.",
    "And more.",
    "The end of it, of {}.",
]
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


def page(number: int, top: str, bottom: str) -> str:
    return "\n".join([top, *(line.format(WORDS[number]) for line in BODY), bottom])


def test_numbered_headers_go_and_name_the_pages() -> None:
    pages = [page(number, "Annual Report", f"{number + 7}") for number in range(10)]
    cleaned, printed = remove_running_heads(pages)
    assert cleaned[0].startswith("Annual Report\nThe first line of the body of page alpha.")
    assert cleaned[5].startswith("The first line of the body of page zeta.")
    assert cleaned[5].endswith("The end of it, of zeta.")
    assert printed == {number: str(number + 7) for number in range(10)}


def test_left_and_right_pages_may_differ() -> None:
    pages = [page(n, f"{n} The Book" if n % 2 else f"Chapter Title {n}", "") for n in range(10)]
    cleaned, _ = remove_running_heads(pages)
    assert [text.startswith("The first line") for text in cleaned] == [False, False] + [True] * 8


def test_roman_numbers_count_pages_too() -> None:
    numerals = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x"]
    cleaned, _ = remove_running_heads([page(n, "Heading of a page", numerals[n]) for n in range(10)])
    assert cleaned[3].endswith("The end of it, of delta.")


def test_rows_of_figures_stay() -> None:
    figures = [311, 48, 270, 94, 512, 33, 871, 60, 145, 29]
    pages = [page(number, f"Total {figures[number]}", "") for number in range(10)]
    assert remove_running_heads(pages)[0] == [text.strip("\n") for text in pages]


def test_lines_on_few_pages_stay() -> None:
    pages = [page(n, "Exhibit" if n < 3 else f"Other {WORDS[n]}", "") for n in range(10)]
    assert remove_running_heads(pages)[0] == [text.strip("\n") for text in pages]


def test_equal_lines_inside_the_body_stay() -> None:
    pages = [page(number, "", "").replace("A third", "Signed\nA third") for number in range(10)]
    assert all("Signed" in text for text in remove_running_heads(pages)[0])


def test_short_pages_lose_headers_but_never_everything() -> None:
    pages = [page(number, "Annual Report", "") for number in range(8)]
    cleaned, _ = remove_running_heads([*pages, "Annual Report\nFigure 3", "Annual Report"])
    assert cleaned[8:] == ["Figure 3", "Annual Report"]


def test_equal_short_pages_are_left_alone() -> None:
    assert remove_running_heads(["Ticket\nRow 1"] * 10)[0] == ["Ticket\nRow 1"] * 10
