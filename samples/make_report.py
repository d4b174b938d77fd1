"""Makes us-economy-2008-q3.pdf from public-domain figures; the same bytes on every run.

Run by hand: pip install "statsmodels==0.15.0" "reportlab==5.1.0", then python samples/make_report.py
"""

from dataclasses import dataclass
from pathlib import Path

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle, getSampleStyleSheet
from reportlab.lib.units import cm, inch
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle
from statsmodels.datasets import macrodata

REPORT = Path(__file__).parent / "us-economy-2008-q3.pdf"
TITLE = "The United States Economy"
SUBTITLE = "Quarterly report, third quarter of 2008"
YEAR, QUARTER = 2008, 3
NUM_FRONT_PAGES = 2
NUM_TABLE_QUARTERS = 12
ORDINALS = {1: "first", 2: "second", 3: "third", 4: "fourth"}

_BASE = getSampleStyleSheet()
_BODY = ParagraphStyle(
    "body", _BASE["BodyText"], fontName="Times-Roman", fontSize=12, leading=17, spaceAfter=9
)
_HEADING = ParagraphStyle("heading", _BASE["Heading1"], fontName="Helvetica-Bold", fontSize=17, spaceAfter=12)
_CAPTION = ParagraphStyle("caption", _BODY, fontName="Helvetica-Bold", fontSize=10, spaceBefore=8)
_COVER = ParagraphStyle("cover", _HEADING, fontSize=30, leading=36)


@dataclass(frozen=True)
class Section:
    """One page of the report: its heading, its paragraphs, and its tables as (caption, rows)."""

    heading: str
    paragraphs: tuple[str, ...]
    tables: tuple[tuple[str, list[list[str]]], ...] = ()


class Figures:
    """The quarterly series, seen from the quarter that the report is about.

    Every `back` counts quarters before that quarter: 0 is the quarter itself, 4 the same one a year earlier.
    """

    def __init__(self) -> None:
        frame = macrodata.load_pandas().data
        [self._now] = frame.index[(frame.year == YEAR) & (frame.quarter == QUARTER)]
        self._frame = frame

    def at(self, name: str, back: int = 0) -> float:
        return float(self._frame[name][self._now - back])

    def change_percent(self, name: str, back: int = 0, over: int = 1) -> float:
        """The change in percent over so many quarters, up to the quarter `back`."""
        return (self.at(name, back) / self.at(name, back + over) - 1) * 100

    def quarter(self, back: int) -> str:
        row = self._frame.loc[self._now - back]
        return f"the {ORDINALS[int(row.quarter)]} quarter of {int(row.year)}"

    def short_quarter(self, back: int) -> str:
        row = self._frame.loc[self._now - back]
        return f"{int(row.year)} Q{int(row.quarter)}"

    def last_lower(self, name: str) -> str:
        """The latest earlier quarter that changed by less, or fell by more, than this one."""
        now = self.change_percent(name)
        backs = range(1, self._now)
        return self.quarter(next(back for back in backs if self.change_percent(name, back) < now))

    def last_as_high(self, name: str) -> str:
        """The latest earlier quarter with at least this level."""
        now = self.at(name)
        return self.quarter(next(back for back in range(1, self._now) if self.at(name, back) >= now))

    def last_as_low(self, name: str) -> str:
        """The latest earlier quarter with at most this level."""
        now = self.at(name)
        return self.quarter(next(back for back in range(1, self._now) if self.at(name, back) <= now))


def moved(percent: float, rose: str = "rose") -> str:
    """ "fell by 0.7 percent" """
    if round(percent, 1) == 0:
        return "stayed almost the same"
    return f"{rose if percent > 0 else 'fell'} by {abs(percent):.1f} percent"


def trillions(billions: float) -> str:
    return f"${billions / 1000:,.2f} trillion"


def account(figures: Figures, name: str, title: str) -> str:
    """The sentences that every series of the national accounts gets."""
    return (
        f"{title} {moved(figures.change_percent(name))} in the third quarter of 2008. {title} was "
        f"{trillions(figures.at(name))} in the third quarter, after {trillions(figures.at(name, 1))} in the second "
        f"quarter. Over one year, {title[0].lower()}{title[1:]} {moved(figures.change_percent(name, over=4))}."
    )


