"""One step of softmax over keys that come block by block, for Triton's kernels (arXiv 1805.02867)."""

import triton
import triton.language as tl


@triton.jit
def next_weights(b_scores, m_seen, b_most, b_sum):
    """Weights of a block of keys, and what went before made smaller to go with them.

    b_scores: [ROWS, COLUMNS], in powers of 2. m_seen: which of them count, [ROWS, COLUMNS] or [1, COLUMNS]. b_most,
    b_sum: [ROWS], the largest score so far, -1e30 before the first, and the sum of weights relative to it. Returns the
    weights [ROWS, COLUMNS], the factor [ROWS] for all that was summed up before, and both [ROWS] anew.
    """
    b_more = tl.maximum(b_most, tl.max(tl.where(m_seen, b_scores, -1e30), 1))
    b_weights = tl.where(m_seen, tl.exp2(b_scores - b_more[:, None]), 0.0)
    b_shrink = tl.exp2(b_most - b_more)
    return b_weights, b_shrink, b_more, b_sum * b_shrink + tl.sum(b_weights, 1)


@triton.jit
def log_sum(b_most, b_sum):
    """The natural log-sum-exp [ROWS] of all scores; -inf for a row that saw none."""
    return (b_most + tl.log2(b_sum)) * 0.6931471805599453
