"""Numbers to codes as a kernel computes them, in the very steps of PyTorch's version."""

import triton
import triton.language as tl


@triton.jit
def stored_range(b_low, b_high, MOST: tl.constexpr):
    """Least number and step, in float16 as they are stored."""
    return b_low.to(tl.float16), tl.div_rn(b_high - b_low, MOST).to(tl.float16)


@triton.jit
def codes_of(b_numbers, b_least, b_step, MOST: tl.constexpr):
    """Codes in uint8, rounded half to even."""
    b_step = tl.maximum(b_step.to(tl.float32), 6.103515625e-05)  # float16's least normal number
    b_codes = tl.div_rn(b_numbers - b_least.to(tl.float32), b_step)
    b_codes = (b_codes + 12582912.0) - 12582912.0  # 1.5 * 2**23: no digits are left after the point
    return tl.minimum(tl.maximum(b_codes, 0.0), MOST).to(tl.uint8)
