"""Peak memory of reading, each mode in a new process: a process's peak never comes down again.

`python -m lcdoc.bench.peak` is that process: a request as JSON on stdin, a Peak as JSON on stdout.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lcdoc.bench.comparison import Comparison
from lcdoc.bench.subject import Subject
from lcdoc.bench.turns import Turns
from lcdoc.config import ReadSettings
from lcdoc.errors import LcdocError
from lcdoc.evaluate.modes import STOCK
from lcdoc.models import loaded_bytes
from lcdoc.tasks.progress import Observer, Progress, silent


@dataclass(frozen=True)
class Peak:
    """Bytes of one process: RSS on a CPU, reserved by the allocator on CUDA.

    loaded_bytes: with the model loaded. load_peak_bytes: the most until then. peak_bytes: the most until the
    end, after reading and decoding. kv_bytes: keys and values held at the end.
    """

    weights_bytes: int
    loaded_bytes: int
    load_peak_bytes: int
    peak_bytes: int
    kv_bytes: int


@dataclass(frozen=True)
class MemoryComparison(Comparison):
    """samples: peak_bytes. peaks: the last of each mode, in full."""

    peaks: Mapping[str, Peak] = field(default_factory=dict)

    def to_json(self, unit: str) -> dict[str, Any]:
        return super().to_json(unit) | {"last": {mode: asdict(peak) for mode, peak in self.peaks.items()}}


def compare_memory(
    subject: Subject, settings: ReadSettings, turns: Turns, observer: Observer = silent
) -> Iterator[MemoryComparison]:
    """Peak bytes of reading each length and decoding a little: all there is of a length after each of its turns. Raises
    LcdocError where a process fails."""
    for length in turns.lengths:
        comparison = MemoryComparison.of(length, turns.contestants)
        for repeat in range(turns.repeats):
            peaks = {}
            for mode in turns.order(turns.contestants, repeat):
                peaks[mode] = peak = measure_apart(subject, settings, mode, length)
                observer(Progress("read", length, length, 0.0, peak.kv_bytes, peak.peak_bytes))
            measured = {mode: peak.peak_bytes for mode, peak in peaks.items()}
            comparison = replace(comparison.with_turn(measured), peaks=peaks)
            yield comparison


def measure_apart(subject: Subject, settings: ReadSettings, mode: str, length: int) -> Peak:
    """`measure` in a process of its own."""
    request = {"subject": asdict(subject), "settings": asdict(settings), "mode": mode, "length": length}
    result = subprocess.run(
        [sys.executable, "-m", "lcdoc.bench.peak"],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        said = result.stderr.strip().splitlines() or [_how_it_ended(result.returncode)]
        raise LcdocError(f"reading {length:,} tokens in mode {mode} failed: {said[-1]}")
    return Peak(**json.loads(result.stdout))


def measure(subject: Subject, settings: ReadSettings, mode: str, length: int) -> Peak:
    """Loads, reads and decodes here, and tells what it took of this process's memory so far."""
    from lcdoc.bench.speed import DECODE_TOKENS, random_ids
    from lcdoc.engine.memory import MemoryMeter
    from lcdoc.engine.sampling import Sampler
    from lcdoc.evaluate.modes import open_reader

    stock = mode == STOCK
    model = subject.load("model" if stock else settings.weights, packed=not stock)
    meter = MemoryMeter(model.device)
    at_first_bytes, load_peak_bytes = meter.now_bytes(), meter.peak_bytes()
    reader = open_reader(model, mode, replace(settings, weights="model"), length + DECODE_TOKENS)
    reader.read(random_ids(model, length))
    for _ in reader.decode(Sampler(), (), DECODE_TOKENS):
        pass
    return Peak(
        weights_bytes=loaded_bytes(model),
        loaded_bytes=at_first_bytes,
        load_peak_bytes=load_peak_bytes,
        peak_bytes=meter.peak_bytes(),
        kv_bytes=reader.cache.nbytes,
    )


def _how_it_ended(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "the system ended the process, most likely for want of memory"
    return f"the process ended with code {returncode}"


def _main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt is the parent's to report
    request = json.load(sys.stdin)
    subject, settings = Subject(**request["subject"]), ReadSettings(**request["settings"])
    try:
        peak = measure(subject, settings, request["mode"], request["length"])
    except LcdocError as error:
        sys.exit(str(error))
    json.dump(asdict(peak), sys.stdout)


if __name__ == "__main__":
    _main()
