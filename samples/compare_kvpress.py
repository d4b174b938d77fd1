"""Measures NVIDIA's kvpress on the prompts of lcdoc's needle test, to compare the two evictions of the KV cache.

Run by hand, in a virtual environment of its own, because kvpress wants an older transformers than lcdoc:

    lcdoc eval needle --export prompts.jsonl
    python -m venv kvp && kvp/bin/pip install "kvpress==0.5.5" "transformers==5.2.*"
    kvp/bin/python samples/compare_kvpress.py MODEL_FOLDER prompts.jsonl kvpress.json

Each line of the prompts is one question: document_ids (the head of the template and the document), question_ids
(the question, up to its answer), value (the digits that are right), and what describes it. Answers are greedy
and at most 64 tokens. An answer is right where the digits of the value occur in it as a number of their own.

Two kinds of reading:
- blind: the press sees the document alone, once for all of its questions, and leaves `kept` of its tokens. The
  question is then read in full, on a copy of the cache.
- aware: the press sees the document and the question, and leaves `kept` of the document's tokens and as many more
  as the question has. Which tokens these are is the press's choice: it may drop tokens of the question for others
  of the document. So in both kinds an answer begins with the same number of tokens in the cache. The last token
  of the question is read after the press, so that no token of the answer is drawn from the full cache.

A press drops tokens of a layer only after that layer has attended, so that what it sees is the same at every share
and for every press: one reading serves them all, and each is given its own cache, which its own code fills.

Every press has its own defaults. kv_bytes is what the keys and values hold after the press; in the aware kind that
has the question in it, all but its last token. KVzip masks tokens instead of dropping them, so that it holds all;
attended_share is the share of all that was read that can still be attended to. prefill_s is the shared reading and
what the press itself took, KVzip's second reading too.
"""

import argparse
import copy
import hashlib
import json
import logging
import platform
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from kvpress import (
    BasePress,
    ExpectedAttentionPress,
    KeyDiffPress,
    KVzipPress,
    ScorerPress,
    SnapKVPress,
    StreamingLLMPress,
    TOVAPress,
)
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils.logging import disable_progress_bar

SCHEMA_VERSION = 2
ANSWER_TOKENS = 64
WARM_UP_TOKENS = 128
THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3})")
EXACT, KVZIP = "exact", "KVzip"
SCORERS: dict[str, type[ScorerPress]] = {
    "SnapKV": SnapKVPress,
    "TOVA": TOVAPress,
    "KeyDiff": KeyDiffPress,
    "ExpectedAttention": ExpectedAttentionPress,
    "StreamingLLM": StreamingLLMPress,
}
PRESSES = (*SCORERS, KVZIP)
# The others score by the keys or the place alone, or by a reading of the document alone.
AWARE = ("SnapKV", "TOVA", "ExpectedAttention")
KINDS = ("blind", "aware")
# What tells one prompt from another.
NAMING = ("length_tokens", "depth", "seed", "template", "book")

Prompt = dict[str, Any]
Masks = list[Any]


class Setting(NamedTuple):
    """One row of the result."""

    press: str
    kind: str
    kept_share: float


class Pressed(NamedTuple):
    """A cache as the press left it, and what it took. length_tokens: how many were read into it. masks: for each layer
    the keys in it that are masked, or None."""

    cache: DynamicCache
    length_tokens: int
    prefill_s: float
    masks: Masks


