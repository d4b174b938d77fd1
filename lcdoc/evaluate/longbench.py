"""Lines of LongBench's own files (arXiv 2308.14508; v2: arXiv 2412.15204) as lines of ours.

The metrics are those published. The prompts are not: the text comes first and a question of our own wording after it,
nothing is cut out of the middle of a text, and answers have lcdoc's own lengths. So numbers stand beside each other,
mode by mode, and not one to one beside the leaderboards.
"""

import re
from dataclasses import dataclass
from typing import Any

from lcdoc.errors import DocumentError

LETTERS = "ABCD"


@dataclass(frozen=True)
class Dataset:
    """How a dataset is asked and scored. question: with {input}, what its line asks. first_line: the rest of an answer
    goes on with the examples in the text, and is not scored."""

    metric: str
    question: str = "{input}"
    first_line: bool = False


SUMMARY = "Write a one-page summary of the text."
NEXT_LINE = "Write the next line of the code."
CLASS = "Name the class of what follows, as the examples in the text do.\n{input}"
PARAGRAPH = "Which paragraph is this a summary of? Answer with its number.\n{input}"
DATASETS = {
    **dict.fromkeys(
        ("narrativeqa", "qasper", "multifieldqa_en", "hotpotqa", "2wikimqa", "musique"), Dataset("f1")
    ),
    "triviaqa": Dataset("f1", "Answer the last question, as the examples in the text do.\n{input}", True),
    "qmsum": Dataset("rouge"),
    **dict.fromkeys(("gov_report", "multi_news"), Dataset("rouge", SUMMARY)),
    "samsum": Dataset("rouge", "Summarise the dialogue, as the examples in the text do.\n{input}", True),
    **dict.fromkeys(("trec", "lsht"), Dataset("class", CLASS, True)),
    **dict.fromkeys(("passage_retrieval_en", "passage_retrieval_zh"), Dataset("number", PARAGRAPH)),
    "passage_count": Dataset("number", "How many different paragraphs are there, not counting repetitions?"),
    "lcc": Dataset("edit", NEXT_LINE),
    "repobench-p": Dataset("edit", NEXT_LINE + " It comes after this:\n{input}"),
}


def is_longbench(fields: dict[str, Any]) -> bool:
    """Whether a line is one of LongBench's, of either version."""
    version_1, version_2 = {"input", "dataset"}, {"question", "choice_A"}
    return "metric" not in fields and (version_1 <= fields.keys() or version_2 <= fields.keys())


def translate(fields: dict[str, Any], place: str) -> dict[str, Any]:
    """The line as `lcdoc eval qa` has its own. place: where it stands. Raises DocumentError where something is missing,
    or the dataset is not supported."""
    return _version_2(fields, place) if "choice_A" in fields else _version_1(fields, place)


def _version_1(fields: dict[str, Any], place: str) -> dict[str, Any]:
    asked, context, name = (_text(fields, key, place) for key in ("input", "context", "dataset"))
    # LongBench-E has the same sets under names of their own.
    dataset = DATASETS.get(name.removesuffix("_e"))
    if dataset is None:
        raise DocumentError(
            f"{place}: the dataset {name!r} is not supported (Chinese answers need their words told apart); leave "
            f"its lines out; those supported are {', '.join(DATASETS)}"
        )
    answers = _texts(fields, "answers", place)
    if dataset.metric == "number":
        answers = [number for text in answers for number in re.findall(r"\d+", text)[:1]]
    return {
        "id": _text(fields, "_id", place),
        "context": context,
        "question": dataset.question.format(input=asked).strip(),
        "answers": answers,
        "metric": dataset.metric,
        "source": name,
        "classes": _texts(fields, "all_classes", place) if dataset.metric == "class" else [],
        "first_line": dataset.first_line,
    }


def _version_2(fields: dict[str, Any], place: str) -> dict[str, Any]:
    options = [f"{letter}. {_text(fields, f'choice_{letter}', place)}" for letter in LETTERS]
    answer = _text(fields, "answer", place)
    if answer not in tuple(LETTERS):
        raise DocumentError(f'{place} must have "answer" as a letter from A to D, not {answer!r}')
    return {
        "id": _text(fields, "_id", place),
        "context": _text(fields, "context", place),
        "question": "\n".join([_text(fields, "question", place), *options]),
        "answers": [answer],
        "metric": "choice",
        "source": fields.get("domain", ""),
    }


def _text(fields: dict[str, Any], name: str, place: str) -> str:
    if not isinstance(fields.get(name), str):
        raise DocumentError(f'{place} must have "{name}" as text')
    return str(fields[name])


def _texts(fields: dict[str, Any], name: str, place: str) -> list[str]:
    found = fields.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(text, str) for text in found):
        raise DocumentError(f'{place} must have "{name}" as a list of one text or more')
    return found
