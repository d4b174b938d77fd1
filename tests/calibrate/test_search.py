"""Searching rescale factors: what a candidate is, how the next one is found, and the text it is judged by."""

from itertools import pairwise
from random import Random

import pytest
import torch

from lcdoc.calibrate.evolution import Evolution, best_so_far
from lcdoc.calibrate.exam import TAIL_TOKENS, Exam, Score
from lcdoc.calibrate.rescale import MOST_ATTENTION, STARTS, Rescale, cross, most_factor, mutate, rescale
from lcdoc.engine.attention import register
from lcdoc.engine.extension import Extension, extend_positions
from lcdoc.errors import UsageError
from lcdoc.evaluate.haystack import Haystack
from lcdoc.models import load_config, load_model, load_tokenizer, resolve

LENGTH, WINDOW, HEAD_DIM, THETA = 1024, 512, 8, 10_000.0
SEEDS = (Rescale((2.0, 2.0, 2.0, 2.0)), Rescale((1.0, 1.5, 2.5, 4.0)), Rescale((1.0, 1.0, 3.0, 4.0), 1.1))
MOST = 5.0


@pytest.fixture(scope="module")
def model(tiny_beyond):
    return load_model(
        resolve(str(tiny_beyond)), device="cpu", dtype="float32", attn_implementation=register()
    )


@pytest.fixture(scope="module")
def haystack(tiny_beyond):
    return Haystack.open("frankenstein", load_tokenizer(resolve(str(tiny_beyond))))


def exam_of(haystack, text_tokens=950, length_tokens=LENGTH, num_needles=4, seed=0):
    return Exam.draw(
        haystack, text_tokens=text_tokens, length_tokens=length_tokens, num_needles=num_needles, seed=seed
    )


# Candidates.


