"""Long, ordinary PDFs: right text on right pages under right labels."""

from collections.abc import Callable
from pathlib import Path

from lcdoc.documents import Document, load_document


def test_epanet_has_all_pages_under_their_printed_labels(epanet: Document) -> None:
    assert (epanet.format, epanet.unit, epanet.num_pages, len(epanet.pages)) == ("pdf", "page", 190, 190)
    assert [page.number for page in epanet.pages] == list(range(1, 191))
    assert [page.label for page in epanet.pages[:10]] == [
        "I",
        "i",
        "ii",
        "iii",
        "iv",
        "v",
        "vi",
        "vii",
        "viii",
        "i",
    ]
    assert epanet.pages[31].label == "18"
    assert epanet.pages[-1].label == "176"
    assert epanet.unread == ()
    assert epanet.warnings == ()


def test_epanet_text_stands_on_its_page(epanet: Document) -> None:
    assert epanet.pages[0].text.startswith("EPA/600/R-20/133\nEPANET 2.2 User Manual\nLewis A. Rossman")
    assert "7.2 Setting the Map’s Dimensions" in epanet.pages[80].text
    assert "LINK PUMP02 1.5 AT TIME 16" in epanet.pages[150].text


def test_epanet_table_rows_keep_their_figures(epanet: Document) -> None:
    rows = epanet.pages[32].text.split("\n")
    assert "Globe valve, fully open 10.0" in rows
    assert "45 degree elbow 0.4" in rows
    assert "Cast Iron 130 – 140 0.85 0.012 – 0.015" in epanet.pages[31].text


def test_epanet_running_header_is_gone_but_for_its_first_page(epanet: Document) -> None:
    header = "EPANET USERS MANUAL, Release 2.2"
    assert sum(header in page.text for page in epanet.pages) == 1
    assert epanet.pages[31].text.startswith("The Hazen-Williams formula")
    assert epanet.pages[31].text.endswith("Vitrified Clay 110 0.013 – 0.015")


def test_raised_digits_are_no_digits_of_the_number_before(epanet: Document, geotopo: Document) -> None:
    assert "where 𝑅HIGH is set at 10⁸." in epanet.pages[125].text
    assert "(ft x 10⁻³)" in epanet.pages[31].text
    assert "Die Kugeloberfläche S² lässt sich durch strecken" in geotopo.pages[1].text


def test_cut_words_are_rejoined_and_compounds_keep_their_hyphen(epanet: Document, geotopo: Document) -> None:
    assert "the minor loss component of the general pipe head loss equation" in epanet.pages[125].text
    assert "it would require refactorizing" not in epanet.pages[125].text
    assert "the coefficient matrix ill-conditioned." in epanet.pages[125].text
    assert "the pressure-demand relation" in epanet.pages[30].text
    assert "ihre Übungsaufgaben und Lösungen" in geotopo.pages[1].text
    assert "in A5 (Schwarz-Weiß, Ringbindung)" in geotopo.pages[1].text


def test_geotopo_has_umlauts_formulas_and_labels(geotopo: Document) -> None:
    assert geotopo.num_pages == 117
    assert geotopo.title == "Geometrie und Topologie"
    assert [page.label for page in geotopo.pages[:5]] == ["i", "ii", "iii", "1", "2"]
    text = geotopo.pages[60].text
    assert "Jedes yi mit i = 0, . . . , d − 1" in text
    assert "Da X˜ einfach zusammenhängend ist, hängt p˜(z) nicht vom gewählten Weg γz ab." in text
    assert "Zwischenwertsatz, 107" in geotopo.pages[116].text


def test_no_page_holds_control_characters_or_ligatures(
    epanet: Document, geotopo: Document, register: Document
) -> None:
    text = "".join(page.text for document in (epanet, geotopo, register) for page in document.pages)
    assert not {char for char in text if (char < " " and char not in "\n\t") or char in "ﬁﬂﬀ\ufffe\u00ad\r"}


def test_register_reads_column_after_column(register: Document) -> None:
    text = " ".join(register.pages[0].text.split())
    places = [
        text.index(passage)
        for passage in (
            "DEPARTMENT OF TRANSPORTATION Federal Aviation Administration",
            "SUMMARY: The FAA proposes to supersede Airworthiness Directive (AD) 2018–23–51",
            "For Boeing service information identified in this NPRM, contact Boeing",
            "Examining the AD Docket You may examine the AD docket on the internet",
            "Background On October 29, 2018, a Boeing Model 737–8 airplane operated by Lion Air",
        )
    ]
    assert places == sorted(places)
    assert "wire separation safety standards. In addition to these four design changes" in " ".join(
        register.pages[1].text.split()
    )


def test_register_pages_are_called_by_their_printed_numbers(register: Document) -> None:
    assert [page.label for page in register.pages] == [str(number) for number in range(47698, 47713)]


def test_register_headers_and_footers_are_gone_but_body_stays(register: Document) -> None:
    assert register.pages[3].text.startswith("potential cause for unreliable airspeed")
    assert register.pages[3].text.endswith("trim wire routing installations.")
    assert register.pages[5].text.startswith("ESTIMATED COSTS—Continued")
    assert "Up to $3,790 ......... Up to $10,505 ....... Up to $766,865." in register.pages[5].text
    assert sum("VerDate Sep<11>2014" in page.text for page in register.pages) <= 2


def test_large_figures_are_named_as_not_read(register: Document) -> None:
    warned = {page.label: page.warnings for page in register.pages if page.warnings}
    assert list(warned) == ["47705", "47706", "47707", "47708", "47710", "47711"]
    assert warned["47705"] == ("a picture fills 52% of the page and is not read",)


def test_pages_asked_for_read_as_in_the_whole(docs: Path, register: Document) -> None:
    part = load_document(str(docs / "federal-register-2020-17221.pdf"), pages="2-3,15-")
    assert part.num_pages == 15
    assert part.pages == (register.pages[1], register.pages[2], register.pages[14])


def test_what_was_typed_into_a_pdf_is_read(make_pdf: Callable[..., bytes], write: Callable[..., str]) -> None:
    shown = b"BT /F1 12 Tf 5 5 Td (Rent is 950 euros a month) Tj ET"
    form = (
        b"<< /Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << /Font << /F1 3 0 R >> >> "
        b"/Length %d >>\nstream\n%s\nendstream" % (len(shown), shown)
    )
    box = b"<< /Type /Annot /Subtype /FreeText /Rect [100 500 300 520] /F 4 /AP << /N 100 0 R >> >>"
    pdf = make_pdf(
        [b"BT /F1 12 Tf 72 700 Td (Lease) Tj ET"], page_extra=b"/Annots [101 0 R]", objects=(form, box)
    )
    assert load_document(write("form.pdf", pdf)).pages[0].text == "Lease\nRent is 950 euros a month"


def test_an_empty_page_is_empty_not_unread(make_pdf: Callable[..., bytes], write: Callable[..., str]) -> None:
    document = load_document(write("blank.pdf", make_pdf([b"BT /F1 12 Tf 72 700 Td (Text) Tj ET", b""])))
    assert [(page.text, page.unread) for page in document.pages] == [("Text", None), ("", None)]


def test_a_page_of_shapes_is_unread(make_pdf: Callable[..., bytes], write: Callable[..., str]) -> None:
    outlines = b"".join(b"%d 10 5 5 re f\n" % left for left in range(60))
    document = load_document(write("x.pdf", make_pdf([b"BT /F1 12 Tf 72 700 Td (Text) Tj ET", outlines])))
    assert document.pages[1].unread == "drawing: shapes without text"
