"""Settings: what can be chosen, what is allowed, and where each value came from.

Precedence: command-line flags, LCDOC_* environment variables, ./lcdoc.yaml, the user's config file, defaults.
"""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from lcdoc.errors import UsageError

DEVICE_PATTERN = re.compile(r"auto|cpu|cuda|cuda:\d+")
DTYPES = ("auto", "bfloat16", "float16", "float32")
WEIGHTS = ("model", "bf16", "int8", "int4")
MODES = ("auto", "exact", "stream", "duo")
PAGE_SELECTIONS = ("on", "off", "auto")
KV_DTYPES = ("auto", "model", "bfloat16", "int8", "int4")
# Instead of a profile's name: not even the model's own.
NO_PROFILE = "none"
BUDGET_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(%|[KMGT]?i?B)", re.IGNORECASE)
EVICTION_POLICIES = (
    "recent",
    "h2o",
    "snapkv",
    "tova",
    "keydiff",
    "expected",
    "reconstruct",
    "question",
)
EXTENSIONS = ("none", "auto", "pi", "ntk", "yarn", "longrope", "self-extend", "lm-infinite")
FUSIONS = ("auto", "parts", "kv", "off")
KEEP_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(%?)")
STREAMING_PATTERN = re.compile(r"(\d+(?:\.\d+)?)%")
COLORS = ("auto", "always", "never")
MAX_SEED = 2**63 - 1
PROJECT_FILE = "lcdoc.yaml"
DEFAULT_ORIGIN = "default"


@dataclass(frozen=True)
class ReadSettings:
    """How documents are read.

    model: a name, a hub id, a folder or a .gguf file; None means the default model.
    device: "auto", "cpu", "cuda" or "cuda:N". profile: path or name of a head profile, or NO_PROFILE; None is the
    model's own where it has one.
    streaming: share of the heads that stream in mode duo, such as "75%"; None leaves it to the profile's gates.
    weights: how the model's linear layers are stored; "model" is as it computes.
    budget: most memory of the device, such as "24GB", "512MiB" or "50%"; None is what is free, less a margin.
    kv_dtype: how retrieval heads' keys and values are stored; "auto" leaves it to the budget.
    evict: who judges which keys and values are dropped; keep: how much of the document's stays, such as "25%" or
    "2000" tokens. Without either nothing is dropped unless the budget needs it.
    extend: how positions go beyond the model's window, where a document is longer; None leaves it to the length (a
    chat is read as with "auto"), and for an evaluation is "none".
    fusion: whether a document longer than the model's window is read in parts: "auto" where positions are not, or not
    without much loss, extended, "parts" in any case, "kv" likewise, and passages are then not read again together but
    attended to as their parts left them, "off" never.
    sink_size, recent_size: tokens a streaming head keeps; None means the profile's, else 64 and 256.
    sparse_prefill: whether retrieval heads read the document by blocks, each chunk only those of the past that may
    matter to it, where that is quicker.
    page_selection: whether each token of an answer makes retrieval heads attend to those pages alone that can matter to
    it most; "auto" where that is quicker on this machine.
    chunk_tokens: tokens read at once. Raises UsageError for a value that is not allowed.
    """

    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    weights: str = "model"
    mode: str = "auto"
    profile: str | None = None
    streaming: str | None = None
    budget: str | None = None
    kv_dtype: str = "auto"
    evict: str | None = None
    keep: str | None = None
    extend: str | None = None
    fusion: str = "auto"
    sink_size: int | None = None
    recent_size: int | None = None
    sparse_prefill: bool = False
    page_selection: str = "off"
    chunk_tokens: int = 1024

    def __post_init__(self) -> None:
        _check_types(self)
        for name in ("model", "profile"):
            value = getattr(self, name)
            if value is not None and not value.strip():
                raise UsageError(f"{name} is empty; name one or leave the setting out")
        if not DEVICE_PATTERN.fullmatch(self.device):
            raise UsageError(f"device must be auto, cpu, cuda or cuda:N, not {self.device!r}")
        _check_choice("dtype", self.dtype, DTYPES)
        _check_choice("weights", self.weights, WEIGHTS)
        _check_choice("mode", self.mode, MODES)
        _check_choice("kv_dtype", self.kv_dtype, KV_DTYPES)
        _check_choice("page_selection", self.page_selection, PAGE_SELECTIONS)
        _check_choice("fusion", self.fusion, FUSIONS)
        if self.evict is not None:
            _check_choice("evict", self.evict, EVICTION_POLICIES)
        if self.extend is not None:
            _check_choice("extend", self.extend, EXTENSIONS)
        if self.keep is not None and not _is_share(self.keep):
            raise UsageError(
                f"keep must be a share above 0% and below 100%, such as 25%, or tokens such as 2000, not {self.keep!r}"
            )
        if self.streaming is not None and not _is_part(self.streaming):
            raise UsageError(
                f"streaming must be a share from 0% to 100%, such as 75%, not {self.streaming!r}"
            )
        if self.budget is not None and not _is_budget(self.budget):
            raise UsageError(
                f"budget must be a size above 0 such as 24GB or 512MiB, or a share such as 50%, not {self.budget!r}"
            )
        _check_at_least("sink_size", self.sink_size, 0)
        _check_at_least("recent_size", self.recent_size, 1)
        _check_at_least("chunk_tokens", self.chunk_tokens, 1)


