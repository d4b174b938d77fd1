"""Head profiles: which heads of a model retrieve, as data, with how it was measured beside it."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from textwrap import indent
from typing import Any

import yaml

from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.replacing import replacing
from lcdoc.errors import UsageError

# Heads with a gate below this stream, unless the user or the plan says otherwise (arXiv 2410.10819, section 3).
GATE_THRESHOLD = 0.5

# Of 2, 4 and 8 the last kept answers closest to those of an exact reading.
WEIGHT_POWER = 8

# Gates in the same one of so many steps are told apart by what landed: training leaves them that far from settled.
GATE_STEPS = 20


@dataclass(frozen=True)
class HeadProfile:
    """gates: [num_layers][num_kv_heads] in [0, 1]; 1 is a head that needs the whole document. Empty in a profile that
    holds nothing but rope.

    model: the name the profile is for. source: how and by whom the gates were measured. prefill_recent_size: the
    wider window of streaming heads while a document is read; None where it is recent_size. measured: the facts of the
    measuring, told as they are. windowed: layers that the model gives no more than a window, whose gates say nothing.
    landed: as gates, the share of heads on which less attention landed while passkeys were repeated; None where that
    was not looked at. rope: factors for each angle of the model's rotary embedding, which take it beyond its window, as
    Extension has them; None where none were searched. citing: from which "threshold" of confidence on the page that an
    answer's sentence attended to is cited, and how that was measured; None where it was not.
    """

    model: str
    gates: tuple[tuple[float, ...], ...]
    sink_size: int
    recent_size: int
    source: str
    prefill_recent_size: int | None = None
    measured: Mapping[str, Any] | None = None
    windowed: frozenset[int] = frozenset()
    landed: tuple[tuple[float, ...], ...] | None = None
    rope: Mapping[str, Any] | None = None
    citing: Mapping[str, Any] | None = None

    @classmethod
    def from_dict(cls, data: Any, origin: str) -> "HeadProfile":
        """Other keys are left alone. Raises UsageError, naming origin, when data is no profile."""
        fields = ("model", "gates", "sink_size", "recent_size", "source")
        if not isinstance(data, dict) or any(field not in data for field in fields):
            raise UsageError(f"{origin} is not a head profile; it needs the keys {', '.join(fields)}")
        gates = () if data["gates"] == [] and data.get("rope") else _table(data["gates"], "gates", origin)
        landed = None if data.get("landed") is None else _table(data["landed"], "landed", origin)
        if landed and [len(row) for row in landed] != [len(row) for row in gates]:
            raise UsageError(f"{origin}: landed must have as many rows and columns as gates")
        sizes = data["sink_size"], data["recent_size"]
        if not all(isinstance(size, int) and size >= 0 for size in sizes):
            raise UsageError(f"{origin}: sink_size and recent_size must be whole numbers of tokens")
        wide = data.get("prefill_recent_size")
        if wide is not None and not (isinstance(wide, int) and wide >= sizes[1]):
            raise UsageError(f"{origin}: prefill_recent_size must be {sizes[1]} tokens (recent_size) or more")
        measured, rope, citing = (data.get(name) for name in ("measured", "rope", "citing"))
        for name, mapping in (("measured", measured), ("rope", rope), ("citing", citing)):
            if mapping is not None and not isinstance(mapping, dict):
                raise UsageError(f"{origin}: {name} must hold 'name: value' lines")
        if citing is not None and not 0 <= _number(citing.get("threshold")) <= 1:
            raise UsageError(f"{origin}: citing needs a threshold from 0 to 1")
        source = str(data["source"])
        return cls(
            str(data["model"]), gates, *sizes, source, wide, measured, landed=landed, rope=rope, citing=citing
        )

    def to_yaml(self) -> str:
        """The profile as its file has it, a row of gates for each layer, to 3 decimals."""
        facts = {
            "model": self.model,
            "source": self.source,
            "sink_size": self.sink_size,
            "recent_size": self.recent_size,
            "prefill_recent_size": self.prefill_recent_size,
        }
        text = "".join(_item(name, value) for name, value in facts.items() if value is not None)
        for name, mapping in (("measured", self.measured), ("rope", self.rope), ("citing", self.citing)):
            if mapping:
                text += f"{name}:\n" + indent("".join(_item(*item) for item in mapping.items()), "  ")
        for name, table in (("gates", self.gates), ("landed", self.landed)):
            rows = (", ".join(f"{number:.3f}" for number in row) for row in table or ())
            text += f"{name}:\n" + "".join(f"  - [{row}]\n" for row in rows) if table else ""
        return text if self.gates else text + "gates: []\n"

    @property
    def sha256(self) -> str:
        """Of the profile as its file has it, but for `citing`, which decides nothing of how documents are read."""
        return hashlib.sha256(replace(self, citing=None).to_yaml().encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Replaces the file in one step. Raises LcdocError where it can't be written."""
        with replacing(path, "the profile", 0o644) as new:
            new.write_text(self.to_yaml(), encoding="utf-8")

    def for_windows(self, windows: Sequence[int | None]) -> "HeadProfile":
        """The profile for a model whose layers have these windows, or None, of their own."""
        return replace(
            self, windowed=frozenset(idx for idx, window in enumerate(windows) if window is not None)
        )

    @property
    def order(self) -> list[tuple[int, int]]:
        """The (layer, KV head) pairs that can stream, the one that needs the document least first. Where the profile
        says what landed, that decides between gates within one of GATE_STEPS. Equals are taken over all layers in turn:
        no layer goes as a whole where many gates are at 0 or 1."""
        pairs = [
            (layer, head)
            for head in range(len(self.gates[0]))
            for layer in range(len(self.gates))
            if layer not in self.windowed
        ]

        def need(pair: tuple[int, int]) -> tuple[float, float]:
            layer, head = pair
            gate = self.gates[layer][head]
            if self.landed is None:
                return gate, 0.0
            return min(int(gate * GATE_STEPS), GATE_STEPS - 1), self.landed[layer][head]

        return sorted(pairs, key=need)

    def streaming(
        self, count: int, sink_size: int | None = None, recent_size: int | None = None
    ) -> HeadSplit:
        """The split in which the first `count` heads of the order stream; sizes in tokens, else the profile's."""
        recent = self.recent_size if recent_size is None else recent_size
        wide = self.prefill_recent_size
        chosen = self.order[:count]
        layers = tuple(
            frozenset(head for layer, head in chosen if layer == layer_idx)
            for layer_idx in range(len(self.gates))
        )
        return HeadSplit(
            layers,
            self.sink_size if sink_size is None else sink_size,
            recent,
            wide if wide is not None and wide > recent else None,
        )

    @property
    def head_weights(self) -> tuple[tuple[float, ...], ...]:
        """How much each head is one of those that retrieve, [num_layers][num_kv_heads] in (0, 1]: its rank, as a share
        of all that can stream, to a power that leaves few. Where none can, all weigh the same."""
        places = {pair: place for place, pair in enumerate(self.order, start=1)}
        most = max(len(places), 1)
        return tuple(
            tuple((places.get((layer, head), 1) / most) ** WEIGHT_POWER for head in range(len(row)))
            for layer, row in enumerate(self.gates)
        )

    @property
    def num_streaming(self) -> int:
        """Heads that can stream and have a gate below GATE_THRESHOLD."""
        return sum(self.gates[layer][head] < GATE_THRESHOLD for layer, head in self.order)

    def check_shape(self, num_layers: int, num_kv_heads: int) -> None:
        """Raises UsageError when the profile is of another shape than the model."""
        if not self.gates:
            return
        shape = len(self.gates), len(self.gates[0])
        if shape != (num_layers, num_kv_heads):
            raise UsageError(
                f"the profile for {self.model} has {shape[0]} layers of {shape[1]} KV heads, but the model has "
                f"{num_layers} of {num_kv_heads}; choose the model's own profile"
            )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else -1.0


