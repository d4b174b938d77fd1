"""Words cut at line ends are rejoined; compounds keep their hyphen."""

import pytest

from lcdoc.documents.hyphens import rejoin_hyphens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("consec-\ntetuer elit", "consectetuer elit"),
        ("Übungsauf-\ngaben", "Übungsaufgaben"),
        ("work-\nhour, and 90 work-hours", "work-hour, and 90 work-hours"),
        ("re-\nport, a report", "report, a report"),
        ("RE-\nPORT, a report", "REPORT, a report"),
        ("FAA-\napproved", "FAA-approved"),
        ("Schwarz-\nWeiß", "Schwarz-Weiß"),
        ("COVID-\n19 and 9-\nANM", "COVID-19 and 9-ANM"),
        (
            "site-\nspecific; a site, this site; specific, specific",
            "site-specific; a site, this site; specific, specific",
        ),
        ("a list:\n- one\n- two", "a list:\n- one\n- two"),
        ("a dash -\nthat stays", "a dash -\nthat stays"),
    ],
)
def test_rejoined(text: str, expected: str) -> None:
    assert rejoin_hyphens([text]) == [expected]


def test_other_pages_decide_too() -> None:
    assert rejoin_hyphens(["a well-\nknown fact", "it is well-known"])[0] == "a well-known fact"
    assert rejoin_hyphens(["a web-\nsite", "this website"])[0] == "a website"
