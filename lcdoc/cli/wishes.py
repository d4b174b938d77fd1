"""What the user wishes of a stream while it is read: a digest now (SIGUSR1, Enter), or the end (Ctrl-C)."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from types import FrameType

from lcdoc.cli.display import is_terminal
from lcdoc.cli.exits import leave_at_once
from lcdoc.tasks.stream.wishes import Wishes

TERMINAL = "/dev/tty"
TICK_S = 0.5


@contextmanager
def wishing() -> Iterator[Wishes]:
    """Within it a first Ctrl-C is a wish, and a second one leaves at once."""
    wishes = Wishes()

    def on_interrupt(signum: int, frame: FrameType | None) -> None:
        if wishes.stop.is_set():
            leave_at_once()
        wishes.stop.set()

    def on_user_signal(signum: int, frame: FrameType | None) -> None:
        wishes.digest.set()

    handlers = {signal.SIGINT: on_interrupt}
    if hasattr(signal, "SIGUSR1"):
        handlers[signal.SIGUSR1] = on_user_signal
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield wishes
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch_enter(wishes: Wishes) -> bool:
    """Lets Enter on the terminal wish for a digest, where the text itself comes from elsewhere. Returns whether there
    is such a terminal."""
    if is_terminal(sys.stdin) or not is_terminal(sys.stderr):
        return False
    try:
        terminal = os.open(TERMINAL, os.O_RDONLY)
    except OSError:
        return False

    def watch() -> None:
        while not wishes.stop.is_set():
            # In the background the terminal is another's: reading it would stop the process.
            ours = os.tcgetpgrp(terminal) == os.getpgrp()
            if ours and select.select([terminal], [], [], TICK_S)[0]:
                if not os.read(terminal, 1024):
                    return
                wishes.digest.set()
            elif not ours:
                select.select([], [], [], TICK_S)

    Thread(target=watch, name="lcdoc stream's Enter", daemon=True).start()
    return True
