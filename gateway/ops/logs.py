"""Log lines on stderr: one event with its fields a line, as text or as JSON.

    log = get_logger(__name__)
    log.info("ready", address="127.0.0.1:8080", gateway="ab12")

Built on the standard library's logging, so that what asyncio and redis say
comes out in the same form.  Knows nothing of what is logged.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

_OWN = "gateway"
_SECRETS = (
    # redis://user:password@host, to the last @: an unescaped password may hold one.
    (re.compile(r"(?<=://)\S*@"), "***@"),
    (re.compile(r"([?&](?:ssl_)?password=)[^&\s]*"), r"\1***"),
)


_bound: dict[str, object] = {}


def bind(**fields: object) -> None:
    """Have every line from now on carry these ``fields``, first."""
    _bound.update(fields)


def redacted(text: str) -> str:
    """``text`` without the user names and passwords of the URLs in it."""
    if "://" in text:
        for secret, shown in _SECRETS:
            text = secret.sub(shown, text)
    return text


class Logger:
    """``log.info(event, **fields)`` and its kin.  A level that is off costs one look-up.

    ``event`` is a constant; what varies goes into fields.  Values of fields are
    strings, numbers, booleans, None or lists of them; others are shown as ``str()``.
    """

    __slots__ = ("_logger",)

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._log(logging.ERROR, event, fields, exc_info=True)

    def _log(
        self, level: int, event: str, fields: dict[str, object], *, exc_info: bool = False
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": fields}, exc_info=exc_info)


def get_logger(name: str) -> Logger:
    """The logger of a module: ``get_logger(__name__)``."""
    return Logger(name)


def setup(format: str, level: int = logging.INFO) -> None:
    """Log to stderr as ``format``, 'text' or 'json'.  A later call replaces an earlier one.

    ``level`` holds for the gateway; libraries are heard from WARNING on.
    """
    # What no line shows is not looked for (Python's logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    handler = _Stderr(sys.stderr)
    handler.setFormatter(_Json() if format == "json" else _Text())
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Stderr)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(_OWN).setLevel(level)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to stderr, and outlives it: a reader that went away must not end a gateway."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif error.errno in (errno.EPIPE, errno.EIO):
            # Nobody will ever read it.  What stays in the stream's buffer would
            # make the interpreter exit with 120, so let it go nowhere.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)


class _Text(logging.Formatter):
    """``12:00:00.123 info ready address=127.0.0.1:8080``, UTC; always one line but for tracebacks.

    The lines of a traceback are indented, so that none can pass for an event.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        words = [time, record.levelname.lower(), _escaped(redacted(record.getMessage()))]
        words += [f"{_escaped(key)}={_word(value)}" for key, value in _fields(record).items()]
        lines = [" ".join(words)]
        if record.exc_info:
            trace = redacted(self.formatException(record.exc_info))
            lines += [f"    {_escaped(line)}" for line in trace.split("\n")]
        return "\n".join(lines)


class _Json(logging.Formatter):
    """One JSON object a line, ASCII only: time (UTC, ISO 8601), level, event, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": redacted(record.getMessage()),
        }
        for key, value in _fields(record).items():
            line[f"{key}_" if key in line else key] = _plain(value)
        if record.exc_info:
            line["traceback"] = redacted(self.formatException(record.exc_info))
        return json.dumps(line)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: dict[str, object] | None = getattr(record, "fields", None)
    if fields is None:
        fields = {"logger": record.name}
    return _bound | fields


def _plain(value: object) -> Any:
    """``value`` as JSON can hold it."""
    if isinstance(value, str):
        return redacted(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return redacted(str(value))


def _word(value: object) -> str:
    """``value`` as one word: quoted if it could be read as more than one."""
    plain = _plain(value)
    if isinstance(plain, list):
        return f"[{','.join(map(_word, plain))}]"
    if not isinstance(plain, str):
        return json.dumps(plain)
    if plain and plain.isprintable() and not any(c in plain for c in ' "=\\'):
        return plain
    return '"' + _escaped(plain.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _escaped(text: str) -> str:
    """``text`` with control, format and separator characters as escapes: no terminal acts on it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