@dataclass
class SidePresses(BasePress):
    """Lets every press fill a cache of its own while the model reads into another, which stays whole."""

    presses: dict[Setting, ScorerPress] = field(default_factory=dict)
    caches: dict[Setting, DynamicCache] = field(default_factory=dict)
    taken_s: dict[Setting, float] = field(default_factory=lambda: defaultdict(float))

    def post_init_from_model(self, model: Any) -> None:
        for setting, press in self.presses.items():
            press.post_init_from_model(model)
            self.caches[setting] = DynamicCache()

    def compress(
        self, module: Any, hidden_states: Any, keys: Any, values: Any, attentions: Any, kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        for setting, press in self.presses.items():
            started = now_s(keys.device)
            left = press.compress(module, hidden_states, keys, values, attentions, kwargs)
            self.caches[setting].update(*left, module.layer_idx)
            self.taken_s[setting] += now_s(keys.device) - started
        return keys, values


class ManyShares(KVzipPress):
    """KVzip with its scores used for several shares."""

    def __init__(self, removed_shares: dict[Setting, float]) -> None:
        super().__init__(compression_ratio=max(removed_shares.values()))
        self.removed_shares = removed_shares
        self.masks: dict[Setting, Masks] = {}

    def compress_post(self, model: Any) -> None:
        for setting, removed_share in self.removed_shares.items():
            self.compression_ratio = removed_share
            super().compress_post(model)
            self.masks[setting] = [block.self_attn.masked_key_indices for block in model.model.layers]


class Comparison:
    """A model, ready to answer prompts under any press."""

    def __init__(self, folder: Path, device: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        # sdpa: kvpress masks in it, and works out for itself the few attention weights that a press needs.
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", attn_implementation="sdpa")
        self.model = model.to(device).eval()
        named = self.model.generation_config.eos_token_id
        self._stop_ids = {*(named if isinstance(named, list) else [named]), self._tokenizer.eos_token_id}

    def warm_up(self, prompts: list[Prompt]) -> None:
        """Reads a little of the first document, so that no measured prefill is the first of all."""
        list(self._prefill(prompts[0]["document_ids"][:WARM_UP_TOKENS], {Setting(EXACT, "blind", 1.0): 0.0}))

    def cells(self, kind: str, settings: list[Setting], prompts: list[Prompt]) -> Iterator[dict[str, Any]]:
        """Answers prompts about the same document, in the aware kind one, under all of the settings."""
        document_ids = prompts[0]["document_ids"]
        question_ids = [] if kind == "blind" else prompts[0]["question_ids"][:-1]
        token_ids = document_ids + question_ids
        part = len(document_ids) / len(token_ids)
        shares = {setting: part * (1 - setting.kept_share) for setting in settings}
        for setting, pressed in self._prefill(token_ids, shares):
            for prompt in prompts:
                rest_ids = prompt["question_ids"][len(question_ids) :]
                yield {**setting._asdict(), **self._cell(prompt, pressed, rest_ids)}

    def _prefill(
        self, token_ids: list[int], removed_shares: dict[Setting, float]
    ) -> Iterator[tuple[Setting, Pressed]]:
        scorers = {s: SCORERS[s.press](share) for s, share in removed_shares.items() if s.press in SCORERS}
        zipped = {setting: share for setting, share in removed_shares.items() if setting.press == KVZIP}
        side, kvzip, cache = SidePresses(scorers), ManyShares(zipped) if zipped else None, DynamicCache()
        layers, device = self.model.model.layers, self.model.device
        with ExitStack() as presses:
            if kvzip is not None:
                presses.enter_context(kvzip(self.model))
            with side(self.model):
                started = now_s(device)
                self.model.model(input_ids=self._row(token_ids), past_key_values=cache)
                read = now_s(device)
        zipped_s, read_s = now_s(device) - read, read - started - sum(side.taken_s.values())
        whole: Masks = [None] * len(layers)
        for setting in removed_shares:
            if setting.press == EXACT:
                yield setting, Pressed(cache, len(token_ids), read_s, whole)
            elif setting.press == KVZIP:
                assert kvzip is not None
                yield setting, Pressed(cache, len(token_ids), read_s + zipped_s, kvzip.masks[setting])
            else:
                taken_s = read_s + side.taken_s[setting]
                yield setting, Pressed(side.caches[setting], len(token_ids), taken_s, whole)

    def _cell(self, prompt: Prompt, pressed: Pressed, rest_ids: list[int]) -> dict[str, Any]:
        """Reads what is left of the prompt and answers, on a copy of the cache."""
        layers = pressed.cache.layers
        for block, mask in zip(self.model.model.layers, pressed.masks, strict=True):
            block.self_attn.masked_key_indices = mask
        answer_ids = self._decode(copy.deepcopy(pressed.cache), pressed.length_tokens, rest_ids)
        answer = str(self._tokenizer.decode(answer_ids, skip_special_tokens=True)).strip()
        described = {
            key: value for key, value in prompt.items() if key not in ("document_ids", "question_ids")
        }
        return {
            **described,
            "prompt_tokens": len(prompt["document_ids"]) + len(prompt["question_ids"]),
            "question_tokens": len(prompt["question_ids"]),
            "kv_bytes": sum(layer.keys.nbytes + layer.values.nbytes for layer in layers),
            "attended_share": round(self._attended_share(pressed), 4),
            "prefill_s": round(pressed.prefill_s, 3),
            "answer": answer,
            "right": is_right(answer, prompt["value"]),
        }

    def _decode(self, cache: DynamicCache, position: int, token_ids: list[int]) -> list[int]:
        """The greedy answer after the tokens, whose first stands at the position. It fills the cache."""
        answer_ids: list[int] = []
        while len(answer_ids) < ANSWER_TOKENS:
            # Positions go on from the whole text, not from what the press left of it.
            end = position + len(token_ids)
            position_ids = torch.arange(position, end, device=self.model.device)[None]
            output = self.model(
                input_ids=self._row(token_ids),
                past_key_values=cache,
                position_ids=position_ids,
                logits_to_keep=1,
            )
            next_id = int(output.logits[0, -1].argmax())
            if next_id in self._stop_ids:
                break
            answer_ids.append(next_id)
            position, token_ids = end, [next_id]
        return answer_ids

    def _attended_share(self, pressed: Pressed) -> float:
        """The share of all keys read that are neither dropped nor masked."""
        attended = 0
        for layer, mask in zip(pressed.cache.layers, pressed.masks, strict=True):
            attended += layer.keys.shape[1] * layer.keys.shape[2] - (0 if mask is None else len(mask[0]))
        heads = self.model.config.num_hidden_layers * self.model.config.num_key_value_heads
        return attended / (heads * pressed.length_tokens)

    def _row(self, token_ids: list[int]) -> torch.Tensor:
        return torch.tensor([token_ids], device=self.model.device)  # [1, length]


def now_s(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def is_right(answer: str, value: str) -> bool:
    """As lcdoc's needle test judges it: the value as a number or word of its own; 1,234,567 is 1234567."""
    plain, edge = THOUSANDS_COMMA.sub("", answer), r"\d" if value.isdigit() else r"\w"
    return re.search(rf"(?<!{edge}){re.escape(value)}(?!{edge})", plain, re.IGNORECASE) is not None


def settings_of(kind: str, presses: list[str], kept_shares: list[float]) -> list[Setting]:
    """The rows of a kind. Nothing is pressed in the exact one, so that its kind makes no difference."""
    exact = [Setting(EXACT, kind, 1.0)] if EXACT in presses and kind == "blind" else []
    able = [press for press in presses if press != EXACT and (kind == "blind" or press in AWARE)]
    return exact + [Setting(press, kind, kept_share) for press in able for kept_share in kept_shares]


def groups_of(kind: str, prompts: list[Prompt]) -> list[list[Prompt]]:
    """The prompts that share a reading."""
    groups: dict[tuple[int, ...], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        seen_ids = prompt["document_ids"] + (prompt["question_ids"] if kind == "aware" else [])
        groups[tuple(seen_ids)].append(prompt)
    return list(groups.values())


def rows_of(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each setting, with means over its cells."""
    rows: dict[Setting, list[dict[str, Any]]] = defaultdict(list)
    for cell in cells:
        rows[Setting(cell["press"], cell["kind"], cell["kept_share"])].append(cell)
    return [
        {
            **setting._asdict(),
            "right": sum(cell["right"] for cell in of_row),
            "total": len(of_row),
            "kv_bytes_mean": round(fmean(cell["kv_bytes"] for cell in of_row)),
            "attended_share_mean": round(fmean(cell["attended_share"] for cell in of_row), 4),
            "prefill_s_mean": round(fmean(cell["prefill_s"] for cell in of_row), 3),
        }
        for setting, of_row in rows.items()
    ]


def new_report(arguments: argparse.Namespace, comparison: Comparison) -> dict[str, Any]:
    """The head of the result. The prompts are named by their hash, so that a run goes on with the same ones."""
    return {
        "schema_version": SCHEMA_VERSION,
        "suite": "kvpress",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            **{name: version(name) for name in ("kvpress", "transformers", "torch")},
            "python": platform.python_version(),
        },
        "machine": {
            "platform": platform.platform(),
            "threads": torch.get_num_threads(),
            "device": arguments.device,
        },
        "model": {
            "name": arguments.model.resolve().name,
            "dtype": str(comparison.model.dtype).removeprefix("torch."),
        },
        "prompts_sha256": hashlib.sha256(arguments.prompts.read_bytes()).hexdigest(),
        "max_new_tokens": ANSWER_TOKENS,
        "results": [],
        "cells": [],
    }


def resume(path: Path, report: dict[str, Any]) -> dict[str, Any]:
    """What the file has already, where it was measured in the same way; the new report where there is none."""
    if not path.exists():
        return report
    found = json.loads(path.read_text(encoding="utf-8"))
    for name in ("schema_version", "versions", "machine", "model", "prompts_sha256", "max_new_tokens"):
        if found.get(name) != report[name]:
            sys.exit(f"{path}: {name} is {found.get(name)}, not {report[name]}; name another file")
    return found


def write(path: Path, report: dict[str, Any]) -> None:
    """Replaces the file in one step, so that a run that is stopped leaves the last whole one."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures kvpress on the prompts of lcdoc's needle test.")
    parser.add_argument("model", type=Path, help="a folder of safetensors, read in its own dtype")
    parser.add_argument("prompts", type=Path, help="what lcdoc eval needle --export wrote")
    parser.add_argument("result", type=Path, help="JSON; what it has already is not measured again")
    names = [EXACT, *PRESSES]
    parser.add_argument("--presses", nargs="+", choices=names, default=names, metavar="PRESS")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kept", nargs="+", type=float, default=[0.5, 0.25, 0.1], help="shares, 0 to 1")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    """Measures what the result lacks, and writes it after each reading."""
    arguments = parse_arguments()
    disable_progress_bar()
    logging.getLogger("kvpress").setLevel(logging.ERROR)  # KVzip warns of its cost each time it is made
    lines = arguments.prompts.read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line) for line in lines if line]
    if not prompts:
        sys.exit(f"{arguments.prompts}: no prompts; export them with lcdoc eval needle --export")
    comparison = Comparison(arguments.model, arguments.device)
    report = resume(arguments.result, new_report(arguments, comparison))
    comparison.warm_up(prompts)
    readings = [(kind, asked) for kind in arguments.kinds for asked in groups_of(kind, prompts)]
    for number, (kind, asked) in enumerate(readings, start=1):
        done = {
            Setting(cell["press"], cell["kind"], cell["kept_share"])
            for cell in report["cells"]
            if all(cell[name] == asked[0][name] for name in NAMING)
        }
        settings = [s for s in settings_of(kind, arguments.presses, arguments.kept) if s not in done]
        if not settings:
            continue
        report["cells"] += comparison.cells(kind, settings, asked)
        report["results"] = rows_of(report["cells"])
        write(arguments.result, report)
        sys.stderr.write(f"reading {number} of {len(readings)}\n")
    for row in report["results"]:
        sys.stderr.write(
            f"{row['press']} {row['kind']} {row['kept_share']:g}: {row['right']} of {row['total']} right, "
            f"{row['kv_bytes_mean'] / 1e6:.1f} MB, prefill {row['prefill_s_mean']:.2f} s\n"
        )


if __name__ == "__main__":
    main()
