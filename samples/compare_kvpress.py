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

Every press has its own defaults, and those over AdaKV the settings of kvpress's own evaluation. kv_bytes is what
the keys and values hold after the press; in the aware kind that has the question in it, all but its last token.
KVzip and AdaKV mask tokens instead of dropping them, so that they hold all; attended_share is the share of all
that was read that can still be attended to. prefill_s is the reading and the press, KVzip's second reading too.
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
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from kvpress import (
    AdaKVPress,
    BasePress,
    ExpectedAttentionPress,
    KeyDiffPress,
    KVzipPress,
    SnapKVPress,
    StreamingLLMPress,
    TOVAPress,
)
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache
from transformers.utils.logging import disable_progress_bar

SCHEMA_VERSION = 1
ANSWER_TOKENS = 64
WARM_UP_TOKENS = 128
THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3})")
EXACT = "exact"
# Each makes a press from its compression_ratio, the share that it removes.
PRESSES: dict[str, Callable[[float], BasePress]] = {
    "SnapKV": SnapKVPress,
    "TOVA": TOVAPress,
    "KeyDiff": KeyDiffPress,
    "ExpectedAttention": ExpectedAttentionPress,
    "KVzip": KVzipPress,
    "StreamingLLM": StreamingLLMPress,
    "AdaKV-SnapKV": lambda ratio: AdaKVPress(SnapKVPress(ratio)),
    "AdaKV-ExpectedAttention": lambda ratio: AdaKVPress(ExpectedAttentionPress(ratio, epsilon=1e-2)),
}
# The others score by the keys or the place alone, or by a reading of the document alone.
AWARE = ("SnapKV", "TOVA", "ExpectedAttention", "AdaKV-SnapKV", "AdaKV-ExpectedAttention")
KINDS = ("blind", "aware")

Prompt = dict[str, Any]


class Setting(NamedTuple):
    """One row of the result."""

    press: str
    kind: str
    kept_share: float


class Pressed(NamedTuple):
    """A cache as the press left it, and what it took. length_tokens: how many were read into it."""

    cache: DynamicCache
    length_tokens: int
    prefill_s: float


class Comparison:
    """A model, ready to answer prompts under any press."""

    def __init__(self, folder: Path, device: str) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        # sdpa: kvpress masks in it, and works out for itself the few attention weights that a press needs.
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", attn_implementation="sdpa")
        self.model = model.to(device).eval()
        named = self.model.generation_config.eos_token_id
        self._stop_ids = {*(named if isinstance(named, list) else [named]), self._tokenizer.eos_token_id}

    def run(self, setting: Setting, prompts: list[Prompt]) -> dict[str, Any]:
        """Answers every prompt. Means are over the prompts; those of one document share its prefill."""
        read = self._read_aware if setting.kind == "aware" else self._read_blind
        cells = list(read(setting, prompts))
        return {
            **setting._asdict(),
            "right": sum(cell["right"] for cell in cells),
            "total": len(cells),
            "kv_bytes_mean": round(fmean(cell["kv_bytes"] for cell in cells)),
            "attended_share_mean": round(fmean(cell["attended_share"] for cell in cells), 4),
            "prefill_s_mean": round(fmean(cell["prefill_s"] for cell in cells), 3),
            "cells": cells,
        }

    def warm_up(self, prompts: list[Prompt]) -> None:
        """Reads a little of the first document, so that no measured prefill is the first of all."""
        self._prefill(prompts[0]["document_ids"][:WARM_UP_TOKENS], EXACT, 0)

    def _read_blind(self, setting: Setting, prompts: list[Prompt]) -> Iterator[dict[str, Any]]:
        documents: dict[tuple[int, ...], list[Prompt]] = defaultdict(list)
        for prompt in prompts:
            documents[tuple(prompt["document_ids"])].append(prompt)
        for document_ids, asked in documents.items():
            pressed = self._prefill(list(document_ids), setting.press, 1 - setting.kept_share)
            for prompt in asked:
                yield self._cell(prompt, pressed, prompt["question_ids"])

    def _read_aware(self, setting: Setting, prompts: list[Prompt]) -> Iterator[dict[str, Any]]:
        for prompt in prompts:
            *question_ids, last_id = prompt["question_ids"]
            token_ids = prompt["document_ids"] + question_ids
            removed_tokens = len(prompt["document_ids"]) * (1 - setting.kept_share)
            pressed = self._prefill(token_ids, setting.press, removed_tokens / len(token_ids))
            yield self._cell(prompt, pressed, [last_id])

    def _prefill(self, token_ids: list[int], press: str, removed_share: float) -> Pressed:
        context = nullcontext() if press == EXACT else PRESSES[press](removed_share)(self.model)
        cache = DynamicCache()
        self._synchronize()
        started = time.perf_counter()
        with context:
            self.model.model(input_ids=self._row(token_ids), past_key_values=cache)
        self._synchronize()
        return Pressed(cache, len(token_ids), time.perf_counter() - started)

    def _cell(self, prompt: Prompt, pressed: Pressed, rest_ids: list[int]) -> dict[str, Any]:
        """Reads what is left of the prompt and answers, on a copy of the cache."""
        layers = pressed.cache.layers
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
        for layer, block in zip(pressed.cache.layers, self.model.model.layers, strict=True):
            masked = getattr(block.self_attn, "masked_key_indices", None)
            num_masked = 0 if masked is None else len(masked[0])
            attended += layer.keys.shape[1] * layer.keys.shape[2] - num_masked
        heads = self.model.config.num_hidden_layers * self.model.config.num_key_value_heads
        return attended / (heads * pressed.length_tokens)

    def _row(self, token_ids: list[int]) -> torch.Tensor:
        return torch.tensor([token_ids], device=self.model.device)  # [1, length]

    def _synchronize(self) -> None:
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()


