"""A time limit that several networks share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

# A network trains so long however little time is left
LEAST_SECONDS = 1.0


@dataclass
class Budget:
    """A time limit shared by several networks in order: each gets its weight's share of what is left."""

    seconds: float | None
    weights: tuple[float, ...]
    started: float = field(default_factory=time.monotonic)
    done: int = 0

    def share(self, networks: int = 1) -> float | None:
        """Seconds for the next networks, trained side by side; None where there is no limit."""
        if self.seconds is None:
            return None
        left = self.seconds - (time.monotonic() - self.started)
        ahead = sum(self.weights[self.done :])
        return max(left, LEAST_SECONDS) * (sum(self._next(networks)) / ahead if ahead else 1.0)

    def eta(self, fraction: float, networks: int = 1) -> float:
        """Seconds until all networks are trained, from the time that the finished share took."""
        done = (sum(self.weights[: self.done]) + fraction * sum(self._next(networks))) / sum(self.weights)
        elapsed = time.monotonic() - self.started
        left = elapsed * (1 - done) / max(done, 1e-3)
        return left if self.seconds is None else min(left, max(self.seconds - elapsed, 0.0))

    def _next(self, networks: int) -> tuple[float, ...]:
        return self.weights[self.done : self.done + networks]
