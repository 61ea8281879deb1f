"""A filter as a tree, by recursive descent.

    expression  = conjunction { "or" conjunction }
    conjunction = negation { "and" negation }
    negation    = "not" negation | "(" expression ")" | condition
    condition   = column ( "==" | "!=" | "<" | "<=" | ">" | ">=" ) value
                | column [ "not" ] "in" "(" value { "," value } ")"
                | column [ "not" ] "contains" text
                | column "is" [ "not" ] "missing"
                | column
    value       = number | 'text' | "text" | true | false

A column is a name, or anything between backticks. `=` is read as `==`, `<>` as `!=`; keywords in any case.
"""

from __future__ import annotations

from dataclasses import dataclass

from omnifuse.search.filter_error import FilterError
from omnifuse.search.filter_words import Word, WordKind, words_of

DEEPEST = 64
COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
KEYWORDS = frozenset({"and", "or", "not", "in", "contains", "is", "missing", "true", "false"})
_AFTER_COLUMN = "Write a comparison: ==, !=, <, <=, >, >=, in (...), contains '...', is missing"


@dataclass(frozen=True)
class Value:
    """A number, text or truth value in a filter, with its place."""

    value: float | str | bool
    start: int
    end: int


@dataclass(frozen=True)
class Condition:
    """One condition on one column.

    Attributes:
        column: The name as it was written.
        operator: A comparison, "in", "contains", "missing", or "true" for a column that stands alone.
        values: What it is compared with; none for "missing" and "true".
        start: Place of the column.
        end: Behind it.
    """

    column: str
    operator: str
    values: tuple[Value, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Not:
    """True where the part is not."""

    part: Node


@dataclass(frozen=True)
class All:
    """True where all parts are."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Any:
    """True where one part is."""

    parts: tuple[Node, ...]


Node = Condition | Not | All | Any


def parse_filter(text: str) -> Node:
    """Read a filter.

    Raises:
        FilterError: It does not follow the grammar; says where.

    Example:
        >>> parse_filter("price < 30").operator
        '<'
    """
    parser = _Parser(text)
    if len(parser.words) == 1:
        raise FilterError("it is empty", text, 0, 1, fix="Write for example price < 30 and kind == 'coat'")
    found = parser.expression(0)
    rest = parser.word
    if rest.kind is not WordKind.END:
        fix = "Join conditions with and, or" if rest.kind is not WordKind.SIGN else "Look at the parentheses"
        raise parser.unexpected("the filter should end here", fix)
    return found


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.words, self.place = text, words_of(text), 0

    @property
    def word(self) -> Word:
        return self.words[self.place]

    def take(self) -> Word:
        word = self.word
        self.place += word.kind is not WordKind.END
        return word

    def took_keyword(self, keyword: str) -> bool:
        found = self.word.keyword == keyword
        self.place += found
        return found

    def unexpected(self, what: str, fix: str = "") -> FilterError:
        word = self.word
        got = "its end came" if word.kind is WordKind.END else f"'{self.text[word.start : word.end][:40]}' came"
        return FilterError(f"{what}, but {got}", self.text, word.start, max(word.end, word.start + 1), fix=fix)

    def expression(self, depth: int) -> Node:
        parts = [self.conjunction(depth)]
        while self.took_keyword("or"):
            parts.append(self.conjunction(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def conjunction(self, depth: int) -> Node:
        parts = [self.negation(depth)]
        while self.took_keyword("and"):
            parts.append(self.negation(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def negation(self, depth: int) -> Node:
        if depth > DEEPEST:
            word = self.word
            raise FilterError(
                f"more than {DEEPEST} parentheses and `not` stand inside each other", self.text, word.start, word.end
            )
        if self.took_keyword("not"):
            return Not(self.negation(depth + 1))
        if not self.word.is_sign("("):
            return self.condition()
        opened = self.take()
        found = self.expression(depth + 1)
        if not self.word.is_sign(")"):
            raise FilterError("this parenthesis is not closed", self.text, opened.start, opened.end, fix="Add )")
        self.take()
        return found

    def condition(self) -> Node:
        word = self.word
        is_name = word.kind is WordKind.QUOTED_NAME or (word.kind is WordKind.NAME and word.keyword not in KEYWORDS)
        if not is_name:
            raise self.unexpected("a column is expected", "Write COLUMN == VALUE; odd names between backticks: `a b`")
        self.take()

        def made(operator: str, values: tuple[Value, ...] = ()) -> Condition:
            return Condition(str(word.value), operator, values, word.start, word.end)

        if self.word.kind is WordKind.SIGN and self.word.value in COMPARISONS:
            return made(str(self.take().value), (self.value(),))
        if self.took_keyword("is"):
            is_not = self.took_keyword("not")
            if not self.took_keyword("missing"):
                raise self.unexpected("`missing` is expected", "Write COLUMN is missing, or COLUMN is not missing")
            return Not(made("missing")) if is_not else made("missing")
        is_not = self.took_keyword("not")
        if self.took_keyword("in"):
            found = made("in", self.listed())
        elif self.took_keyword("contains"):
            found = made("contains", (self.value(),))
        elif is_not or self.word.kind in (WordKind.NUMBER, WordKind.TEXT, WordKind.NAME, WordKind.QUOTED_NAME):
            if not is_not and self.word.keyword in ("and", "or"):
                return made("true")
            raise self.unexpected(f"'{word.value}' needs a comparison", _AFTER_COLUMN)
        else:
            return made("true")
        return Not(found) if is_not else found

    def value(self) -> Value:
        word = self.word
        if word.kind in (WordKind.NUMBER, WordKind.TEXT):
            self.take()
            return Value(word.value, word.start, word.end)
        if word.keyword in ("true", "false"):
            self.take()
            return Value(word.keyword == "true", word.start, word.end)
        fix = f"Put a text between quotes: '{word.value}'" if word.kind is WordKind.NAME else ""
        raise self.unexpected("a number or a text is expected", fix)

    def listed(self) -> tuple[Value, ...]:
        if not self.word.is_sign("("):
            raise self.unexpected("`(` is expected behind `in`", "Write COLUMN in ('a', 'b')")
        self.take()
        found = [self.value()]
        while self.word.is_sign(","):
            self.take()
            found.append(self.value())
        if not self.word.is_sign(")"):
            raise self.unexpected("`,` or `)` is expected", "Write COLUMN in ('a', 'b')")
        self.take()
        return tuple(found)
