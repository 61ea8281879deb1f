"""What networks that train side by side tell, as one progress line."""

from __future__ import annotations

import threading
from typing import Any

from omnifuse.api.budget import Budget
from omnifuse.api.options import Listener
from omnifuse.training.loop import Report


class JointProgress:
    """One progress line for networks that train side by side: sums and means of what they tell."""

    def __init__(self, title: str, networks: int, budget: Budget, listen: Listener) -> None:
        self.title, self.networks, self.budget, self.listen = title, networks, budget, listen
        self.latest: dict[int, dict[str, Any]] = {}
        self.lock = threading.Lock()

    def report(self, lane: int) -> Report:
        """Takes what the network of one lane tells."""

        def report(data: dict[str, Any]) -> None:
            with self.lock:
                self.latest[lane] = data
                if data.get("remark"):
                    self.listen("note", {"text": f"{self.title}: {data['remark']}"})
                self.listen("train", self._joined())

        return report

    def _joined(self) -> dict[str, Any]:
        told = list(self.latest.values())
        fraction = sum(item["fraction"] for item in told) / self.networks
        scores = [item["score"] for item in told if item["score"] is not None]
        return {
            "name": self.title,
            "step": sum(item["step"] for item in told),
            "steps": sum(item["steps"] for item in told),
            "epoch": min(item["epoch"] for item in told),
            "fraction": fraction,
            "loss": sum(item["loss"] for item in told) / len(told),
            "score": sum(scores) / len(scores) if scores else None,
            "samples_per_s": sum(item["samples_per_s"] for item in told),
            "wait_share": sum(item["wait_share"] for item in told) / len(told),
            "memory_mb": max(item["memory_mb"] for item in told),
            "done": len(told) == self.networks and all(item["done"] for item in told),
            "eta_s": self.budget.eta(fraction, self.networks),
        }
