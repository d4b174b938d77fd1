"""The measure that sends a page to the other engine."""

import pytest

from lcdoc.documents.damage import damage, is_damaged


@pytest.mark.parametrize(
    "text",
    [
        "",
        "An ordinary sentence, with figures: 1,234.5 (%).",
        "Das Abzeichen, das ein Donaudampfschifffahrtsgesellschaftskapitän trägt, ist meist aus Messing. "
        * 4,
        "𝑅𝑒 = 4𝑄/(𝜋𝑑𝜈), where ∂f ≤ ∞",
        "これは日本語の文章で、スペースはありませんがまったく問題なく読める文章です。とても長い文です。",
    ],
)
def test_readable_text_is_whole(text: str) -> None:
    assert not is_damaged(text)


@pytest.mark.parametrize(
    "text",
    [
        "Th\ufffds t\ufffdxt h\ufffds h\ufffdl\ufffds",
        "(cid:12)(cid:44)(cid:7) and (cid:9)",
        "\ue001\ue002\ue003 \ue004\ue005",
        "Allthespacesofthissentencewerelostwhenitwasextractedfromthefile",
        "\x02\x03\x04\x05 a b",
    ],
)
def test_unreadable_text_is_damaged(text: str) -> None:
    assert damage(text) > 0.1
