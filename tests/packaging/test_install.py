"""lcdoc installed as a wheel and editable: its kernels, its data and its command are there from anywhere."""

import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
# pip as it runs in a test: nothing is downloaded, the build runs with the setuptools at hand.
OFFLINE_PIP = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet"]
SOURCES = ("lcdoc", "kernels", "profiles", "pyproject.toml", "README.md", "LICENSE")

PROBE = """
import importlib.resources, importlib.util, lcdoc, sys
import lcdoc.kernels.attend
assert importlib.resources.files("lcdoc.profiles").joinpath("__init__.py").is_file()
assert importlib.util.find_spec("kernels") is None and importlib.util.find_spec("profiles") is None
print(lcdoc.__file__)
"""


def run(*command: str | Path, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, so that building leaves nothing behind in the real one."""
    import shutil

    copy = tmp_path_factory.mktemp("checkout")
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(CHECKOUT / name, copy / name)
    return copy


@pytest.fixture
def environment(tmp_path: Path, cli_env: dict[str, str]) -> Path:
    """A fresh virtual environment that finds the libraries around the tests, but not their lcdoc."""
    folder = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path, env=cli_env)
    site = run(bin_of(folder) / "python", "-c", SITE, cwd=tmp_path, env=cli_env)
    # A path in a .pth file is added without the .pth files in it: an editable lcdoc around us stays out.
    (Path(site) / "around.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder


SITE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def bin_of(environment: Path) -> Path:
    return environment / ("Scripts" if sys.platform == "win32" else "bin")


def install(environment: Path, *what: str | Path, cwd: Path, env: dict[str, str]) -> None:
    # --ignore-installed: the lcdoc around us is not to be taken for this environment's.
    command = [
        bin_of(environment) / "python",
        "-m",
        "pip",
        "install",
        "--ignore-installed",
        *OFFLINE_PIP,
        *what,
    ]
    run(*command, cwd=cwd, env=env)


def check_from_elsewhere(environment: Path, cwd: Path, env: dict[str, str]) -> Path:
    """The installed command and package, used from a folder that has nothing of lcdoc's; where it lies."""
    version = run(bin_of(environment) / "lcdoc", "--version", cwd=cwd, env=env)
    assert PYPROJECT["project"]["version"] in version
    return Path(run(bin_of(environment) / "python", "-c", PROBE, cwd=cwd, env=env))


def test_the_wheel_holds_the_kernels_and_all_data(
    checkout: Path, tmp_path: Path, cli_env: dict[str, str]
) -> None:
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        *OFFLINE_PIP,
        "-w",
        tmp_path,
        checkout,
        cwd=tmp_path,
        env=cli_env,
    )
    (wheel,) = tmp_path.glob("lcdoc-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {
        (Path("lcdoc") if top != "lcdoc" else Path()) / path.relative_to(checkout)
        for top in ("lcdoc", "kernels", "profiles")
        for path in (checkout / top).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == {path.as_posix() for path in expected}


def test_an_installed_wheel_works_from_elsewhere(
    checkout: Path, environment: Path, tmp_path: Path, cli_env: dict[str, str]
) -> None:
    install(environment, checkout, cwd=tmp_path, env=cli_env)
    assert environment in check_from_elsewhere(environment, tmp_path, cli_env).parents


def test_an_editable_install_works_from_elsewhere(
    checkout: Path, environment: Path, tmp_path: Path, cli_env: dict[str, str]
) -> None:
    install(environment, "--editable", checkout, cwd=tmp_path, env=cli_env)
    assert checkout in check_from_elsewhere(environment, tmp_path, cli_env).parents


def test_the_python_needed_is_stated() -> None:
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"
