"""Opening a reading of documents, whatever their length."""

from collections.abc import Callable, Sequence

from lcdoc.config import ReadSettings
from lcdoc.documents.document import Document
from lcdoc.store.store import Store
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.host import Host
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.parts_plan import is_read_in_parts
from lcdoc.tasks.parts_reading import PartsReading
from lcdoc.tasks.progress import Observer, silent
from lcdoc.tasks.room import Need
from lcdoc.tokens import Prompt, tokenize

AnyReading = Reading | PartsReading


def open_reading(
    documents: Sequence[Document],
    settings: ReadSettings,
    *,
    max_new_tokens: int = 512,
    questions: Sequence[str] = (),
    observer: Observer = silent,
    on_note: Callable[[str], None] = lambda note: None,
    host: Host | None = None,
    store: Store | None = None,
) -> AnyReading:
    """A reading at once where the documents fit, or their positions are extended, else one in parts. Arguments and
    errors are those of Reading."""
    host = host or Host(settings)
    tokens = tokenize(host.tokenizer, documents)
    need = Need.of(Prompt.from_tokenizer(host.tokenizer), tokens, questions, max_new_tokens)
    own, shape = with_own_profile(settings, host.files), host.shape(settings.weights)
    in_parts = is_read_in_parts(host.plan, host.config, own, need, shape)
    return (PartsReading if in_parts else Reading)(
        documents,
        settings,
        max_new_tokens=max_new_tokens,
        questions=questions,
        observer=observer,
        on_note=on_note,
        host=host,
        tokens=tokens,
        store=store,
    )
