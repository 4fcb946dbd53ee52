"""Remote calls of functions in a confined process.

The caller is trusted and may call any function. The process is not trusted. Its reply
must have the type of the function's return annotation, or be an error of a closed set.
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
from handler.sandbox.wire import Message, MessageReader, MessageWriter, WireError

__all__ = [
    "MESSAGE_SECONDS",
    "InvalidReplyError",
    "receive_reply",
    "send_call",
    "serve",
]

MESSAGE_SECONDS = 10.0
"""Time limit for a message from its first byte to its last."""

_RESULT, _REFUSAL, _ERROR = "result", "refusal", "error"
_MAX_ERROR_CHARACTERS = 2_000


class InvalidReplyError(Exception):
    """The process sent a reply that does not match its function's annotation."""


def send_call(
    connection: Connection,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    message_seconds: float = MESSAGE_SECONDS,
) -> None:
    """Send a call of `function` to the process at the other end of `connection`.

    Raises WireError for arguments that do not have the annotated types, and OSError if
    the process has ended, does not read, or has sent an unrequested message.
    """
    message = _call_message(function, args, kwargs)
    if channel.has_unread_bytes(connection.fileno()):
        raise BrokenPipeError("the process has ended or sent an unrequested message")
    channel.send(connection.fileno(), message, message_seconds)


def receive_reply(
    connection: Connection,
    function: Callable[..., Any],
    *,
    message_seconds: float = MESSAGE_SECONDS,
) -> tuple[Exception | None, Any]:
    """Receive the reply to a call of `function`.

    Returns the error that the function raised, or None, and its return value. Raises
    InvalidReplyError for a reply that does not have the annotated type, or that stalls
    midway, and EOFError or OSError if the process has ended.
    """
    try:
        message = channel.receive(connection.fileno(), message_seconds)
        return _read_reply(message, function)
    except TimeoutError as error:
        raise InvalidReplyError("the reply stalled midway") from error
    except WireError as error:
        raise InvalidReplyError(str(error)) from error


def serve(
    connection: Connection, modules: Sequence[str], memory_bytes: int | None
) -> None:
    """Import `modules`, confine this process for ever, and run the calls it receives.

    Raises EOFError or OSError once the other side has closed the socket.

    `modules` are the names of the modules of all functions that will be called. A
    confined process can open only files in the interpreter's folders and in this
    package. Without Landlock it cannot open any file; then the function `import_all` of
    a module, if it has one, imports everything that the module imports on demand.
    """
    for name in modules:
        module = importlib.import_module(name)
        if landlock.supported_version() == 0 and hasattr(module, "import_all"):
            module.import_all()
    confine(memory_bytes)
    while True:
        message = channel.receive(connection.fileno(), may_bring_files=True)
        try:
            reply = _run(message)
        finally:
            for descriptor in message.descriptors:
                os.close(descriptor)
        del message
        try:
            channel.send(connection.fileno(), reply)
        except WireError as error:
            channel.send(connection.fileno(), _error_message(error))


def _call_message(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Message:
    """Return the message for a call; raise WireError for arguments of a wrong type."""
    writer = MessageWriter()
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
    return writer.finish(structure)


def _run(message: Message) -> Message:
    """Run a call and return the reply.

    Raises MemoryError, and errors in the message of the call. Both end the process.
    """
    reader = MessageReader(message)
    module, qualname, args, kwargs = message.structure
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
        writer = MessageWriter()
        structure = writer.write(result, hints.get("return", Any))
        return writer.finish([_RESULT, structure])
    except MemoryError:
        raise
    except Exception as error:  # every error of the function is sent to the caller
        return _error_message(error)


def _error_message(error: Exception) -> Message:
    """Return the reply for an error: code and detail, or the repr of any other."""
    writer = MessageWriter()
    if isinstance(error, HandlerError):
        words = [writer.write(error.code, str), writer.write(error.detail, str)]
        return writer.finish([_REFUSAL, words])
    return writer.finish(
        [_ERROR, writer.write(repr(error)[:_MAX_ERROR_CHARACTERS], str)]
    )


def _read_reply(
    message: Message, function: Callable[..., Any]
) -> tuple[Exception | None, Any]:
    """Return the error in a reply, or None, and the result of the function.

    Raises WireError for an invalid reply.
    """
    structure = message.structure
    if not isinstance(structure, list) or len(structure) != 2:
        raise WireError("the reply has no kind")
    kind, content = structure
    reader = MessageReader(message)
    error: Exception | None = None
    result = None
    if kind == _RESULT:
        _, hints = _parameters(function)
        result = reader.read(content, hints.get("return", Any))
    elif kind == _REFUSAL:
        code, detail = reader.read(content, tuple[str, str])
        error = error_with_code(code, detail)
    elif kind == _ERROR:
        error = RuntimeError(reader.read(content, str))
    else:
        raise WireError("the reply is of an unknown kind")
    reader.finish()
    return error, result


def _find_function(module: str, qualname: str) -> Callable[..., Any]:
    """Import a module and return its function, or method such as `Class.method`."""
    root: Any = importlib.import_module(module)
    function: Callable[..., Any] = functools.reduce(getattr, qualname.split("."), root)
    return function


@functools.lru_cache
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of the positional parameters and the annotations by name."""
    if not isinstance(function, types.FunctionType):
        return (), {}  # builtin functions have no annotations
    code = function.__code__
    return code.co_varnames[: code.co_argcount], typing.get_type_hints(function)


def _pad_names(names: Sequence[str], length: int) -> list[str]:
    return [*names[:length], *[""] * (length - len(names))]