def is_right(answer: str, value: str) -> bool:
    """As lcdoc's needle test judges it: the value as a number or word of its own; 1,234,567 is 1234567."""
    plain, edge = THOUSANDS_COMMA.sub("", answer), r"\d" if value.isdigit() else r"\w"
    return re.search(rf"(?<!{edge}){re.escape(value)}(?!{edge})", plain, re.IGNORECASE) is not None


def settings_of(presses: list[str], kinds: list[str], kept_shares: list[float]) -> Iterator[Setting]:
    """The rows to measure. Nothing is pressed in the exact one, so that its kind makes no difference."""
    if EXACT in presses:
        yield Setting(EXACT, "blind", 1.0)
    for press in presses:
        for kind in kinds:
            if press != EXACT and (kind == "blind" or press in AWARE):
                yield from (Setting(press, kind, kept_share) for kept_share in kept_shares)


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
    parser.add_argument("result", type=Path, help="JSON; rows that it has already are not measured again")
    names = [EXACT, *PRESSES]
    parser.add_argument("--presses", nargs="+", choices=names, default=names, metavar="PRESS")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kept", nargs="+", type=float, default=[0.5, 0.25, 0.1], help="shares, 0 to 1")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args()


@torch.inference_mode()
def main() -> None:
    """Measures every row that the result lacks, and writes it after each."""
    arguments = parse_arguments()
    disable_progress_bar()
    logging.getLogger("kvpress").setLevel(logging.ERROR)  # KVzip warns of its cost each time it is made
    lines = arguments.prompts.read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line) for line in lines if line]
    if not prompts:
        sys.exit(f"{arguments.prompts}: no prompts; export them with lcdoc eval needle --export")
    comparison = Comparison(arguments.model, arguments.device)
    report = resume(arguments.result, new_report(arguments, comparison))
    done = {Setting(row["press"], row["kind"], row["kept_share"]) for row in report["results"]}
    comparison.warm_up(prompts)
    for setting in settings_of(arguments.presses, arguments.kinds, arguments.kept):
        if setting in done:
            continue
        row = comparison.run(setting, prompts)
        report["results"].append(row)
        write(arguments.result, report)
        sys.stderr.write(
            f"{setting.press} {setting.kind} {setting.kept_share:g}: {row['right']} of {row['total']} right, "
            f"{row['kv_bytes_mean'] / 1e6:.1f} MB, prefill {row['prefill_s_mean']:.2f} s\n"
        )


if __name__ == "__main__":
    main()