@dataclass(frozen=True)
class Sampling:
    """How an answer is written; temperature 0 always takes the likeliest token. break_circles: an answer that says the
    same over and over is led out of that, or ended."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    break_circles: bool = True

    def __post_init__(self) -> None:
        _check_types(self)
        _check_at_least("max_new_tokens", self.max_new_tokens, 1)
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature must be 0 or more, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be above 0 and at most 1, not {self.top_p}")
        if not 0 <= self.seed <= MAX_SEED:
            raise UsageError(f"seed must be from 0 to {MAX_SEED}, not {self.seed}")


@dataclass(frozen=True)
class Appearance:
    """How the command line looks. color: "auto", "always" or "never". quiet: errors only on stderr."""

    color: str = "auto"
    quiet: bool = False

    def __post_init__(self) -> None:
        _check_types(self)
        _check_choice("color", self.color, COLORS)


@dataclass(frozen=True)
class StoreSettings:
    """Whether what was read is kept for the next question, and how much of it: max_size is a size such as "10GB"; None
    is a tenth of the free disk, and no more than 10 GB."""

    store: bool = True
    max_size: str | None = None

    def __post_init__(self) -> None:
        _check_types(self)
        if self.max_size is not None and (not _is_budget(self.max_size) or self.max_size.endswith("%")):
            raise UsageError(f"max_size must be a size above 0 such as 10GB or 512MiB, not {self.max_size!r}")


GROUPS = (ReadSettings, Sampling, Appearance, StoreSettings)
GROUP_OF = {field.name: group for group in GROUPS for field in fields(group)}


@dataclass(frozen=True)
class Choice:
    """One setting's value, and where it came from: a flag, a variable, a file or "default"."""

    value: Any
    origin: str


@dataclass(frozen=True)
class Settings:
    """Every setting, resolved over all layers."""

    choices: Mapping[str, Choice]

    @property
    def read(self) -> ReadSettings:
        return ReadSettings(**self._values(ReadSettings))

    @property
    def sampling(self) -> Sampling:
        return Sampling(**self._values(Sampling))

    @property
    def storing(self) -> StoreSettings:
        return StoreSettings(**self._values(StoreSettings))

    @property
    def appearance(self) -> Appearance:
        return Appearance(**self._values(Appearance))

    def _values(self, group: type) -> dict[str, Any]:
        return {field.name: self.choices[field.name].value for field in fields(group)}


