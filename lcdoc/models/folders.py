"""Where lcdoc keeps what it keeps: LCDOC_HOME where it is set, else the user's data and cache folders."""

import os
from pathlib import Path


def home_folder() -> Path:
    if os.environ.get("LCDOC_HOME"):
        return Path(os.environ["LCDOC_HOME"]).expanduser()
    from platformdirs import user_data_dir

    return Path(user_data_dir("lcdoc", appauthor=False))


def models_folder() -> Path:
    """Pulled model files, one folder per name."""
    return home_folder() / "models"


def conversions_folder() -> Path:
    """GGUF files converted once, one folder per file and dtype."""
    return models_folder() / "converted"


def profiles_folder() -> Path:
    """Head profiles that were calibrated here, one file per model."""
    return home_folder() / "profiles"


def calibrations_folder() -> Path:
    """Measured speeds of this machine; made again whenever they are missing."""
    return _cache_folder() / "calibrations"


def summaries_folder() -> Path:
    """Finished parts of summaries that are not finished yet, one file per summary."""
    return _cache_folder() / "summaries"


def store_folder() -> Path:
    """Blocks of what documents left in a model's cache, one file each."""
    return _cache_folder() / "store"


def _cache_folder() -> Path:
    if os.environ.get("LCDOC_HOME"):
        return home_folder()
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("lcdoc", appauthor=False))
