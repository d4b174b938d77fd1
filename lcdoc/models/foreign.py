"""Calling transformers on files of the user's: silent while it works, one clear line when it fails."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from lcdoc.errors import LcdocError, ModelError


@contextmanager
def quiet_transformers(failure: str) -> Iterator[None]:
    """No bars and no warnings of transformers inside; what fails ends as a ModelError after `failure`."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except LcdocError:
        raise
    except Exception as error:  # damaged files make the libraries below fail in any way there is
        lines = str(error).strip().splitlines()
        raise ModelError(f"{failure}: {lines[0] if lines else type(error).__name__}") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
