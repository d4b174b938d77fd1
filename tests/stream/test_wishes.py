"""Enter and Ctrl-C on the terminal while the text comes through a pipe."""

import os
import pty
import signal
import subprocess
import sys
import termios
from fcntl import ioctl

CODE = """
import time
from lcdoc.cli.wishes import watch_enter, wishing
with wishing() as wishes:
    print(watch_enter(wishes), flush=True)
    for wish in (wishes.digest, wishes.stop):
        print(wish.wait(60), flush=True)
    time.sleep(60)
"""


def test_enter_tells_and_two_interrupts_leave(cli_env: dict[str, str]) -> None:
    main, side = pty.openpty()

    def as_a_shell_would() -> None:
        ioctl(2, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        [sys.executable, "-c", CODE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=side,
        env=cli_env,
        start_new_session=True,
        preexec_fn=as_a_shell_would,
    ) as process:
        os.close(side)
        assert process.stdout is not None
        assert process.stdout.readline() == b"True\n"
        os.write(main, b"\n")
        assert process.stdout.readline() == b"True\n"
        os.write(main, b"\x03")
        assert process.stdout.readline() == b"True\n"
        os.write(main, b"\x03")
        assert process.wait(60) == 130
    os.close(main)