def test_the_ntk_seed_as_factors_gives_the_angles_of_ntk(model, tiny_beyond):
    config = load_config(resolve(str(tiny_beyond)))
    seed = Rescale.of(model, Extension.of("ntk", config, LENGTH))
    alpha = 2 * LENGTH / WINDOW
    by_hand = [alpha ** (2 * pair / (HEAD_DIM - 2)) for pair in range(HEAD_DIM // 2)]
    assert seed.factors == pytest.approx(by_hand, rel=1e-5)
    assert (seed.attention_factor, seed.start_tokens) == (1.0, 0)
    extend_positions(model, Extension.of("longrope", config, LENGTH, seed.rope))
    found = model.get_decoder().rotary_emb
    base = THETA * alpha ** (HEAD_DIM / (HEAD_DIM - 2))
    wanted = [base ** (-2 * pair / HEAD_DIM) for pair in range(HEAD_DIM // 2)]
    assert found.inv_freq.tolist() == pytest.approx(wanted, rel=1e-5)
    assert found.attention_scaling == 1.0
    extend_positions(model, None)


def test_the_other_seeds_are_interpolation_and_yarn(model, tiny_beyond):
    config = load_config(resolve(str(tiny_beyond)))
    assert Rescale.of(model, Extension.of("pi", config, LENGTH)).factors == pytest.approx([2.0] * 4)
    yarn = Rescale.of(model, Extension.of("yarn", config, LENGTH))
    assert yarn.factors[0] == 1.0 and yarn.factors[-1] == pytest.approx(4.0)
    assert yarn.attention_factor == pytest.approx(0.1 * 1.3862944 + 1, rel=1e-5)  # 0.1 ln 4 + 1


def test_factors_are_put_in_order_and_in_bounds():
    found = rescale([3.0, 0.5, 9.0, 2.0], 0.9, 4, MOST)
    assert found == Rescale((1.0, 2.0, 3.0, 5.0), 1.0, 4)
    for factors in ((2.0, 1.5), (0.9, 2.0)):
        with pytest.raises(AssertionError):
            Rescale(factors)


@pytest.mark.parametrize("seed", range(5))
def test_mutants_and_children_keep_to_the_constraints(seed):
    source, parents, starts = Random(seed), list(SEEDS), set()
    for _ in range(100):
        mutant = mutate(source.choice(parents), source, MOST)
        child = cross(*source.sample(parents, 2), source, MOST)
        for one in (mutant, child):
            assert all(before <= after for before, after in pairwise((1.0, *one.factors, MOST)))
            assert 1 <= one.attention_factor <= MOST_ATTENTION and one.start_tokens in STARTS
            starts.add(one.start_tokens)
        parents = [*parents[-4:], mutant, child]
    assert len(starts) > 1


def test_a_child_has_the_fast_angles_of_one_and_the_slow_ones_of_the_other():
    fast, slow = Rescale((1.0, 1.1, 1.2, 1.3), 1.1, 4), Rescale((2.0, 2.1, 2.2, 2.3), 1.2, 8)
    for seed in range(20):
        child = cross(fast, slow, Random(seed), MOST)
        cut = sum(factor < 2 for factor in child.factors)
        assert 1 <= cut <= 3 and child.factors == (*fast.factors[:cut], *slow.factors[cut:])
        assert child.attention_factor in (1.1, 1.2) and child.start_tokens in (4, 8)


# The search.


def test_a_search_finds_its_way_from_the_seeds_and_repeats_itself():
    goal = (1.2, 1.3, 3.1, 3.3)

    def run(evaluations, scored=()):
        scored = list(scored)
        evolution = Evolution(SEEDS, seed=3)
        while len(scored) < evaluations:
            candidate = evolution.propose(scored)
            scored.append(
                (candidate, sum((a - b) ** 2 for a, b in zip(candidate.factors, goal, strict=True)))
            )
        return scored

    whole = run(120)
    assert tuple(candidate for candidate, _ in whole[:3]) == SEEDS
    assert len({candidate for candidate, _ in whole}) == 120
    assert run(120, whole[:57]) == whole
    best = best_so_far([score for _, score in whole])
    assert best[-1] < 0.2 * best[2] and best == sorted(best, reverse=True)
    assert max(candidate.factors[-1] for candidate, _ in whole) <= most_factor(SEEDS) == 5.0


# The text.


def test_tokens_stand_in_blocks_over_the_whole_length_with_needles_and_tail_in_one_piece(haystack):
    exam = exam_of(haystack)
    positions = exam.spread(torch.arange(exam.capacity_tokens))
    assert exam.capacity_tokens <= 950 and positions[0] == 0 and positions[-1] == LENGTH - 1
    steps = positions.diff()
    gaps = steps[steps > 1]
    assert len(gaps) >= 5 and gaps.max() - gaps.min() <= 1  # alike
    tail = len(exam.document_ids) - TAIL_TOKENS
    for span in (*exam.needle_spans, range(tail, exam.capacity_tokens)):
        assert (steps[span.start : span.stop - 1] == 1).all()
    assert max(span.stop for span in exam.needle_spans) <= tail
    assert len(exam.needle_spans) == 20 and len(exam.recalls) == 4
    for span, recall in zip(exam.needle_spans[::5], exam.recalls, strict=True):
        needle = haystack.tokenizer.decode(exam.document_ids[span.start : span.stop])
        assert haystack.tokenizer.decode(recall.value_ids).strip(" .") in needle


def test_a_text_of_the_whole_length_has_no_gaps(haystack):
    exam = exam_of(haystack, text_tokens=LENGTH)
    assert exam.is_whole and LENGTH - 100 < exam.capacity_tokens <= LENGTH


def test_one_reading_scores_as_a_reading_for_each_question_would(haystack, model, tiny_beyond):
    exam = exam_of(haystack, text_tokens=LENGTH, num_needles=2)
    extension = Extension.of("ntk", load_config(resolve(str(tiny_beyond))), LENGTH)
    score = exam.take(model, extension, chunk_tokens=300)
    model.set_attn_implementation("sdpa")
    losses, tail = [], exam.document_ids
    for recall in exam.recalls:
        ids = torch.tensor([exam.document_ids + recall.lead_ids + recall.value_ids])
        with torch.no_grad():
            log = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
        own = -log.gather(-1, ids[0, 1:, None])[:, 0]
        losses.append(own[-len(recall.value_ids) :].mean().item())
        tail_nll = own[len(tail) - TAIL_TOKENS - 1 : len(tail) - 1].mean().item()
    model.set_attn_implementation(register())
    extend_positions(model, None)
    assert score.needle_nll == pytest.approx(sum(losses) / 2, rel=1e-4)
    assert score.tail_nll == pytest.approx(tail_nll, rel=1e-4)
    assert score.total(0.5) == score.needle_nll + 0.5 * score.tail_nll


def test_a_text_without_room_is_refused(haystack):
    with pytest.raises(UsageError, match="300 tokens are too few for the text; it takes"):
        exam_of(haystack, text_tokens=300)


def test_perplexity_is_of_the_tail():
    assert Score(1.0, 0.0).tail_perplexity == 1.0
