"""Compression of an export, gzip or zstd: written by choice, and recognised by content on reading.

What an export is, its digest and its attestation are over the uncompressed bytes: compressors of
different versions write different bytes.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from types import ModuleType
from typing import IO, Any, cast

from elspeth.core.extras import extra_hint

_HEAD_BYTES = 4
_BUFFER_BYTES = 2**17
# Memory that a frame may ask for: 128 MiB, the limit of zstd's own command.
_LARGEST_WINDOW_LOG = 27
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


class Compression(StrEnum):
    """How the bytes of an export are compressed."""

    GZIP = "gzip"
    ZSTD = "zstd"

    @property
    def suffix(self) -> str:
        """The usual end of a file name."""
        return {Compression.GZIP: ".gz", Compression.ZSTD: ".zst"}[self]


_MAGIC = {b"\x1f\x8b": Compression.GZIP, b"\x28\xb5\x2f\xfd": Compression.ZSTD}


class CompressionUnavailableError(ValueError):
    """The package of a compression is not installed; the message says how to install it."""


class DamagedCompressionError(ValueError):
    """Compressed bytes are cut off or changed."""


def compression_of(head: bytes) -> Compression | None:
    """Return the compression of a file by its first four bytes; None if it is not compressed."""
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def require(kind: Compression) -> None:
    """Raise CompressionUnavailableError if the package of a compression is missing."""
    if kind is Compression.ZSTD:
        _zstd()


@contextmanager
def compressing(file: IO[bytes], kind: Compression | None) -> Iterator[IO[bytes]]:
    """Open a file for writing compressed bytes into another, which stays open.

    The same bytes give the same file: gzip gets neither the name nor the time of the file. A block
    that raises leaves the compressed data without its end, so that no reader takes it for whole.

    Args:
        file: The file that gets the compressed bytes.
        kind: The compression; None writes the bytes as they are.

    Raises:
        CompressionUnavailableError: The package of `kind` is missing.
    """
    if kind is None:
        yield file
        return
    output = _Output(file)
    # The writer is closed also after an error, so that no finalizer writes into a file that is
    # closed by then. The first guard is for an error of the first or the last bytes: a finalizer of
    # CPython 3.13 would write once more, and print a traceback.
    with (
        output.abandoned_on_error(),
        _compressor(output, kind) as writer,
        output.abandoned_on_error(),
    ):
        yield writer


def _compressor(output: Any, kind: Compression) -> Any:
    """Open a file for writing compressed bytes into another. gzip writes its header at once."""
    if kind is Compression.GZIP:
        return gzip.GzipFile("", "wb", _GZIP_LEVEL, output, mtime=0)
    zstd = _zstd()
    parameter = zstd.CompressionParameter
    options = {parameter.compression_level: _ZSTD_LEVEL, parameter.checksum_flag: 1}
    return zstd.ZstdFile(output, "wb", options=options)


@contextmanager
def decompressed(file: io.BufferedReader) -> Iterator[io.BufferedReader]:
    """Open a file for reading its uncompressed bytes; what is not compressed is read as it is.

    Args:
        file: The file, at its beginning; it may be a pipe, and stays open.

    Raises:
        CompressionUnavailableError: The package of the compression is missing.
        DamagedCompressionError: Raised by reading, where the compressed bytes are damaged.
        OSError: The file cannot be read.
    """
    kind = compression_of(file.peek(_HEAD_BYTES))
    if kind is None:
        yield file
        return
    source: Any
    if kind is Compression.GZIP:
        source = gzip.GzipFile(fileobj=file, mode="rb")
        errors: tuple[type[Exception], ...] = (EOFError, zlib.error, gzip.BadGzipFile)
    else:
        zstd = _zstd()
        limit = {zstd.DecompressionParameter.window_log_max: _LARGEST_WINDOW_LOG}
        source = zstd.ZstdFile(file, "rb", options=limit)
        errors = (EOFError, zstd.ZstdError)
    with (
        source,
        io.BufferedReader(
            cast("Any", _Decompressing(source, kind, errors)), _BUFFER_BYTES
        ) as reader,
    ):
        yield cast("io.BufferedReader", reader)


def is_decompressed(file: io.BufferedReader) -> bool:
    """Whether `decompressed` gave this file for one that is compressed."""
    return isinstance(file.raw, _Decompressing)


class _Output:
    """The file below a compressor, which gets nothing more once it is abandoned."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.is_abandoned = False

    @contextmanager
    def abandoned_on_error(self) -> Iterator[None]:
        """Abandon the file if the block raises."""
        try:
            yield
        except BaseException:
            self.is_abandoned = True
            raise

    def write(self, content: bytes) -> int:
        return len(content) if self.is_abandoned else self._file.write(content)

    def flush(self) -> None:
        if not self.is_abandoned:
            self._file.flush()


class _Decompressing(io.RawIOBase):
    """Reads from a decompressor, whose many errors about damaged bytes become one."""

    def __init__(self, source: Any, kind: Compression, errors: tuple[type[Exception], ...]) -> None:
        super().__init__()
        self._source = source
        self._kind = kind
        self._errors = errors
        self._damage: str | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # Again at every read: some decompressors report the end of the file after an error.
        if self._damage is None:
            try:
                return cast("int", self._source.readinto(buffer))
            except self._errors as error:
                self._damage = str(error).rstrip(".") or type(error).__name__
        raise DamagedCompressionError(f"the {self._kind.value} data is damaged: {self._damage}")


def _zstd() -> ModuleType:
    # Imported on use: the package is an extra until CPython 3.14, whose library has it.
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        try:
            from backports import zstd  # type: ignore[import-not-found, no-redef, unused-ignore]
        except ImportError as error:
            raise CompressionUnavailableError(
                f"zstd needs a package ({error}): {extra_hint('zstd')}"
            ) from error
    return cast("ModuleType", zstd)
