"""What a client is told when its request is refused."""

from __future__ import annotations

import math

from omnifuse.errors import InputError


class RequestError(InputError):
    """A request that is refused.

    Args:
        status: HTTP status.
        what: What happened, for the client: no path of the server, no address, no traceback.
        where: As in `OmnifuseError`.
        fix: As in `OmnifuseError`.
        retry_after_s: When to come again, where coming again may help.
    """

    def __init__(
        self, status: int, what: str, *, where: str = "", fix: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(what, where=where, fix=fix)
        self.status = status
        self.headers: dict[str, str] = {}
        if retry_after_s is not None:
            self.headers["retry-after"] = str(min(max(math.ceil(retry_after_s), 1), 30))
        if status in (408, 413, 431, 503):
            # What the client is still sending is not read to its end
            self.headers["connection"] = "close"


def overloaded(what: str, retry_after_s: float = 1.0) -> RequestError:
    """503: more is asked than can be answered in time."""
    return RequestError(503, what, fix="Try again a little later", retry_after_s=retry_after_s)
