"""`python -m tests.fuzz.guided FORMAT [-max_total_time=S]`: variants that reach new lines of the readers are kept and
varied further. Needs `pip install -e ".[fuzz]"`; other options are libFuzzer's."""

import sys
import tempfile
from importlib import import_module
from pathlib import Path

import atheris

from tests.fuzz.corpus import SUFFIXES, corpus
from tests.fuzz.mutants import mutant

READERS = ("pdf", "docx", "epub", "html", "transcript", "text")
# What is imported here is watched; readers import their parsers only when they need them.
with atheris.instrument_imports(include=["lcdoc.documents", "pypdf", "mammoth"]):
    from lcdoc.documents.limits import LIMITS
    from lcdoc.documents.load import parse
    from lcdoc.errors import DocumentError

    for name in (*(f"lcdoc.documents.{reader}" for reader in READERS), "pypdf", "mammoth"):
        import_module(name)


def main() -> None:
    kind = sys.argv.pop(1)

    def read(data: bytes) -> None:
        try:
            parse(data, f"a.{SUFFIXES.get(kind, kind)}", None, LIMITS)
        except DocumentError as refusal:
            assert "\n" not in str(refusal)

    def vary(data: bytes, max_size: int, seed: int) -> bytes:
        return mutant(data, kind, seed)[:max_size]

    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(corpus()[kind]):
            (Path(folder) / str(number)).write_bytes(data)
        limits = ["-max_len=1000000", "-timeout=30", "-rss_limit_mb=2048"]
        atheris.Setup([*sys.argv, *limits, folder], read, custom_mutator=vary)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