def summary(figures: Figures) -> Section:
    f = figures
    return Section(
        "1. What changed in the third quarter (Q3)",
        (
            f"In Q3 the economy shrank and unemployment rose. Real GDP {moved(f.change_percent('realgdp'))} in Q3. "
            f"The unemployment rate rose from {f.at('unemp', 1):.1f} percent to {f.at('unemp'):.1f} percent in Q3.",
            f"Consumers spent less. Real consumption {moved(f.change_percent('realcons'))} in Q3. Real disposable "
            f"income {moved(f.change_percent('realdpi'))} in Q3.",
            f"Businesses invested less. Private investment {moved(f.change_percent('realinv'))} in Q3.",
            f"The federal government spent more. Federal spending {moved(f.change_percent('realgovt'))} in Q3.",
            f"Prices fell. The consumer price index {moved(f.change_percent('cpi'))} in Q3. The inflation rate was "
            f"{f.at('infl'):.1f} percent in Q3.",
            f"The money stock grew. The money stock M1 {moved(f.change_percent('m1'), 'grew')} in Q3.",
            f"Interest rates fell. The interest rate on three-month Treasury bills fell from "
            f"{f.at('tbilrate', 1):.2f} percent to {f.at('tbilrate'):.2f} percent in Q3.",
        ),
    )


def output(figures: Figures) -> Section:
    f = figures
    return Section(
        "2. Output",
        (
            account(f, "realgdp", "Real GDP"),
            "Real GDP is the real gross domestic product: the value of all goods and services that are made in the "
            "country, with the change of prices taken out. It is the widest measure of the economy. When real GDP "
            "falls, the country makes less than it did one quarter before.",
            f"The fall was the largest for many years. A quarter with a larger fall of real GDP was last seen in "
            f"{f.last_lower('realgdp')}.",
            f"Output per person also fell. Real GDP per person was "
            f"${f.at('realgdp') / f.at('pop') * 1000:,.0f} in the third quarter, after "
            f"${f.at('realgdp', 1) / f.at('pop', 1) * 1000:,.0f} in the second quarter.",
        ),
    )


def consumption(figures: Figures) -> Section:
    f = figures
    return Section(
        "3. Consumption and income",
        (
            account(f, "realcons", "Real consumption"),
            "Real consumption is what people spend on goods and services for themselves: food, rent, cars, doctors, "
            "holidays. It is the largest part of the economy. A quarter with a larger fall of real consumption was "
            f"last seen in {f.last_lower('realcons')}.",
            account(f, "realdpi", "Real disposable income"),
            "Real disposable income is what people have left of their income after taxes, with the change of prices "
            "taken out. People can spend it or save it.",
        ),
    )


def investment(figures: Figures) -> Section:
    f = figures
    return Section(
        "4. Investment and government",
        (
            account(f, "realinv", "Private investment"),
            "Private investment is what businesses spend on buildings, machines and stocks of goods, and what is "
            "spent on new homes. It moves more from quarter to quarter than any other part of the economy, because "
            "a new machine or a new home can wait.",
            account(f, "realgovt", "Federal spending"),
            "Federal spending is the consumption and the investment of the federal government. What states and "
            "cities spend is not in it. Pensions and benefits are not in it either, because they are spent by the "
            "people who receive them.",
        ),
    )


def prices(figures: Figures) -> Section:
    f = figures
    return Section(
        "5. Prices",
        (
            f"The consumer price index {moved(f.change_percent('cpi'))} in the third quarter of 2008. The consumer "
            f"price index was {f.at('cpi'):.1f} in the third quarter, after {f.at('cpi', 1):.1f} in the second "
            f"quarter. Over one year, the consumer price index {moved(f.change_percent('cpi', over=4))}.",
            f"The inflation rate was {f.at('infl'):.1f} percent in the third quarter, after "
            f"{f.at('infl', 1):.1f} percent in the second quarter. An inflation rate below zero means that prices "
            f"fell. An inflation rate this low was last seen in {f.last_as_low('infl')}.",
            "The consumer price index follows the prices of all that a household in a city buys. The inflation rate "
            "says how fast this index grows, at an annual rate: by how much prices would change in a year if they "
            "went on changing as in this quarter.",
        ),
    )


