"""The exported runtime behind LitServe, as its documentation batches requests; prints its address as JSON.

python benchmarks/peers/litserve_server.py RUN BATCH
"""

from __future__ import annotations

import base64
import json
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from typing import Any

import litserve


class Fused(litserve.LitAPI):  # type: ignore[misc]
    def __init__(self, run: str, batch: int) -> None:
        super().__init__(max_batch_size=batch, batch_timeout=0.002)
        self.run = run

    def setup(self, device: str) -> None:
        from omnifuse.deploy.runtime import Runtime

        self.runtime = Runtime(self.run, threads=1)

    def decode_request(self, request: dict[str, Any]) -> dict[str, Any]:
        (row,) = request["rows"]
        return {
            name: base64.b64decode(cell["base64"]) if isinstance(cell, dict) and "base64" in cell else cell
            for name, cell in row.items()
        }

    def predict(self, rows: list[dict[str, Any]] | dict[str, Any]) -> list[dict[str, Any]] | dict[str, Any]:
        several = isinstance(rows, list)
        answers = [item.to_json() for item in self.runtime.predict(rows if several else [rows])]
        return answers if several else answers[0]

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        return {"predictions": [output]}


def tell(port: int) -> None:
    """Say where the server is once it answers."""
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as response:
                if response.status == 200:
                    break
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
    print(json.dumps({"url": f"http://127.0.0.1:{port}/"}), flush=True)


if __name__ == "__main__":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    threading.Thread(target=tell, args=(free,), daemon=True).start()
    server = litserve.LitServer(Fused(sys.argv[1], int(sys.argv[2])), accelerator="cpu")
    server.run(host="127.0.0.1", port=free, generate_client_file=False)
