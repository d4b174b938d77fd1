"""A zip file that is checked before anything of it is unpacked."""

import io
import lzma
import zipfile
import zlib
from xml.etree import ElementTree

from lcdoc.documents.limits import MEBIBYTE, Limits
from lcdoc.errors import DocumentError

# What zipfile raises for damage; NotImplementedError is for a compression that nobody uses, ValueError for an offset
# before the file's start.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    OSError,
    ValueError,
)
# What ElementTree raises for damage; LookupError is for an encoding that nobody knows.
_NO_XML = (ElementTree.ParseError, ValueError, LookupError)


class Archive:
    """Reads the files of a docx or epub.

    Opening raises DocumentError when the archive is broken or breaks a limit; sizes are taken from the
    directory, and unpacking stops there too, since a directory can lie.
    """

    def __init__(self, data: bytes, source: str, limits: Limits) -> None:
        self._source = source
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError):
            raise DocumentError(f"{source}: a broken zip file; fetch it again") from None
        entries = self._zip.infolist()
        self.names = frozenset(entry.filename for entry in entries)
        if len(entries) > limits.archive_entries:
            raise DocumentError(
                f"{source}: holds {len(entries):,} files, more than the limit of {limits.archive_entries:,}"
            )
        total_bytes = sum(entry.file_size for entry in entries)
        if total_bytes > limits.archive_bytes:
            raise DocumentError(
                f"{source}: unpacks to {total_bytes:,} bytes, more than the limit of {limits.archive_bytes:,}"
            )
        for entry in entries:
            growth = entry.file_size // max(entry.compress_size, 1)
            if entry.file_size > MEBIBYTE and growth > limits.archive_ratio:
                raise DocumentError(
                    f"{source}: {entry.filename} grows {growth:,} times when unpacked, more than the "
                    f"limit of {limits.archive_ratio}; it looks like a zip bomb"
                )

    def read_markup(self, name: str) -> bytes:
        """As read, for XML; raises DocumentError where it defines entities, which grow when they are read or reach for
        other files."""
        data = self.read(name)
        if b"<!ENTITY" in data.replace(b"\0", b""):
            raise DocumentError(
                f"{self._source}: {name} defines XML entities; none are needed, export it anew"
            )
        return data

    def read_xml(self, name: str) -> ElementTree.Element:
        """Its root; raises DocumentError where it is damaged, and as read_markup does."""
        try:
            return ElementTree.fromstring(self.read_markup(name))
        except _NO_XML:
            raise DocumentError(f"{self._source}: {name} is damaged; fetch the file again") from None

    def read(self, name: str) -> bytes:
        """One file's bytes; raises DocumentError when it is missing, locked or damaged."""
        try:
            with self._zip.open(name) as file:
                # Never past the size that was checked; zipfile itself verifies length and checksum.
                return file.read(self._zip.getinfo(name).file_size)
        except KeyError:
            raise DocumentError(f"{self._source}: {name} is missing; the file is incomplete") from None
        except _BROKEN:
            raise DocumentError(f"{self._source}: {name} is damaged; fetch the file again") from None
        except RuntimeError:  # zipfile's way to say that a password is needed
            raise DocumentError(f"{self._source}: locked with a password; save it without one") from None
