"""HTML: main text in sections, tables as rows, no menus or scripts."""

from collections.abc import Callable

from lcdoc.documents import Document, load_document


def body(write: Callable[..., str], markup: str) -> str:
    document = load_document(write("page.html", f"<!doctype html><body>{markup}</body>".encode()))
    return "\n\n".join(page.text for page in document.pages)


def test_wikipedia_sections_are_labelled_by_their_headings(wikipedia: Document) -> None:
    assert (wikipedia.format, wikipedia.unit) == ("html", "section")
    assert wikipedia.title == "Microsoft - Wikipedia"
    labels = [page.label for page in wikipedia.pages]
    assert labels[:4] == [
        "Microsoft",
        "History",
        "1972–1985: Founding",
        "1985–1994: Windows and Office",
    ]
    assert labels[-3:] == ["See also", "References", "External links"]
    security = wikipedia.pages[labels.index("Security challenges")].text
    assert security.startswith("Security challenges\n\nOn a Friday afternoon in January 2024, Microsoft")


def test_wikipedia_tables_keep_rows_together(wikipedia: Document) -> None:
    rows = wikipedia.pages[0].text.split("\n")
    assert "Founded | April 4, 1975; 48 years ago in Albuquerque, New Mexico, U.S." in rows
    assert "Number of employees | 221,000 (2023)" in rows
    financial = next(page for page in wikipedia.pages if page.label == "Financial").text
    assert "2023 | 211,915 | 73,307 | 411,976 | 238,000" in financial


def test_wikipedia_menus_and_scripts_are_gone(wikipedia: Document) -> None:
    text = "\n".join(page.text for page in wikipedia.pages)
    for menu in ("Jump to content", "Toggle the table of contents", "Random article", "[edit]", "Hidden cat"):
        assert menu not in text
    assert "RLCONF" not in text
    assert ".mw-parser-output" not in text


def test_menus_go_and_an_articles_own_header_stays(write: Callable[..., str]) -> None:
    markup = (
        "<header>Site name</header><nav><a href=/>Home</a></nav>"
        "<article><header><h1>The title</h1></header><p>The text.</p></article>"
        "<article><p>More text.</p><footer>By the author</footer></article>"
        "<footer>Imprint</footer><script>var x = 1</script><div hidden>Never shown</div>"
    )
    assert body(write, markup) == "The title\n\nThe text.\n\nMore text.\n\nBy the author"


def test_a_page_of_menus_alone_is_still_read(write: Callable[..., str]) -> None:
    assert body(write, "<header>Only this</header>") == "Only this"


def test_spanning_cells_keep_columns_in_place(write: Callable[..., str]) -> None:
    markup = (
        "<table><tr><th>Region</th><th colspan=2>Sales</th><th>Total</th></tr>"
        "<tr><td rowspan=2>North</td><td>1</td><td>2</td><td>3</td></tr>"
        "<tr><td>4</td><td>5</td><td>9</td></tr></table>"
    )
    assert body(write, markup) == "Region | Sales |  | Total\nNorth | 1 | 2 | 3\nNorth | 4 | 5 | 9"


def test_lists_breaks_and_preformatted_text(write: Callable[..., str]) -> None:
    markup = (
        "<p>One<br>two\n  three</p>"
        "<ol start=3><li>c<ul><li>inner</li></ul></li><li>d</li></ol><pre>a\n  b</pre>"
    )
    assert body(write, markup) == "One\ntwo three\n\n3. c\n  - inner\n4. d\n\na\n  b"


def test_nesting_of_any_depth_is_read(write: Callable[..., str]) -> None:
    assert body(write, "<div>" * 20_000 + "deep" + "</div>" * 20_000) == "deep"


def test_declared_encoding_is_obeyed(write: Callable[..., str]) -> None:
    markup = '<html><head><meta charset="windows-1251"></head><body><p>Привет</p></body></html>'
    document = load_document(write("a.html", markup.encode("cp1251")))
    assert (document.pages[0].text, document.warnings) == ("Привет", ())


def test_long_sections_are_cut_in_parts(write: Callable[..., str]) -> None:
    paragraphs = "".join(f"<p>{'Words of a paragraph. ' * 50}</p>" for _ in range(10))
    document = load_document(write("a.html", f"<html><h2>Long</h2>{paragraphs}<h2>Short</h2>x".encode()))
    assert [page.label for page in document.pages] == ["Long, part 1", "Long, part 2", "Short"]
