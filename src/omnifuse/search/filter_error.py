"""What is wrong with a filter, and where in it."""

from __future__ import annotations

from omnifuse.errors import InputError

_SHOWN = 72


class FilterError(InputError):
    """A filter that cannot be read or does not fit the columns; a caret points at the place.

    Args:
        what: What is wrong.
        text: The whole filter.
        start: First character of the wrong part, from 0.
        end: Behind its last one.
        fix: What to write.

    Example:
        >>> print(FilterError("there is no column 'pric'", "pric < 30", 0, 4, fix="did you mean 'price'?"))
        the filter is wrong: there is no column 'pric'. Character 1:
          pric < 30
          ^^^^
        did you mean 'price'?
    """

    def __init__(self, what: str, text: str, start: int, end: int, *, fix: str = "") -> None:
        super().__init__(f"the filter is wrong: {what}", where=f"Character {start + 1}", fix=fix)
        self.start, self.end = start, end
        shown, place = _window(text, start)
        marks = " " * place + "^" * max(1, min(end - start, _SHOWN - place))
        lines = [f"{self.what.rstrip('.')}. {self.where}:", f"  {shown}", f"  {marks}"]
        self.args = ("\n".join([*lines, fix] if fix else lines),)


def _window(text: str, start: int) -> tuple[str, int]:
    """The part of a long filter around a place, on one line, and the place in it."""
    begin = max(0, start - _SHOWN // 2) if len(text) > _SHOWN else 0
    part = text[begin : begin + _SHOWN]
    plain = "".join(letter if letter.isprintable() else " " for letter in part)
    return ("..." + plain, start - begin + 3) if begin else (plain, start)
