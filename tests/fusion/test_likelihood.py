"""How likely spans make a question, beside log probabilities that are written out."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from lcdoc.engine.attention import register
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.rope import Rotation
from lcdoc.fusion.joint_tokens import JointTokens, ReadTokens
from lcdoc.fusion.likelihood import LikelihoodReader, num_candidates
from lcdoc.fusion.ranking import Judgement, fuse

HEAD, BETWEEN, QUESTION = [3, 4, 5, 6], [7, 8, 9], [20, 21, 22, 23]
SPANS = [list(range(10, 80)), list(range(200, 210)), [20, 21, 22, 23]]


@pytest.fixture(scope="module")
def models(tiny):
    """The same weights with lcdoc's attention and with transformers' own."""
    return [
        AutoModelForCausalLM.from_pretrained(tiny, attn_implementation=name, dtype=torch.float32).eval()
        for name in (register(), "eager")
    ]


def naive(model, span, head):
    before = [*head, *span, *BETWEEN]
    ids = torch.tensor([before + QUESTION])
    with torch.inference_mode():
        log_probabilities = model(ids).logits[0].log_softmax(-1)  # [length, vocab]
    rows = range(len(before) - 1, ids.shape[1] - 1)
    return sum(float(log_probabilities[row, token]) for row, token in zip(rows, QUESTION, strict=True)) / len(
        QUESTION
    )


@pytest.mark.parametrize("head", [HEAD, []], ids=["head", "no-head"])
@pytest.mark.parametrize("chunk_tokens", [4, 1000])
def test_a_span_is_worth_what_it_adds_to_the_question(models, head, chunk_tokens):
    ours, eager = models
    heard = []
    scores = LikelihoodReader(ours, head, BETWEEN).scores(
        SPANS, QUESTION, chunk_tokens, lambda done, kv_bytes: heard.append((done, kv_bytes > 0))
    )
    alone = naive(eager, [], head)
    assert scores == pytest.approx([naive(eager, span, head) - alone for span in SPANS], abs=1e-4)
    assert len({round(score, 3) for score in scores}) == 3
    assert heard == [(1, True), (2, True), (3, True)]


@pytest.mark.parametrize("head", [HEAD, []], ids=["head", "no-head"])
def test_spans_that_were_read_elsewhere_are_worth_as_much_and_not_read_again(models, head, monkeypatch):
    ours, reader = models[0], LikelihoodReader(models[0], head, BETWEEN)
    wanted = reader.scores(SPANS, QUESTION, 64, lambda done, kv_bytes: None)
    left = []
    for span in SPANS:
        elsewhere = Reader(ours, HeadSplit.exact(), capacity_tokens=200)
        elsewhere.read([*head, *range(300, 330), *span])  # after something else, and thus elsewhere
        alone = Reader(ours, HeadSplit.exact(), capacity_tokens=200)
        alone.read([*head, *span])
        pieces = [
            ReadTokens.of(elsewhere.cache, 0, len(head)),
            ReadTokens.of(alone.cache, len(head), len(head) + len(span)),
        ]
        left.append(JointTokens(pieces, Rotation.of(ours)))
    read, prefill = [], Reader.prefill

    def listening(self, token_ids, *args, **kwargs):
        read.append(len(token_ids))
        prefill(self, token_ids, *args, **kwargs)

    monkeypatch.setattr(Reader, "prefill", listening)
    scores = reader.scores(SPANS, QUESTION, 64, lambda done, kv_bytes: None, left)
    assert scores == pytest.approx(wanted, abs=1e-4)
    assert read == [len(head) + len(BETWEEN)] + [len(BETWEEN)] * len(SPANS)


def test_what_makes_the_question_likelier_goes_before_what_only_shares_its_words():
    judgement = Judgement([0.3, 0.2, 0.1], [3.0, 2.0, 2.0], [-0.5, 0.1, 0.9])
    assert fuse(judgement.attention, judgement.words)[0] == max(fuse(judgement.attention, judgement.words))
    assert max(range(3), key=judgement.scores.__getitem__) == 2
    unasked = Judgement([0.3, 0.2, 0.1], [3.0, 2.0, 2.0], [0.0, 0.0, 0.0])
    assert unasked.scores == fuse([0.3, 0.2, 0.1], [3.0, 2.0, 2.0])


def test_a_quarter_of_the_spans_is_judged_within_bounds():
    assert [num_candidates(spans) for spans in (0, 5, 40, 60, 96, 700, 4000)] == [0, 5, 12, 15, 24, 24, 133]