def _table(rows: Any, name: str, origin: str) -> tuple[tuple[float, ...], ...]:
    """Numbers from 0 to 1 in rows of equal length; UsageError where the file has others."""
    valid = isinstance(rows, list) and rows and all(isinstance(row, list) and row for row in rows)
    if not valid or len({len(row) for row in rows}) != 1:
        raise UsageError(f"{origin}: {name} must be rows of equal length, a row per layer")
    if not all(isinstance(number, int | float) and 0 <= number <= 1 for row in rows for number in row):
        raise UsageError(f"{origin}: every number of {name} must be from 0 to 1")
    return tuple(tuple(float(number) for number in row) for row in rows)


def _item(name: str, value: Any) -> str:
    """One key of a YAML mapping, lists and mappings in it in brackets."""
    nested = isinstance(value, list | tuple | dict)
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(
        {name: value}, allow_unicode=True, width=100, default_flow_style=None if nested else False
    )
    return str(text)


def shipped_profiles() -> dict[str, Path]:
    """Name -> file of the profiles that come with lcdoc."""
    folder = Path(str(resources.files("lcdoc.profiles")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_profile(name_or_path: str) -> HeadProfile:
    """A profile by its shipped name or its path; UsageError when there is none or it is broken."""
    shipped = shipped_profiles()
    path = shipped.get(name_or_path.lower()) or Path(name_or_path)
    if not path.is_file():
        names = ", ".join(shipped) or "none"
        raise UsageError(f"no head profile {name_or_path!r}; give a YAML file or one of: {names}")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not readable YAML: {str(error).splitlines()[0]}") from error
    return HeadProfile.from_dict(data, str(path))
