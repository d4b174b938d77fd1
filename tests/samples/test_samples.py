"""The sample documents: what is read from them, and that the default model answers the README's question."""

from pathlib import Path

import pytest
from pypdf import PdfReader

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents import Document, load_document

SAMPLES = Path(__file__).parents[2] / "samples"
REPORT = SAMPLES / "us-economy-2008-q3.pdf"
QUESTION = "what changed in Q3?"
MAX_SAMPLES_BYTES = 1_000_000


@pytest.fixture(scope="module")
def report() -> Document:
    return load_document(str(REPORT))


def page(report: Document, label: str) -> str:
    """The text of the page with this printed number, on one line."""
    [text] = [page.text for page in report.pages if page.label == label]
    return " ".join(text.split())


def test_report_pages_carry_their_printed_labels(report):
    assert [page.label for page in report.pages] == ["i", "ii", *(str(number) for number in range(1, 12))]
    assert [page.number for page in report.pages] == list(range(1, 14))
    assert report.title == "The United States Economy: Quarterly report, third quarter of 2008"


def test_every_page_of_the_report_is_read_without_a_warning(report):
    assert report.unread == ()
    assert report.warnings == ()
    assert all(page.text and not page.warnings for page in report.pages)


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("1", "Real GDP fell by 0.7 percent in Q3."),
        (
            "2",
            "Real GDP was $13.32 trillion in the third quarter, after $13.42 trillion in the second quarter.",
        ),
        ("2", "was last seen in the fourth quarter of 1990."),
        ("4", "Private investment fell by 1.8 percent in the third quarter of 2008."),
        (
            "5",
            "The inflation rate was -3.2 percent in the third quarter, after 8.5 percent in the second quarter.",
        ),
        ("6", "The money stock M1 grew by 4.6 percent in the third quarter of 2008."),
        ("7", "The unemployment rate was 6.0 percent in the third quarter of 2008, after 5.4 percent"),
        ("11", "real GDP fell by 0.7 percent and that unemployment rose to 6.0 percent."),
    ],
)
def test_report_page_states(report, label, sentence):
    assert sentence in page(report, label)


def test_tables_of_the_report_keep_their_rows(report):
    text = page(report, "8")
    assert "2008 Q3 13,325 9,268 1,991 992 9,838" in text
    assert "2008 Q3 216.9 -3.2 1,474.7 1.17 6.0" in text


def test_running_head_and_page_numbers_stay_out_of_the_text(report):
    with_head = [page.label for page in report.pages if "Economy, third quarter of 2008" in page.text]
    assert with_head == ["ii"]
    last_lines = {page.label: page.text.splitlines()[-1] for page in report.pages}
    assert not [label for label, line in last_lines.items() if line == label]


def test_report_has_an_outline_of_its_pages():
    reader = PdfReader(REPORT)
    pages = {entry.title: reader.get_destination_page_number(entry) for entry in reader.outline}
    assert len(pages) == 13
    assert pages["Contents"] == 1
    assert pages["1. What changed in the third quarter (Q3)"] == 2
    assert pages["11. Conclusion: what changed in Q3"] == 12


def test_letter_is_read_whole():
    letter = load_document(str(SAMPLES / "frankenstein-letter-1.txt"))
    text = "".join(page.text for page in letter.pages)
    assert text.startswith("Frankenstein; or, the Modern Prometheus")
    assert text.rstrip().endswith("R. Walton")


def test_samples_stay_small():
    assert sum(path.stat().st_size for path in SAMPLES.glob("*") if path.is_file()) < MAX_SAMPLES_BYTES


@pytest.mark.model
def test_default_model_answers_the_readme_question(report):
    from lcdoc.tasks.ask import Reading

    reading = Reading([report], ReadSettings(device="cpu"), questions=[QUESTION])
    answer = reading.ask(QUESTION, Sampling(), lambda text: None)
    assert answer.complete
    assert "real GDP fell by 0.7 percent" in answer.answer
    assert "unemployment rose to 6.0 percent" in answer.answer
    assert answer.receipt.tokens_read == answer.receipt.tokens_total
