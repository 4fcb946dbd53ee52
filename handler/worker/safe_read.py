"""Reading of a request that always ends with a reply and never raises."""

from __future__ import annotations

import logging
from collections.abc import Callable

from handler.errors import ClientGoneError, EngineError, HandlerError, OverloadedError
from handler.http.reply import Reply, problem_reply
from handler.logs import OUT_OF_DESCRIPTORS, is_out_of_descriptors
from handler.worker.open_request import OpenRequest

__all__ = ["read_safely"]

logger = logging.getLogger(__name__)


def read_safely(read: Callable[[OpenRequest], Reply], request: OpenRequest) -> Reply:
    """Return the reply of `read`, or a problem reply for the error that it raises.

    Never raises. Errors other than HandlerError are logged. `read` is not called for a
    request that is cancelled already. If the client has disconnected, returns
    `client_gone` with the pages that were read, which are counted.
    """
    try:
        if request.is_cancelled:
            raise EngineError("the client has disconnected")
        reply = read(request)
    except HandlerError as error:
        reply = problem_reply(error, request.id)
        _clear_tracebacks(error)
    except Exception as failure:
        if is_out_of_descriptors(failure):
            # For example, a decoder could not be started. The document is not at
            # fault, and sending it again may succeed.
            logger.exception(OUT_OF_DESCRIPTORS, extra={"request_id": request.id})
            shortage = OverloadedError("the server has too many files open now")
            reply = problem_reply(shortage, request.id)
        else:
            logger.exception("request failed", extra={"request_id": request.id})
            reply = problem_reply(HandlerError(), request.id)
        _clear_tracebacks(failure)
    if request.is_disconnected:
        pages = tuple(page for page in reply.pages if page.error is None)
        gone = ClientGoneError("the client closed its connection")
        return problem_reply(gone, request.id, pages)
    return reply


def _clear_tracebacks(error: BaseException | None) -> None:
    """Remove the tracebacks of an error and of the errors that caused it.

    They refer to local variables, such as the document. A function that also refers to
    the error forms a cycle, which would be freed only after many requests.
    """
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
