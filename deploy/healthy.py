"""Ends with 0 where the server of this machine says that it lives, or that it is ready; for probes of containers.

    python healthy.py live|ready [PORT]

The token, where the server asks for one, is read from the file that OMNIFUSE_TOKEN_FILE names.
"""

from __future__ import annotations

import http.client
import os
import sys
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_S = 4.0


def healthy(what: str, port: int) -> bool:
    """Whether the server answers 200 for "live" or "ready"."""
    headers, file = {}, os.environ.get("OMNIFUSE_TOKEN_FILE")
    if file:
        headers["Authorization"] = f"Bearer {Path(file).read_text(encoding='utf-8').strip()}"
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", f"/health/{what}", headers=headers)
        return connection.getresponse().status == 200
    finally:
        connection.close()


def main(words: Sequence[str]) -> int:
    """0 for healthy, 1 for anything else."""
    if not words or words[0] not in ("live", "ready"):
        sys.stderr.write("say live or ready\n")
        return 1
    try:
        return 0 if healthy(words[0], int(words[1]) if len(words) > 1 else 8000) else 1
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.stderr.write(f"{type(error).__name__}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
