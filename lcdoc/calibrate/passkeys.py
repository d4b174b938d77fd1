"""Natural text with passkeys in it, and the questions that ask for them: what heads are calibrated on."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from lcdoc.evaluate.haystack import Haystack
from lcdoc.tokens import Prompt

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
WORDS = (
    "amber", "bridge", "candle", "desert", "engine", "forest", "guitar", "hammer", "island", "jacket",
    "kettle", "ladder", "mirror", "needle", "oyster", "pepper", "quartz", "ribbon", "silver", "tunnel",
    "umbrella", "violet", "window", "yellow", "zebra", "barrel", "copper", "dragon", "falcon", "garden",
    "helmet", "ivory", "jungle", "lemon", "magnet", "nickel", "orange", "pillow", "rocket", "saddle",
)  # fmt: skip
SENTENCE = "The {ordinal} passkey of the vault is: {words}."
QUESTION = "What is the {ordinal} passkey of the vault?"
# Depths that a passkey may stand at, as in DuoAttention (arXiv 2410.10819, section 3.2).
DEPTHS = (0.05, 0.95)


@dataclass(frozen=True)
class Recall:
    """One passkey that is asked for. planted: its tokens in the document. asked: the positions of its question and
    of all but the last token of its answer. answered: the positions whose next token belongs to the answer."""

    planted: range
    asked: range
    answered: range


@dataclass(frozen=True)
class Example:
    """A document with passkeys, then a question and its answer for each."""

    token_ids: list[int]
    recalls: tuple[Recall, ...]

    @property
    def answer_positions(self) -> list[int]:
        return [position for recall in self.recalls for position in recall.answered]


@dataclass(frozen=True)
class Recipe:
    """context_tokens: the longest document, the shortest has half of it. num_passkeys: up to ten. num_words: of each
    passkey."""

    context_tokens: int = 2048
    num_passkeys: int = 10
    num_words: int = 8
    seed: int = 0

    @property
    def data(self) -> str:
        return f"{self.num_passkeys} passkeys of {self.num_words} words"

    def draw(self, haystack: Haystack, idx: int) -> Example:
        """The example of this number, always the same one. Raises UsageError where the context is too short."""
        source = random.Random(f"{self.seed} {idx}")
        length_tokens = source.randint(self.context_tokens // 2, self.context_tokens)
        prompt = Prompt.from_tokenizer(haystack.tokenizer)
        keys = [" ".join(source.choices(WORDS, k=self.num_words)) for _ in range(self.num_passkeys)]
        depths = sorted(source.uniform(*DEPTHS) for _ in keys)
        ordinals = ORDINALS[: self.num_passkeys]
        sentences = [
            SENTENCE.format(ordinal=ordinal, words=words)
            for ordinal, words in zip(ordinals, keys, strict=True)
        ]
        placed = haystack.place_all(
            list(zip(sentences, depths, strict=True)),
            length_tokens=length_tokens,
            seed=source.randrange(1 << 30),
        )
        token_ids = prompt.head_ids()
        offset = len(token_ids)
        token_ids += placed[0].tokens.token_ids
        recalls: list[Recall] = []
        for number in source.sample(range(len(keys)), len(keys)):
            first = len(token_ids)
            question = QUESTION.format(ordinal=ordinals[number])
            token_ids += prompt.question_ids(question, first=not recalls)
            start = len(token_ids)
            token_ids += haystack.tokenizer(keys[number] + ".", add_special_tokens=False).input_ids
            stop = len(token_ids)
            needle = offset + placed[number].needle_token
            sentence_ids = haystack.tokenizer(sentences[number], add_special_tokens=False).input_ids
            recalls.append(
                Recall(
                    range(needle, needle + len(sentence_ids)),
                    range(first, stop - 1),
                    range(start - 1, stop - 1),
                )
            )
        return Example(token_ids, tuple(recalls))

    def examples(self, haystack: Haystack, first: int = 0) -> Iterator[Example]:
        """Without end, from a number on."""
        idx = first
        while True:
            yield self.draw(haystack, idx)
            idx += 1
