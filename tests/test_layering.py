"""Imports run one way through the layers, and files stay short."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

CHECKOUT = Path(__file__).parent.parent
MAX_LINES, MAX_MEDIAN_LINES = 400, 150

# What each layer may import directly; with it, all that those may. Everyone may import errors and config.
BELOW = {
    "__main__": {"cli"},
    "cli": {"tasks", "bench", "evaluate", "calibrate"},
    "bench": {"tasks", "evaluate"},
    "evaluate": {"tasks"},
    "calibrate": {"tasks", "evaluate"},
    "tasks": {"fusion", "citations", "store", "tokens", "models"},
    "fusion": {"engine", "tokens"},
    "citations": {"engine", "documents"},
    "store": {"engine"},
    "tokens": {"documents"},
    "models": {"engine"},
    "engine": {"kernels", "profiles"},
    "kernels": set(),
    "profiles": set(),
    "documents": set(),
    "config": {"errors"},
    "errors": set(),
}
EVERYONE = {"errors", "config"}
ONLY_CLI = {"typer", "rich"}
HEAVY_FOR_DOCUMENTS = {"torch", "transformers", "tokenizers", "accelerate"}
KERNELS_NEED = {"torch", "triton"}


def sources() -> list[Path]:
    return sorted(path for folder in ("lcdoc", "kernels") for path in (CHECKOUT / folder).rglob("*.py"))


def module_of(path: Path) -> tuple[str, ...]:
    """The module's dotted name; the top-level folder `kernels` is lcdoc.kernels once installed."""
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ("lcdoc", *parts) if parts[0] == "kernels" else parts


def layer_of(module: tuple[str, ...]) -> str | None:
    return module[1] if module[0] == "lcdoc" and len(module) > 1 else None


def imports_of(path: Path) -> Iterator[tuple[str, ...]]:
    """Every module a file imports, at its top or inside a function, absolute or relative."""
    own = module_of(path)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            named = tuple(node.module.split(".")) if node.module else ()
            base = own[: -node.level] if node.level else ()
            for alias in node.names:
                yield (*base, *named, alias.name)


def reachable(layer: str) -> set[str]:
    return {layer} | EVERYONE.union(*(reachable(below) for below in BELOW[layer]))


def violations(path: Path) -> Iterator[str]:
    own = layer_of(module_of(path))
    for module in imports_of(path):
        top, target = module[0], layer_of(module)
        if top == "kernels" or top == "profiles":
            yield f"imports {top} as a top-level package"
        if target in BELOW and own in BELOW and target not in reachable(own):
            yield f"{own} imports {target}"
        if top in ONLY_CLI and own != "cli":
            yield f"imports {top}"
        if top in HEAVY_FOR_DOCUMENTS and own == "documents":
            yield f"documents import {top}"
        if own == "kernels" and top not in KERNELS_NEED | {"lcdoc"} | sys.stdlib_module_names:
            yield f"kernels import {top}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(CHECKOUT)))
def test_imports_run_down(path: Path) -> None:
    assert list(violations(path)) == []


def test_every_layer_is_listed() -> None:
    layers = {layer_of(module_of(path)) for path in sources()} - {"__init__"}
    assert layers <= set(BELOW)


def test_the_kernels_package_is_empty() -> None:
    tree = ast.parse((CHECKOUT / "kernels" / "__init__.py").read_text(encoding="utf-8"))
    assert [type(node) for node in tree.body] == [ast.Expr]  # its docstring alone


@pytest.mark.parametrize(
    ("layer", "code", "found"),
    [
        ("lcdoc/engine/x.py", "def f():\n    from lcdoc.tasks import ask", ["engine imports tasks"]),
        ("lcdoc/engine/x.py", "from ..models import resolve", ["engine imports models"]),
        ("lcdoc/engine/x.py", "from lcdoc import documents", ["engine imports documents"]),
        ("lcdoc/documents/x.py", "import torch.nn", ["documents import torch"]),
        ("lcdoc/tasks/x.py", "from rich.console import Console", ["imports rich"]),
        ("lcdoc/engine/x.py", "import kernels", ["imports kernels as a top-level package"]),
        ("kernels/attend/x.py", "import transformers", ["kernels import transformers"]),
        ("lcdoc/tasks/x.py", "import lcdoc.models.files, lcdoc.kernels.attend", []),
        ("kernels/attend/x.py", "from . import naive", []),
    ],
)
def test_a_wrong_import_is_found(
    layer: str, code: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "CHECKOUT", tmp_path)
    path = tmp_path / layer
    path.parent.mkdir(parents=True)
    path.write_text(code, encoding="utf-8")
    assert list(violations(path)) == found


def test_files_are_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources()}
    too_long = {str(path): length for path, length in lines.items() if length > MAX_LINES}
    assert too_long == {}
    assert median(lines.values()) < MAX_MEDIAN_LINES
