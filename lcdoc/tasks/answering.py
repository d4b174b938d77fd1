"""Answers on their way: each tells which token comes next, and somebody has it read, for one alone or for several in
one pass of the model."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

from lcdoc.engine.joint_decode import Step, read_together
from lcdoc.engine.memory import AllocationFailed, is_refusal, release_unused
from lcdoc.errors import DoesNotFitError
from lcdoc.tasks.answer import Answer

# Goes on when the token is read, and is told how many seconds since then went to others; returns the answer. A failed
# allocation is thrown in, with the reader's cache in no state to go on from; so is an interrupt, which ends the answer.
Answering = Generator[Step, float | None, Answer]


def alone(answering: Answering) -> Answer:
    """Has its tokens read, to the end."""
    try:
        step = next(answering)
        while True:
            try:
                step.read()
            except (AllocationFailed, KeyboardInterrupt) as failure:
                step = answering.throw(failure)
            else:
                step = next(answering)
    except StopIteration as ended:
        answer: Answer = ended.value
        return answer


def refused(steps: Generator[Step, float | None, None]) -> Generator[Step, float | None, bool]:
    """The same steps; returns whether memory was refused to one of them."""
    try:
        yield from steps
    except Exception as error:
        if not is_refusal(error):
            raise
        return True
    return False


@dataclass
class _Row:
    """since_s: when its next token was chosen."""

    answering: Answering
    step: Step
    since_s: float


def together(
    openers: Sequence[Callable[[], Answering]], most: int, on_note: Callable[[str], None]
) -> Iterator[tuple[int, Answer]]:
    """Answers that don't depend on each other, up to `most` of them written at a time: as soon as one is done it is
    given out, with its number, and the next is begun in its place.

    openers: each begins an answer, of a reading of its own. Where memory is refused for several, what is not done is
    begun anew, fewer at a time; on_note hears of that. Raises DoesNotFitError where it is refused for one alone."""
    waiting, rows = deque(enumerate(openers)), dict[int, _Row]()
    while waiting or rows:
        while waiting and len(rows) < most:
            number, opener = waiting.popleft()
            try:
                answering = opener()
                rows[number] = _Row(answering, next(answering), time.perf_counter())
            except StopIteration as ended:
                yield number, ended.value
            except DoesNotFitError:
                if not rows:
                    raise
                most = len(rows)
                on_note(f"memory is refused to another: going on with {most} at a time")
                waiting.appendleft((number, opener))
        started_s = time.perf_counter()
        refusal = _refusal([row.step for row in rows.values()])
        if refusal is not None and len(rows) > 1:
            most = len(rows) // 2
            on_note(f"an allocation failed for {len(rows)} at a time: going on with {most}")
            waiting.extendleft((number, openers[number]) for number in reversed(rows))
            rows.clear()
            release_unused()
            continue
        share_s = (time.perf_counter() - started_s) / max(len(rows), 1)
        for number in list(rows):
            row = rows[number]
            try:
                if refusal is not None:
                    row.step = row.answering.throw(refusal)
                else:
                    row.step = row.answering.send(time.perf_counter() - row.since_s - share_s)
                row.since_s = time.perf_counter()
            except StopIteration as ended:
                del rows[number], row  # and with it the reader's cache
                yield number, ended.value


def _refusal(steps: Sequence[Step]) -> AllocationFailed | None:
    """Has them read; what was refused, if anything was."""
    try:
        read_together(steps)
    except AllocationFailed as failure:
        return failure
    return None
