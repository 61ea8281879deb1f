"""Every bound of the server in one place."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 2**20


@dataclass(frozen=True)
class ServeLimits:
    """What is read, held and waited for at most.

    Args:
        max_body_bytes: Of one request.
        max_bodies_bytes: Of all requests that are being read or answered.
        max_rows: Of one request.
        max_explained_rows: Of one request for explanations: each asks the model some hundred times.
        max_medium_bytes: Of one picture, sound, video or series, before it is decoded.
        max_parts: Parts of one multipart body.
        max_json_depth: Lists and objects inside each other.
        max_json_keys: Keys of all objects of one body.
        max_headers: Headers of one request.
        max_header_bytes: Of all of them.
        header_s: From the first byte of a request, or the opening of a connection, to the end of its headers.
        body_s: From the end of the headers to the end of the body.
        request_s: From the end of the body to the answer.
        max_requests: Requests that are read or answered at once.
        max_connections: Open connections.
        max_batch: Rows that the model answers at once.
        max_wait_s: So long a row waits for others that are being decoded.
        max_queue: Rows that wait.
        max_delay_s: A request that would wait longer is turned away at once.
        max_streams: Open WebSockets.
        max_message_bytes: Of one message of a stream.
        max_window_s: Longest window of a stream.
        stream_idle_s: A stream that says nothing for so long is closed.
        stuck_s: A batch that takes longer makes the server unhealthy.
        shutdown_s: For the requests that are being answered when the server is told to end.
        reload_s: Between two looks at the model's folder.
    """

    max_body_bytes: int = 64 * MEGABYTE
    max_bodies_bytes: int = 256 * MEGABYTE
    max_rows: int = 512
    max_explained_rows: int = 4
    max_medium_bytes: int = 32 * MEGABYTE
    max_parts: int = 1024
    max_json_depth: int = 32
    max_json_keys: int = 100_000
    max_headers: int = 100
    max_header_bytes: int = 32 * 1024
    header_s: float = 10.0
    body_s: float = 30.0
    request_s: float = 60.0
    max_requests: int = 128
    max_connections: int = 512
    max_batch: int = 32
    max_wait_s: float = 0.002
    max_queue: int = 1024
    max_delay_s: float = 10.0
    max_streams: int = 16
    max_message_bytes: int = 8 * MEGABYTE
    max_window_s: float = 60.0
    stream_idle_s: float = 60.0
    stuck_s: float = 60.0
    shutdown_s: float = 20.0
    reload_s: float = 2.0
