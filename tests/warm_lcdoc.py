"""A process that has imported what most runs of lcdoc need, and becomes one whenever it is asked to.

Each line of stdin tells of a run, as JSON: its words, its environment, the folder it runs in and the files that are its
three streams; one without a file is closed. The run has a fork of this process, which then is as `python -m lcdoc`
would be after some seconds of imports: nothing has been computed yet, and no device was touched. Its exit code is
written as a line to stdout.

Python itself reads some variables only at its start; a run that needs other ones needs a process of its own.
"""

import atexit
import gc
import json
import os
import signal
import sys
from importlib import import_module
from typing import Any

IMPORTED = (
    "lcdoc.cli.app",
    "lcdoc.cli.models",
    "lcdoc.cli.plan_table",
    "lcdoc.documents",
    "lcdoc.tasks.forecast",
    "lcdoc.tasks.opening",
    "pydantic.type_adapter",
    "rich.table",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.llama.modeling_llama",
)
LIMIT_S = 600


def become(run: dict[str, Any]) -> None:
    """Takes over everything that a process gets from who starts it."""
    os.environ.clear()
    os.environ.update(run["env"])
    os.chdir(run["cwd"])
    sys.argv = ["lcdoc", *run["words"]]
    for descriptor, (name, path) in enumerate(run["streams"].items()):
        mode, flags = ("w", os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if descriptor else ("r", os.O_RDONLY)
        if path is None:
            os.close(descriptor)
            setattr(sys, name, None)
            continue
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
        setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
    signal.alarm(LIMIT_S)


def wait_for_a_run() -> bool:
    """Serves until stdin ends, and returns False then; True in a fork that is to run."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            become(json.loads(line))
            return True
        _, status = os.waitpid(child, 0)
        os.write(1, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return False


for name in IMPORTED:
    import_module(name)
gc.collect()
gc.freeze()
if wait_for_a_run():
    from lcdoc.cli import main

    try:
        main()
    except SystemExit as end:
        # What is registered for the exit runs; taking down all that was imported would cost half a second.
        atexit._run_exitfuncs()
        os._exit(int(end.code or 0))
