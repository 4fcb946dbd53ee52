"""Call functions in a process of the sandbox, and check their replies.

The caller is trusted and may call any function. The process is not trusted: its reply
must have the type of the function's annotation, or be an error of a closed set.
"""

from __future__ import annotations

import functools
import importlib
import os
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from handler.errors import HandlerError, error_with_code
from handler.sandbox import channel, landlock
from handler.sandbox.confinement import confine
from handler.sandbox.wire import Parcel, Reader, WireError, Writer

__all__ = [
    "MESSAGE_SECONDS",
    "InvalidReplyError",
    "receive_reply",
    "send_call",
    "serve",
]

MESSAGE_SECONDS = 10.0
"""Time within which a message must arrive once it has begun."""

_RESULT, _REFUSAL, _ERROR = "result", "refusal", "error"
_MAX_ERROR_CHARACTERS = 2_000


class InvalidReplyError(Exception):
    """The process sent a reply that does not fit its function's annotation."""


def send_call(
    connection: Connection,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    message_seconds: float = MESSAGE_SECONDS,
) -> None:
    """Ask the process at the other end to call `function`.

    Raises WireError for arguments that are not of the annotated types, and OSError
    where the process has ended, does not read, or has sent an unrequested message.
    """
    parcel = _call_parcel(function, args, kwargs)
    if channel.has_unread_bytes(connection.fileno()):
        raise BrokenPipeError("the process has ended or sent an unrequested message")
    channel.send(connection.fileno(), parcel, message_seconds)


def receive_reply(
    connection: Connection,
    function: Callable[..., Any],
    *,
    message_seconds: float = MESSAGE_SECONDS,
) -> tuple[Exception | None, Any]:
    """Return the error that `function` raised, or None and what it returned.

    Raises InvalidReplyError for a reply that is not of the annotated type or stops
    midway, and EOFError or OSError where the process has ended.
    """
    try:
        parcel = channel.receive(connection.fileno(), message_seconds)
        return _read_reply(parcel, function)
    except TimeoutError as error:
        raise InvalidReplyError("the reply stops midway") from error
    except WireError as error:
        raise InvalidReplyError(str(error)) from error


def serve(
    connection: Connection, modules: Sequence[str], memory_bytes: int | None
) -> None:
    """Import `modules`, confine this process, then run calls until the pipe closes.

    After that, only files in the interpreter's folders and in this package can be
    opened, and without Landlock none at all. Name the modules of all functions that
    will be called. Without Landlock, a module's `import_all`, if it has one, imports
    what the module would otherwise import on demand.
    """
    for name in modules:
        module = importlib.import_module(name)
        if landlock.supported_version() == 0 and hasattr(module, "import_all"):
            module.import_all()
    confine(memory_bytes)
    while True:
        parcel = channel.receive(connection.fileno(), may_bring_files=True)
        try:
            reply = _run(parcel)
        finally:
            for descriptor in parcel.descriptors:
                os.close(descriptor)
        del parcel
        try:
            channel.send(connection.fileno(), reply)
        except WireError as error:
            channel.send(connection.fileno(), _error_parcel(error))


def _call_parcel(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Parcel:
    writer = Writer()
    names, hints = _parameters(function)
    structure = [
        writer.write(function.__module__, str),
        writer.write(function.__qualname__, str),
        [
            writer.write(value, hints.get(name, Any))
            for value, name in zip(args, _pad_names(names, len(args)), strict=True)
        ],
        [
            [writer.write(name, str), writer.write(value, hints.get(name, Any))]
            for name, value in kwargs.items()
        ],
    ]
    return writer.parcel(structure)


def _run(parcel: Parcel) -> Parcel:
    """Run a call and return its reply.

    Raises MemoryError and errors in the call itself, which end the process.
    """
    reader = Reader(parcel)
    module, qualname, args, kwargs = parcel.structure
    function = _find_function(reader.read(module, str), reader.read(qualname, str))
    names, hints = _parameters(function)
    values = [
        reader.read(value, hints.get(name, Any))
        for value, name in zip(args, _pad_names(names, len(args)), strict=True)
    ]
    named = {}
    for key, value in kwargs:
        name = reader.read(key, str)
        named[name] = reader.read(value, hints.get(name, Any))
    try:
        result = function(*values, **named)
        writer = Writer()
        written = writer.write(result, hints.get("return", Any))
        return writer.parcel([_RESULT, written])
    except MemoryError:
        raise
    except Exception as error:  # the caller gets every error of the function
        return _error_parcel(error)


def _error_parcel(error: Exception) -> Parcel:
    writer = Writer()
    if isinstance(error, HandlerError):
        words = [writer.write(error.code, str), writer.write(error.detail, str)]
        return writer.parcel([_REFUSAL, words])
    return writer.parcel(
        [_ERROR, writer.write(repr(error)[:_MAX_ERROR_CHARACTERS], str)]
    )


def _read_reply(
    parcel: Parcel, function: Callable[..., Any]
) -> tuple[Exception | None, Any]:
    structure = parcel.structure
    if not isinstance(structure, list) or len(structure) != 2:
        raise WireError("the reply has no kind")
    kind, written = structure
    reader = Reader(parcel)
    error: Exception | None = None
    result = None
    if kind == _RESULT:
        _, hints = _parameters(function)
        result = reader.read(written, hints.get("return", Any))
    elif kind == _REFUSAL:
        code, detail = reader.read(written, tuple[str, str])
        error = error_with_code(code, detail)
    elif kind == _ERROR:
        error = RuntimeError(reader.read(written, str))
    else:
        raise WireError("the reply is of no known kind")
    reader.finish()
    return error, result


def _find_function(module: str, qualname: str) -> Callable[..., Any]:
    root: Any = importlib.import_module(module)
    found: Callable[..., Any] = functools.reduce(getattr, qualname.split("."), root)
    return found


@functools.lru_cache
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of positional parameters, and all annotations by name."""
    if not isinstance(function, types.FunctionType):
        return (), {}  # a builtin, which has no annotations
    code = function.__code__
    return code.co_varnames[: code.co_argcount], typing.get_type_hints(function)


def _pad_names(names: Sequence[str], length: int) -> list[str]:
    return [*names[:length], *[""] * (length - len(names))]
