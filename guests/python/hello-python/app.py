"""Answers GET with one line and sends the body of a POST back."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method_Post,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

# Bytes copied at a time; one such write takes at most 4096.
CHUNK_SIZE = 4096


class IncomingHandler(exports.IncomingHandler):
    """The export wasi:http/incoming-handler."""

    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        response = OutgoingResponse(Fields.from_list([("content-type", b"text/plain")]))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with body.write() as output:
            if isinstance(request.method(), Method_Post):
                copy(request, output)
            else:
                output.blocking_write_and_flush(b"Hello from Python\n")
        OutgoingBody.finish(body, None)


def copy(request: IncomingRequest, output) -> None:
    """Sends the request's body back, piece by piece."""
    with request.consume() as source, source.stream() as stream:
        while True:
            try:
                output.blocking_write_and_flush(stream.blocking_read(CHUNK_SIZE))
            except Err:
                # The end of the body is an error of the stream.
                return
