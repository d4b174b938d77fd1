"""Page selection while decoding (Quest, arXiv 2406.10774): a token attends to the pages that can matter to it most.

Bounds of the keys tell how much a query may at most attend to a page. The best pages of each KV head are attended to,
and always the first tokens and the last ones; they are chosen anew every few tokens. The first layers, whose attention
is spread over everything, see all of it, and so does whatever is read and not decoded.

Measured on SmolLM2-135M at 4k of a novel, while it repeats a hidden number: 32 of 59 pages hold all but 1.9% of the
attention, the best 32 that could be chosen all but 1.0%; 16 pages lose 6.0%, of 3.6%. Each head's own scale (scores
shifted, or their softmax summed up, over a KV head's queries) or narrower bounds gain a tenth of that at the most, and
lose more in the worst head. Choosing anew at every token found no needle more. Where three heads of four stream and the
others are read by blocks, of 8 bits, one number in five was lost with 32 and with 40 pages, and found with 48.
"""

from math import ceil

from lcdoc.engine.page_layout import PAGE_TOKENS, num_pages

DENSE_LAYERS = 2
LEAST_PAGES = 48
SHARE = 1 / 8
EVERY_STEPS = 4


class PageSelection:
    """Says how many pages, and counts what was attended to, for all layers of one cache."""

    def __init__(
        self,
        least_pages: int = LEAST_PAGES,
        share: float = SHARE,
        every_steps: int = EVERY_STEPS,
        dense_layers: int = DENSE_LAYERS,
        from_tokens: int = 0,
    ) -> None:
        """share: of all pages, where these are more than least_pages. every_steps: tokens until pages are chosen
        anew. dense_layers: the first ones, which see everything. from_tokens: below so many everything is attended
        to."""
        self._from_pages = num_pages(from_tokens)
        self.every_steps, self.dense_layers = every_steps, dense_layers
        self._least_pages, self._share = least_pages, share
        self.active = False  # whether the pass under way decodes
        self._attended = self._held = 0

    def count(self, pages: int) -> int:
        """Pages that are attended to of so many."""
        return max(self._least_pages, ceil(self._share * pages))

    def selects(self, pages: int) -> bool:
        """Whether some of so many are left out."""
        return self.count(pages) < pages and pages >= self._from_pages

    def attended_tokens(self, held_tokens: int) -> int:
        """Of so many, those that a token attends to."""
        pages = num_pages(held_tokens)
        left_out = pages - self.count(pages) if self.selects(pages) else 0
        return held_tokens - left_out * PAGE_TOKENS

    def add(self, attended_tokens: int, held_tokens: int) -> None:
        """Counts one token of one layer."""
        self._attended += attended_tokens
        self._held += held_tokens

    @property
    def density(self) -> float:
        """Of all tokens that heads held when they selected some of them, the share attended to."""
        return self._attended / self._held if self._held else 1.0