def resolve(flags: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
    """Lays the layers over each other; flags that are None were not given. UsageError names the place."""
    choices = {
        field.name: Choice(field.default, DEFAULT_ORIGIN) for group in GROUPS for field in fields(group)
    }
    for path in config_files(environ):
        choices |= _from_file(path)
    choices |= _from_environment(environ)
    for name, value in flags.items():
        if value is not None:
            choices[name] = _checked(name, value, flag_of(name))
    return Settings(choices)


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def user_config_path(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's config file, whether it exists or not; LCDOC_CONFIG names another."""
    if environ.get("LCDOC_CONFIG"):
        return Path(environ["LCDOC_CONFIG"]).expanduser()
    from platformdirs import user_config_dir

    return Path(user_config_dir("lcdoc", appauthor=False)) / "config.yaml"


def config_files(environ: Mapping[str, str] = os.environ) -> list[Path]:
    """The config files in use, the weaker first. Raises UsageError where LCDOC_CONFIG names a missing one."""
    user, project = user_config_path(environ), Path.cwd() / PROJECT_FILE
    if environ.get("LCDOC_CONFIG") and not user.exists():
        raise UsageError(f"LCDOC_CONFIG names {user}, which does not exist; create it or unset LCDOC_CONFIG")
    return [path for path in dict.fromkeys((user, project)) if path.exists()]


def _from_file(path: Path) -> dict[str, Choice]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as a config file: {error}") from error
    except yaml.YAMLError as error:
        raise UsageError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must hold 'name: value' lines, not {type(content).__name__}")
    for name in content:
        if name not in GROUP_OF:
            raise UsageError(f"{path}: unknown setting {name!r}; allowed: {', '.join(sorted(GROUP_OF))}")
    return {name: _checked(name, _spoken(name, value), str(path)) for name, value in content.items()}


def _spoken(name: str, value: Any) -> Any:
    """YAML reads a bare on or off as true or false; where these are words of three, they are meant as such."""
    return ("on" if value else "off") if name == "page_selection" and isinstance(value, bool) else value


def _from_environment(environ: Mapping[str, str]) -> dict[str, Choice]:
    choices = {}
    for name in GROUP_OF:
        variable = f"LCDOC_{name.upper()}"
        if environ.get(variable):
            choices[name] = _checked(name, _parse(name, environ[variable], variable), variable)
    return choices


def _parse(name: str, text: str, origin: str) -> Any:
    """An environment variable's text as the setting's own type."""
    kinds = _kinds(name)
    booleans = {"1": True, "true": True, "yes": True, "on": True} | dict.fromkeys(
        ("0", "false", "no", "off"), False
    )
    try:
        if bool in kinds:
            return booleans[text.strip().lower()]
        if int in kinds:
            return int(text)
        if float in kinds:
            return float(text)
    except (KeyError, ValueError):
        raise UsageError(f"{origin}: {name} must be {_describe(kinds)}, not {text!r}") from None
    return text


def _checked(name: str, value: Any, origin: str) -> Choice:
    """The setting's own dataclass judges the value; the message says where the value stands."""
    try:
        GROUP_OF[name](**{name: value})
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from None
    return Choice(value, origin)


def _kinds(name: str) -> tuple[type, ...]:
    hint = get_type_hints(GROUP_OF[name])[name]
    return get_args(hint) or (hint,)


def _describe(kinds: tuple[type, ...]) -> str:
    if bool in kinds:
        return "true or false"
    return "text" if str in kinds else "a whole number" if int in kinds else "a number"


def _check_types(settings: ReadSettings | Sampling | Appearance | StoreSettings) -> None:
    for field in fields(settings):
        value, kinds = getattr(settings, field.name), _kinds(field.name)
        accepted = (*kinds, int) if float in kinds else kinds
        if not isinstance(value, accepted) or (isinstance(value, bool) and bool not in kinds):
            raise UsageError(f"{field.name} must be {_describe(_without_none(kinds))}, not {value!r}")


def _without_none(kinds: tuple[type, ...]) -> tuple[type, ...]:
    return tuple(kind for kind in kinds if kind is not NoneType)


def _is_budget(text: str) -> bool:
    match = BUDGET_PATTERN.fullmatch(text)
    if match is None or float(match[1]) == 0 or match[2].lower() == "ib":
        return False
    return match[2] != "%" or float(match[1]) <= 100


def _is_share(text: str) -> bool:
    match = KEEP_PATTERN.fullmatch(text)
    if match is None or float(match[1]) == 0:
        return False
    return float(match[1]) < 100 if match[2] else match[1].isdigit()


def _is_part(text: str) -> bool:
    match = STREAMING_PATTERN.fullmatch(text)
    return match is not None and float(match[1]) <= 100


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")


def _check_at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and value < least:
        raise UsageError(f"{name} must be {least} or more, not {value}")
