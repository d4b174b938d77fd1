"""The head profile that belongs to a model: one that was calibrated here, else one that comes with lcdoc."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lcdoc.citations.instructions import orders
from lcdoc.config import NO_PROFILE, ReadSettings
from lcdoc.documents.document import Document
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import HeadProfile, load_profile, shipped_profiles
from lcdoc.fusion.heads import choose_heads
from lcdoc.models import ModelFiles
from lcdoc.models.filehash import sha256_of
from lcdoc.models.folders import profiles_folder

# Modes that can do something with a profile.
MODES = ("auto", "duo")


def with_own_profile(settings: ReadSettings, files: ModelFiles | None) -> ReadSettings:
    """The settings, with the model's own profile where they name none. files: None for a model that isn't here."""
    if settings.profile == NO_PROFILE:
        return replace(settings, profile=None)
    if files is None or settings.profile is not None or settings.mode not in MODES:
        return settings
    return replace(settings, profile=own_profile(files))


def own_profile(files: ModelFiles) -> str | None:
    """The file of the profile that belongs to these weights; None where there is none."""
    return next((str(path) for path in _candidates(files) if _belongs(load_profile(str(path)), files)), None)


def citing_heads(
    settings: ReadSettings, files: ModelFiles, shape: ModelShape, documents: Sequence[Document]
) -> tuple[frozenset[tuple[int, int]], float | None]:
    """The heads whose attention tells where an answer comes from, and the confidence from which it is taken; None where
    the model's profile doesn't say. Without a profile many heads have to be watched and no page can be cited: they are
    where a document speaks to the model, to tell whether it is heard, and else none are."""
    named = None if settings.profile == NO_PROFILE else settings.profile or own_profile(files)
    profile = load_profile(named) if named else None
    if profile is not None and not profile.gates:
        profile = None
    if profile is None and not any(any(orders(page.text)) for one in documents for page in one.pages):
        return frozenset(), None
    heads = choose_heads(profile, shape.num_kv_heads, shape.windows)
    threshold = profile.citing["threshold"] if profile is not None and profile.citing else None
    return heads, threshold


def user_profile_path(files: ModelFiles) -> Path:
    """Where a calibration of this model is kept, to be used from then on."""
    return profiles_folder() / f"{_plain(files.name)}.yaml"


def weights_sha256(files: ModelFiles) -> str:
    """Of the file with the weights, the first of several."""
    return sha256_of(files.path if files.is_gguf else min(files.path.glob("*.safetensors")))


def _candidates(files: ModelFiles) -> Iterator[Path]:
    own = user_profile_path(files)
    if own.is_file():
        yield own
    shipped = shipped_profiles().get(_plain(files.name))
    if shipped is not None:
        yield shipped


def _belongs(profile: HeadProfile, files: ModelFiles) -> bool:
    """A profile that doesn't say which weights it was measured on is taken by the model's name."""
    measured_on = (profile.measured or {}).get("model_sha256")
    return measured_on is None or measured_on == weights_sha256(files)


def _plain(name: str) -> str:
    """("meta-llama/Meta-Llama-3.1-8B-Instruct") -> "meta-llama-3.1-8b-instruct"."""
    return name.rsplit("/", 1)[-1].lower()
