"""What the model is asked: short and plain, so that a small one can follow. The first is worded as the sets of
summaries are that small models were trained on."""

from lcdoc.tasks.summarize.wish import Wish

SENTENCE_WORDS = 22


def summary_request(wish: Wish, words: int) -> str:
    """For a part, or for the summaries of several."""
    sentences = max(1, round(words / SENTENCE_WORDS))
    length = "one short sentence" if sentences == 1 else f"up to {_number(sentences)} sentences"
    return (
        f"Provide a concise, objective summary of the input text in {length}, focusing on key actions and intentions"
        f"{_about(wish)}."
    )


def points_request(wish: Wish, count: int) -> str:
    """For a text that should give several points."""
    return (
        f"List the {count} most important points of the input text{_about(wish)}, each in one sentence on a line of "
        f'its own that begins with "- ".'
    )


def paragraphs_request(wish: Wish, count: int) -> str:
    """For a text that should give several paragraphs."""
    return (
        f"Summarize the input text in {count} paragraphs of about {wish.words // count} words each{_about(wish)}, from "
        f"its beginning to its end."
    )


def onward_request(wish: Wish, words: int) -> str:
    """For a part that stands behind a summary of all before it."""
    sentences = max(1, round(words / SENTENCE_WORDS))
    return (
        f"Provide a concise, objective summary of the new text in up to {_number(sentences)} sentences"
        f"{_about(wish)}. Do not repeat the summary of what came before."
    )


def onward_text(so_far: str) -> tuple[str, str]:
    """What stands before the part."""
    return f"What came before, summarized: {so_far}", "New text:"


def _about(wish: Wish) -> str:
    return f", above all what it says about {wish.focus.strip()}" if wish.focus else ""


def _number(count: int) -> str:
    names = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return names[count] if count < len(names) else str(count)
