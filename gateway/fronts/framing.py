"""Bytes to lines, with a longest line.  Knows nothing of what stands in them."""

from __future__ import annotations


class LineTooLong(Exception):
    """A line went over the longest one; what is left of it is dropped as it comes."""


class LineBuffer:
    """Takes bytes as they come and gives out lines, one at a time.

    Holds at most a line of ``max_line_bytes`` and the last read, if ``next``
    is asked until it gives None before more is fed.
    """

    __slots__ = ("_bytes", "_dropping", "_max_line_bytes", "_scanned", "crlf")

    def __init__(self, max_line_bytes: int) -> None:
        self._max_line_bytes = max_line_bytes
        # What came and was not asked for.  Its first _scanned bytes hold no line end.
        # Most people's is empty most of the time, and costs them nothing then.
        self._bytes: bytearray | bytes = b""
        self._scanned = 0
        # Whether the line that the buffer starts with is too long, as its sender was told.
        self._dropping = False
        self.crlf = False
        """Whether a CRLF has come."""

    @property
    def pending(self) -> bool:
        """Whether the last bytes are a line without its end."""
        return bool(self._bytes) and not self._bytes.endswith(b"\n")

    def __len__(self) -> int:
        """Bytes held."""
        return len(self._bytes)

    def __bytes__(self) -> bytes:
        """A copy of the bytes held."""
        return bytes(self._bytes)

    def feed(self, data: bytes) -> None:
        before = len(self._bytes)
        if before:
            self._bytes += data
        else:
            self._bytes = bytearray(data)
        if not self.crlf and self._bytes.find(b"\r\n", max(before - 1, 0)) >= 0:
            self.crlf = True

    def end_line(self) -> None:
        """Take what is pending for a whole line."""
        if self.pending:
            self._bytes += b"\n"

    def next(self) -> bytearray | None:
        """The next line without its LF or CRLF, or None if there is no whole one.

        Raises ``LineTooLong`` in the place of a line that is.
        """
        buffer = self._bytes
        if not isinstance(buffer, bytearray):
            return None
        while (end := buffer.find(b"\n", self._scanned)) >= 0:
            line = buffer[:end]
            # Moves the buffer's start, not its bytes: many lines in one read stay cheap.
            del buffer[: end + 1]
            self._scanned = 0
            if not buffer:
                self._bytes = b""
            if self._dropping:
                self._dropping = False
                continue
            if line.endswith(b"\r"):
                del line[-1]
            if len(line) > self._max_line_bytes:
                raise LineTooLong
            return line
        over = not self._dropping and (len(buffer) - buffer.endswith(b"\r") > self._max_line_bytes)
        self._dropping = self._dropping or over
        if self._dropping:
            # The last byte stays: it may be the CR of a CRLF.
            del buffer[:-1]
        self._scanned = len(buffer)
        if over:
            raise LineTooLong
        return None
