"""Words and tables of the pages that are written from results."""

from __future__ import annotations

from typing import Any


def figure(value: float | None, digits: int = 3) -> str:
    """A figure of so many digits, or a dash."""
    return "-" if value is None else f"{value:.{digits}f}"


def difference(found: dict[str, Any]) -> str:
    """A difference and, where there is one, its interval."""
    if found["low"] is None:
        return f"{found['difference']:+.3f}"
    return f"{found['difference']:+.3f} [{found['low']:+.3f}, {found['high']:+.3f}]"


def mean_score(found: dict[str, Any]) -> str:
    """A mean and, over several seeds, its deviation."""
    return figure(found["mean"]) + (f" ± {found['sd']:.3f}" if found["sd"] is not None else "")


def machine_words(hardware: dict[str, Any]) -> str:
    """Processor, cores, flags and accelerator."""
    words = f"{hardware['processor']}, {hardware['cores']} cores"
    flags = f" ({', '.join(hardware['flags'])})" if hardware.get("flags") else ""
    return words + flags + (f", {hardware['accelerator']}" if hardware.get("accelerator") else "")


def tree_words(found: dict[str, Any]) -> str:
    """The source tree that something was measured on."""
    return found["tree"][:12] + (" with changes" if found["dirty"] else "")


def table_text(head: tuple[str, ...], rows: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