def money(figures: Figures) -> Section:
    f = figures
    return Section(
        "6. Money and interest rates",
        (
            f"The money stock M1 {moved(f.change_percent('m1'), 'grew')} in the third quarter of 2008. The money "
            f"stock M1 was {trillions(f.at('m1'))} in the third quarter, after {trillions(f.at('m1', 1))} in the "
            f"second quarter. Over one year, the money stock M1 "
            f"{moved(f.change_percent('m1', over=4), 'grew')}.",
            "The money stock M1 is money that can be spent at once: cash in the hands of the public and deposits "
            "that can be drawn on by cheque.",
            f"The interest rate on three-month Treasury bills was {f.at('tbilrate'):.2f} percent in the third "
            f"quarter, after {f.at('tbilrate', 1):.2f} percent in the second quarter. The interest rate was last as "
            f"low as this in {f.last_as_low('tbilrate')}.",
            "Treasury bills are short loans to the federal government. They are counted among the safest loans "
            "there are, so their interest rate falls when many people look for a safe place for their money.",
        ),
    )


def labour(figures: Figures) -> Section:
    f = figures
    return Section(
        "7. Unemployment and population",
        (
            f"The unemployment rate was {f.at('unemp'):.1f} percent in the third quarter of 2008, after "
            f"{f.at('unemp', 1):.1f} percent in the second quarter. One year earlier, the unemployment rate was "
            f"{f.at('unemp', 4):.1f} percent.",
            f"The unemployment rate was last as high as this in {f.last_as_high('unemp')}.",
            "The unemployment rate is the share of the labour force that has no work and looks for it. People who "
            "have stopped looking for work are not counted.",
            f"The population of the United States was {f.at('pop'):.1f} million at the end of the third quarter. "
            f"In one year it grew by {f.at('pop') - f.at('pop', 4):.1f} million people.",
        ),
    )


def key_figures(figures: Figures) -> Section:
    f = figures

    def account_line(name: str, title: str, rose: str = "rose") -> str:
        return f"{title} {moved(f.change_percent(name), rose)} in Q3, to {trillions(f.at(name))}."

    return Section(
        "10. Key figures of Q3",
        (
            account_line("realgdp", "Real GDP"),
            account_line("realcons", "Real consumption"),
            account_line("realdpi", "Real disposable income"),
            account_line("realinv", "Private investment"),
            account_line("realgovt", "Federal spending"),
            f"The consumer price index {moved(f.change_percent('cpi'))} in Q3, to {f.at('cpi'):.1f}.",
            f"The inflation rate in Q3 was {f.at('infl'):.1f} percent.",
            account_line("m1", "The money stock M1", "grew"),
            f"The interest rate on three-month Treasury bills in Q3 was {f.at('tbilrate'):.2f} percent.",
            f"The unemployment rate in Q3 was {f.at('unemp'):.1f} percent.",
            f"The population at the end of Q3 was {f.at('pop'):.1f} million.",
        ),
    )


def conclusion(figures: Figures) -> Section:
    f = figures
    return Section(
        "11. Conclusion: what changed in Q3",
        (
            f"What changed in Q3 was that real GDP {moved(f.change_percent('realgdp'))} and that unemployment rose "
            f"to {f.at('unemp'):.1f} percent.",
        ),
    )


def tables(figures: Figures) -> Section:
    f = figures
    backs = range(NUM_TABLE_QUARTERS - 1, -1, -1)
    accounts = ("realgdp", "realcons", "realinv", "realgovt", "realdpi")
    spent = [["Quarter", "GDP", "Consumption", "Investment", "Federal", "Income"]]
    spent += [[f.short_quarter(b), *(f"{f.at(name, b):,.0f}" for name in accounts)] for b in backs]
    rates = [["Quarter", "CPI", "Inflation", "M1", "Treasury bills", "Unemployment"]]
    rates += [
        [
            f.short_quarter(b),
            f"{f.at('cpi', b):.1f}",
            f"{f.at('infl', b):.1f}",
            f"{f.at('m1', b):,.1f}",
            f"{f.at('tbilrate', b):.2f}",
            f"{f.at('unemp', b):.1f}",
        ]
        for b in backs
    ]
    return Section(
        "8. Tables by quarter",
        (),
        (
            ("Table 1. Real output, spending and income, billions of 2005 dollars at annual rates", spent),
            ("Table 2. Prices, money, interest and unemployment", rates),
        ),
    )


