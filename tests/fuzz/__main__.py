"""`python -m tests.fuzz` from the checkout: gives variants of real files to lcdoc's readers, and tells what broke.

Each variant is known by its format, its seed file and a number, so that a run can be made again. What breaks is written
to --findings, named by the SHA-256 of its bytes; put it into tests/fuzz/findings once it is fixed.
"""

import argparse
import hashlib
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from tests.fuzz.corpus import corpus
from tests.fuzz.mutants import mutant
from tests.fuzz.trial import Outcome, try_file

# Imported once, and not in every process that reads a variant.
PARSERS = ("pypdf", "pypdfium2", "mammoth", "selectolax.lexbor", "charset_normalizer")
FINDINGS = Path(__file__).parent / "findings"


def variants(formats: list[str], first: int) -> Iterator[tuple[str, bytes]]:
    """Without end, the formats in turn."""
    seeds = corpus()
    for number in itertools.count(first):
        for kind in formats:
            files = seeds[kind]
            yield kind, mutant(files[number % len(files)], kind, number)


def main() -> int:
    """1 where anything broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, help="how long; else --executions")
    parser.add_argument("--executions", type=int, default=120, help="how many variants")
    parser.add_argument("--first", type=int, default=0, help="number of the first variant of each format")
    parser.add_argument("--formats", nargs="+", default=sorted(corpus()), choices=sorted(corpus()))
    parser.add_argument("--findings", type=Path, default=FINDINGS.parent / "new")
    options = parser.parse_args()
    for name in PARSERS:
        import_module(name)
    end = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    counts: Counter[tuple[str, str]] = Counter()
    slowest, largest, broken = 0.0, 0, 0
    for number, (kind, data) in enumerate(variants(options.formats, options.first)):
        if number >= options.executions if end is None else time.monotonic() > end:
            break
        outcome = try_file(data, kind)
        slowest, largest = max(slowest, outcome.seconds), max(largest, outcome.peak_bytes)
        counts[kind, "broken" if outcome.broke else outcome.verdict] += 1
        if outcome.broke:
            broken += 1
            _keep(options.findings, kind, data, outcome)
    for (kind, verdict), count in sorted(counts.items()):
        sys.stdout.write(f"{kind}: {count} {verdict}\n")
    sys.stdout.write(
        f"{sum(counts.values())} executions, {broken} broken; slowest {slowest:.1f} s, most memory "
        f"{largest / 1024**2:.0f} MiB\n"
    )
    return 1 if broken else 0


def _keep(folder: Path, kind: str, data: bytes, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(data).hexdigest()[:12]}.{kind}"
    path.write_bytes(data)
    memory = outcome.peak_bytes / 1024**2
    sys.stdout.write(f"{path}: {outcome.seconds:.1f} s, {memory:.0f} MiB: {outcome.verdict[-1500:]}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
