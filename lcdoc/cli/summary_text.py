"""A summary as text or Markdown: its sections, each with its pages."""

import re
from collections.abc import Iterable, Mapping

from lcdoc.cli.places import place_text
from lcdoc.cli.sanitize import clean_line
from lcdoc.tasks.summarize.summary import Place, Section, Summary

# What could become a link, a picture or markup of the page that shows it.
MARKUP = re.compile(r"([\\`*_\[\]<>#|])")


def summary_text(summary: Summary, units: Mapping[str, str], form: str) -> str:
    """units: what a page is called, by source. form: "text" or "markdown"."""
    marked = form == "markdown"
    blocks, title = [], None
    several = len(units) > 1
    for section in summary.sections:
        text, place = _cleaned(section.text, marked), place_of(section, units, several)
        place = f"({_cleaned(place, marked)})"
        if summary.style == "bullets":
            blocks.append(f"- {text} {place}")
            continue
        if section.title is not None and section.title != title:
            title = section.title
            heading = _cleaned(title, marked)
            blocks.append(f"## {heading}" if marked else heading)
            text = f"{text} {place}"
            if not marked:
                blocks[-1] = f"{blocks[-1]}\n{text}"
                continue
            blocks.append(text)
            continue
        blocks.append(f"{text} {place}")
    return ("\n" if summary.style == "bullets" else "\n\n").join(blocks)


def place_of(place: Section | Place, units: Mapping[str, str], several: bool) -> str:
    """ "pages 3-7", behind the file's name where there are several."""
    words = place_text(units.get(place.source, "page"), place.first_label, place.last_label)
    return clean_line(f"{place.source}, {words}" if several else words)


def places_of(places: Iterable[Place], units: Mapping[str, str]) -> str:
    """Several, each told once however many stretches of it there are."""
    return "; ".join(dict.fromkeys(place_of(place, units, len(units) > 1) for place in places))


def _cleaned(text: str, marked: bool) -> str:
    line = clean_line(text)
    return MARKUP.sub(r"\\\1", line) if marked else line
