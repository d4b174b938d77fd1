"""What the model is asked: short and plain, so that a small one can follow."""

from lcdoc.tasks.summarize.wish import Wish


def summary_request(wish: Wish, words: int) -> str:
    """For a part, or for the summaries of several."""
    if wish.style == "bullets" and words <= 30:
        return f"Summarize the text above in one sentence{_about(wish)}."
    return f"Summarize the text above in about {words} words{_about(wish)}."


def points_request(wish: Wish, count: int) -> str:
    """For a text that should give several points."""
    return (
        f"List the {count} most important points of the text above{_about(wish)}, each in one sentence on a line of "
        f'its own that begins with "- ".'
    )


def paragraphs_request(wish: Wish, count: int) -> str:
    """For a text that should give several paragraphs."""
    return (
        f"Summarize the text above in {count} paragraphs of about {wish.words // count} words each{_about(wish)}, from "
        f"its beginning to its end."
    )


def onward_request(wish: Wish, words: int) -> str:
    """For a part that stands behind a summary of all before it."""
    return (
        f"Summarize the new text above in about {words} words{_about(wish)}. Do not repeat the summary of what came "
        f"before."
    )


def onward_text(so_far: str) -> tuple[str, str]:
    """What stands before the part."""
    return f"What came before, summarized: {so_far}", "New text:"


def _about(wish: Wish) -> str:
    return f", above all what it says about {wish.focus.strip()}" if wish.focus else ""
