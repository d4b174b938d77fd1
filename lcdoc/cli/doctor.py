"""`lcdoc doctor`: whether this machine has what lcdoc needs."""

import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer

from lcdoc.cli.exits import FAILED
from lcdoc.cli.measures import bytes_text
from lcdoc.cli.output import json_text
from lcdoc.cli.sanitize import clean_line
from lcdoc.config import config_files, resolve
from lcdoc.errors import LcdocError

OK, WARN, FAIL = "ok", "warn", "fail"
PACKAGES = {"torch": FAIL, "transformers": FAIL, "tokenizers": FAIL, "pypdf": FAIL, "triton": WARN}


@dataclass(frozen=True)
class Check:
    """One thing looked at. status: "ok", "warn" (lcdoc works without it) or "fail"."""

    name: str
    status: str
    detail: str


def doctor(as_json: bool) -> int:
    """Prints every check; exit code 1 where something needed fails."""
    checks = []
    for check in _checks():
        checks.append(check)
        if not as_json:
            typer.echo(f"{check.status:5} {clean_line(check.name)}: {clean_line(check.detail)}")
    healthy = all(check.status != FAIL for check in checks)
    if as_json:
        report = {"healthy": healthy, "checks": [asdict(check) for check in checks]}
        typer.echo(json_text(report, indent=2))
    return 0 if healthy else FAILED


def _checks() -> Iterator[Check]:
    yield Check("lcdoc", OK, version("lcdoc"))
    yield Check("python", OK, f"{platform.python_version()} on {platform.platform()}")
    for package, without in PACKAGES.items():
        yield _package(package, without)
    yield from _devices()
    yield from _settings()
    yield from _folders()


def _package(name: str, without: str) -> Check:
    try:
        return Check(name, OK, version(name))
    except PackageNotFoundError:
        return Check(name, without, "not installed")


def _devices() -> Iterator[Check]:
    import psutil

    memory = psutil.virtual_memory()
    free = f"{bytes_text(memory.available)} of {bytes_text(memory.total)} memory free"
    try:
        import torch

        from lcdoc.models.placement import choose_dtype
    except (ImportError, OSError) as error:
        yield Check("torch", FAIL, f"cannot be imported: {error}")
        return
    cpu = torch.device("cpu")
    dtype = str(choose_dtype("auto", cpu)).removeprefix("torch.")
    features = f"{os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}, computes in {dtype}"
    yield Check("cpu", OK, f"{features}, {free}")
    if not torch.cuda.is_available():
        yield Check("cuda", WARN, "no CUDA device; reading runs on the CPU")
        return
    for index in range(torch.cuda.device_count()):
        device = torch.device("cuda", index)
        major, minor = torch.cuda.get_device_capability(device)
        free_bytes, total_bytes = torch.cuda.mem_get_info(device)
        dtype = str(choose_dtype("auto", device)).removeprefix("torch.")
        yield Check(
            f"cuda:{index}",
            OK,
            f"{torch.cuda.get_device_name(device)}, capability {major}.{minor}, computes in {dtype}, "
            f"{bytes_text(free_bytes)} of {bytes_text(total_bytes)} memory free",
        )


def _settings() -> Iterator[Check]:
    from lcdoc.models import resolve as find_model

    try:
        files = config_files()
        model = resolve({}).read.model
    except LcdocError as error:
        yield Check("settings", FAIL, str(error))
        return
    yield Check("settings", OK, ", ".join(map(str, files)) or "defaults, no config file")
    try:
        found = find_model(model)
        yield Check("model", OK, f"{found.name} at {found.path}")
    except LcdocError as error:
        yield Check("model", FAIL, str(error))


def _folders() -> Iterator[Check]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from lcdoc.models.folders import home_folder

    yield _folder("data folder", home_folder(), FAIL)
    yield _folder("hub cache", Path(HF_HUB_CACHE), WARN)


def _folder(name: str, folder: Path, unwritable: str) -> Check:
    """A folder that is not there yet is judged by where it would be made."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        return Check(name, unwritable, f"{folder} cannot be written to; LCDOC_HOME moves lcdoc's folder")
    size_bytes = sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    return Check(name, OK, f"{folder}, {bytes_text(size_bytes)}")