def notes() -> Section:
    return Section(
        "9. Notes and sources",
        (
            "All figures come from public data. The unemployment rate comes from the Bureau of Labor Statistics "
            "of the U.S. Department of Labor. All other figures come from FRED, the database of the Federal "
            "Reserve Bank of St. Louis.",
            "The data were collected on 15 December 2009 by Skipper Seabold, for the data set macrodata of the "
            "Python package statsmodels. The data are in the public domain. Figures revised after that day are "
            "not in this report.",
            "Real figures are in billions of chained 2005 dollars, seasonally adjusted, at annual rates. The "
            "consumer price index counts the average of 1982 to 1984 as 100. The index, the money stock and the "
            "population are taken at the end of each quarter, as the data set gives them; averages over a quarter, "
            "which other reports use, can move in another way. The Treasury bill rate is the average of the "
            "quarter's months.",
            "The inflation rate is 400 times the change of the logarithm of the consumer price index. All other "
            "changes are plain percentages, computed from unrounded figures and then rounded.",
        ),
    )


def flowables(sections: list[Section]) -> list[Flowable]:
    """Cover and contents, then one page a section."""
    contents = [[section.heading, str(page)] for page, section in enumerate(sections, 1)]
    story: list[Flowable] = [
        Spacer(1, 6 * cm),
        Paragraph(TITLE, _COVER),
        Paragraph(SUBTITLE, _HEADING),
        PageBreak(),
        Paragraph("Contents", _HEADING),
        Table(contents, colWidths=[13 * cm, 2 * cm], style=[("FONT", (0, 0), (-1, -1), "Times-Roman", 12)]),
    ]
    for section in sections:
        story += [PageBreak(), Paragraph(section.heading, _HEADING)]
        story += [Paragraph(text, _BODY) for text in section.paragraphs]
        for caption, rows in section.tables:
            story += [
                Paragraph(caption, _CAPTION),
                Table(rows, colWidths=[2.6 * cm] * 6, style=_table_style()),
            ]
    return story


def _table_style() -> TableStyle:
    return TableStyle(
        [
            ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 9),
            ("FONT", (0, 1), (-1, -1), "Helvetica", 9),
            ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
            ("LINEBELOW", (0, 0), (-1, 0), 0.7, colors.black),
            ("LINEBELOW", (0, -1), (-1, -1), 0.7, colors.black),
        ]
    )


def main() -> None:
    figures = Figures()
    chapters = (summary, output, consumption, investment, prices, money, labour, tables)
    sections = [
        *(chapter(figures) for chapter in chapters),
        notes(),
        key_figures(figures),
        conclusion(figures),
    ]

    def on_page(canvas: Canvas, template: SimpleDocTemplate) -> None:
        """The running head, the printed page number, its label and the outline entry."""
        body_page = template.page - NUM_FRONT_PAGES
        number = str(body_page) if body_page > 0 else "i" * template.page
        canvas.setFont("Helvetica", 9)
        if template.page > 1:
            canvas.drawString(inch, A4[1] - 1.5 * cm, f"{TITLE}, third quarter of 2008")
            canvas.drawCentredString(A4[0] / 2, 1.5 * cm, number)
        if template.page in (1, NUM_FRONT_PAGES + 1):
            style = "ROMAN_LOWER" if template.page == 1 else "ARABIC"
            canvas.addPageLabel(template.page - 1, style=style, start=1)
        heading = sections[body_page - 1].heading if body_page > 0 else (TITLE, "Contents")[template.page - 1]
        canvas.bookmarkPage(number)
        canvas.addOutlineEntry(heading, number, level=0)

    template = SimpleDocTemplate(
        str(REPORT), pagesize=A4, title=f"{TITLE}: {SUBTITLE}", author="lcdoc", invariant=1
    )
    template.build(flowables(sections), onFirstPage=on_page, onLaterPages=on_page)
    expected = NUM_FRONT_PAGES + len(sections)
    if template.page != expected:
        raise SystemExit(f"{REPORT.name} has {template.page} pages, not {expected}: a section needs two")


if __name__ == "__main__":
    main()
