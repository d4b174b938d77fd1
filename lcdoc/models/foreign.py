"""Calling transformers on files of the user's: silent while it works, one clear line when it fails."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lcdoc.errors import LcdocError, ModelError


@contextmanager
def quiet_transformers(failure: str) -> Iterator[None]:
    """No bars and no warnings of transformers or accelerate inside; what fails ends as a ModelError after `failure`."""
    from transformers.utils import logging as theirs

    verbosity, bars = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    accelerate = logging.getLogger("accelerate")
    level = accelerate.level
    accelerate.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except LcdocError:
        raise
    except Exception as error:  # damaged files make the libraries below fail in any way there is
        lines = str(error).strip().splitlines()
        raise ModelError(f"{failure}: {lines[0] if lines else type(error).__name__}") from error
    finally:
        accelerate.setLevel(level)
        theirs.set_verbosity(verbosity)
        if bars:
            theirs.enable_progress_bar()
