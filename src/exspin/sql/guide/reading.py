"""Read a statement from left to right and know what may come next."""

from __future__ import annotations

from bisect import bisect_left
from copy import copy
from dataclasses import dataclass, replace

from exspin.sql.guide.names import Names
from exspin.sql.guide.scopes import DeadEndError, Select
from exspin.sql.schema import RESERVED
from exspin.sql.tokens import Token, tokens

_DEPTH = 3  # queries inside each other
_NESTED_FUNCTIONS = 2
_CONDITIONS = 8  # in one query
_TABLES = 6  # in one FROM
_LIST = 20  # values in parentheses
_LITERAL = 80  # characters of a string


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_AGGREGATES = _words("count sum avg min max")
_ARGUMENTS = dict.fromkeys(_AGGREGATES | _words("abs julianday length lower upper"), 1)
_ARGUMENTS |= {"round": 2, "strftime": 2, "substr": 3}  # at most
_LEAST_ARGUMENTS = {"strftime": 2, "substr": 2}
_FUNCTIONS = frozenset(_ARGUMENTS)
_COMPARE_BY_WORD = _words("in not like between is")
_JOINS = _words("join inner left")
_SETS = _words("union intersect except")
_CLAUSES = {
    "where": _words("from on"),
    "group": _words("from on where"),
    "having": _words("group"),
    "order": _words("from on where group having"),
    "limit": _words("from on where group having order"),
}  # clause → those it may follow
_FORCED = {
    "group": _words("by"),
    "order": _words("by"),
    "inner": _words("join"),
    "outer": _words("join"),
    "left": _words("join outer"),
    "union": _words("select all"),
    "intersect": _words("select"),
    "except": _words("select"),
    "all": _words("select"),
    "nulls": _words("first last"),
    "is": _words("not null"),
    "is not": _words("null"),
    "not": _words("in like between"),
}  # what must come after these words
_COMPARISONS = _words("= == < > <= >= <> !=")
_JOINED_BY = _words("= ==")
_ARITHMETIC = _words("+ - * /")


@dataclass(slots=True, eq=False)
class _Paren:
    """An open parenthesis inside `select`; `after` is a function, in, exists, or "" for a group."""

    select: Select
    after: str
    side: str
    between: bool
    query: bool = False
    row: bool = False
    commas: int = 0


class Reading:
    """What is known after some complete tokens.

    `wants` is what the next token must be: value, operator (whatever may follow a value), table, tail (what may follow a
    table), item (what may follow a whole column of the result), direction (what may follow ASC), alias, dot, column (after the dot), open (a parenthesis), string, number, equals
    (the rest of !=) or word (one of `words`). `side` says where in a condition we are: left or right of what compares, or
    "" outside conditions.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._select = Select(names)
        self._parens: list[_Paren] = []
        self._between = False  # a BETWEEN waits for its AND
        self._wants = "word"
        self._words = frozenset({"select"})
        self._side = ""
        self._qualifier = ""
        self._before = ""  # the last word, in lower case, or symbol
        self._column: tuple[str, str] | None = None  # the value before, if it is just a column
        self._left: tuple[str, str] | None = None  # the same, left of what compares
        self._after_row = False  # the value before is a row, as in (a, b) IN …
        self._words_now: list[str] | None = None  # see `begins`
        self._start = 0  # of the first token that is not read
        self.unfinished = False  # the text ends inside a quoted name or a string

    def read(self, stem: str) -> Reading:
        """This text, which begins with what was read before; what is known after it is returned.

        A word's meaning depends on the token behind it, so the last token stays to be read again when more has come.
        Raises `DeadEndError` where no ending makes a query of it.
        """
        found = [token for token in tokens(stem, self._start) if token.kind != "space"]
        for place, token in enumerate(found[:-1]):
            self._next(token, found[place + 1].text)
        if not found:
            return self.copy()
        last = found[-1]
        self._start = last.start
        end = self.copy()
        end._next(last, "")
        end.unfinished = last.end == len(stem) and not _closed(last)
        if end._wants in ("column", "table") and not end.unfinished and not end._expected():
            raise DeadEndError
        return end

    def copy(self) -> Reading:
        other = copy(self)
        other._words_now = None
        made: dict[int, Select] = {}
        other._select = self._select.copy(made)
        other._parens = [replace(paren, select=made[id(paren.select)]) for paren in self._parens]
        return other

    # --- what may come next --------------------------------------------------------------------------------------

    def begins(self, word: str) -> bool:
        """May the next token be a word that begins like this?"""
        if self.unfinished:
            return True
        select, lower = self._select, word.lower()
        if self._wants == "alias" and self._names_a_table:
            return select.may_be_called(lower)
        if self._wants == "alias":
            return True
        if self._wants == "tail" and select.nameable and select.may_be_called(lower):
            return True
        if self._words_now is None:
            self._words_now = self._names.spelled(self._expected())
        place = bisect_left(self._words_now, word)
        return place < len(self._words_now) and self._words_now[place].startswith(word)

    @property
    def may_end(self) -> bool:
        at_end = self._wants in ("operator", "tail", "direction") and self._side != "left"
        open_ones = self._parens or self._between or self.unfinished
        return at_end and not open_ones and self._select.sound

    def _expected(self) -> set[str]:
        """The words that may come next, aliases apart; in a place for tables or columns also those in quotes."""
        match self._wants:
            case "value":
                functions = _FUNCTIONS if self._may_aggregate() else _FUNCTIONS - _AGGREGATES
                names = self._select.visible() - self._refused("")
                return self._value_keywords() | names | self._nested(functions)
            case "operator" | "tail" | "direction" | "item":
                return self._followers()
            case "table":
                return set(self._select.next_tables())
            case "column":
                return set(self._select.columns_of(self._qualifier)) - self._refused(
                    self._qualifier
                )
            case "word":
                return set(self._words)
        return set()

    def _refused(self, qualifier: str) -> set[str]:
        """Columns of this table that do not come now: listed already, or what they would be compared with."""
        if self._side == "right" and self._left and self._left[0] == qualifier:
            return {self._left[1]}
        if self._side == "" and self._group is None:
            listed = self._select.listed
            return {n for clause, q, n in listed if (clause, q) == (self._select.clause, qualifier)}
        return set()

    def _value_keywords(self) -> set[str]:
        paren = self._parens[-1] if self._parens else None
        words = set[str]()
        starts = self._before in ("where", "having", "and", "or", "not", "(")
        if self._side == "left" and starts and self._select.clause != "on":
            words |= {"not", "exists"}
        if self._before == "select" or (
            self._before == "(" and paren and paren.after in _AGGREGATES
        ):
            words.add("distinct")
        if self._before == "(" and paren and paren.after in ("", "in") and self._depth < _DEPTH:
            words.add("select")
        return words

    def _followers(self) -> set[str]:
        """What may follow a value, a table or a direction."""
        select = self._select
        if self._wants == "direction":
            return {"limit", "nulls"}
        if self._wants == "item":
            return {"from"} if select.width_fits else set()
        if self._wants == "tail":
            words = {"as"} if select.nameable else set()
            return words | (self._after_tables() if select.joined else {"on"})
        if self._between:
            return {"and"}
        if self._side == "left":
            return set(_COMPARE_BY_WORD) if select.clause != "on" else set()
        words = set[str]()
        if self._side == "right" and select.conditions < _CONDITIONS:
            words = {"and"} if select.clause == "on" else {"and", "or"}
        if self._group:
            return words
        match select.clause:
            case "select":
                return words | {"as"} | ({"from"} if select.width_fits else set())
            case "limit":
                return {"offset"}
            case "offset":
                return set()
            case "order":
                words |= {"asc", "desc"}
        return words | self._after_tables()

    def _after_tables(self) -> set[str]:
        """Joins and the clauses that may come now."""
        select = self._select
        joins = select.clause in ("from", "on") and len(select.sources) < _TABLES
        words = set(_JOINS) if joins else set()
        if select.sound:
            words |= {name for name, earlier in _CLAUSES.items() if select.clause in earlier}
            if select.clause not in ("order", "limit", "offset"):
                words |= _SETS
        return words

    def _may_aggregate(self) -> bool:
        select = self._select
        if any(p.after in _AGGREGATES and p.select is select for p in self._parens if not p.query):
            return False
        if select.clause == "order":
            return select.aggregated
        return select.clause in ("select", "having")

    def _nested(self, functions: frozenset[str]) -> frozenset[str]:
        """These functions, or none where enough of them are open, and in ON, which compares columns."""
        if self._select.clause == "on":
            return frozenset()
        inside = 0
        for paren in reversed(self._parens):
            if paren.query:
                break
            inside += paren.after in _FUNCTIONS
        return functions if inside < _NESTED_FUNCTIONS else frozenset()

    @property
    def _comparisons(self) -> frozenset[str]:
        return _JOINED_BY if self._select.clause == "on" else _COMPARISONS

    @property
    def _group(self) -> _Paren | None:
        """The innermost parenthesis, unless it holds a query."""
        return self._parens[-1] if self._parens and not self._parens[-1].query else None

    @property
    def _depth(self) -> int:
        return sum(paren.query for paren in self._parens)

    @property
    def _names_a_table(self) -> bool:
        """Is the alias that comes now a table's?"""
        return self._group is None and not self._select.before_from

    # --- one token -----------------------------------------------------------------------------------------------

    def _next(self, token: Token, following: str) -> None:
        wants = self._wants
        if token.kind not in ("symbol", "word") or token.text in _ARITHMETIC:
            self._column = None
        match token.kind:
            case "word":
                self._word(token.text.lower(), following)
            case "symbol":
                self._symbol(token.text)
            case "name" if wants in ("table", "column") or (wants == "value" and following == "."):
                if _closed(token):
                    self._word(token.text[1:-1].lower(), following, quoted=True)
                elif not self._begins_quoted(token.text[1:].lower()):
                    raise DeadEndError
            case "string" | "name" if wants == "string" and len(token.text) <= _LITERAL:
                self._wants = "operator"
            case "number" if wants == "number":
                self._wants = "operator"
            # SQLite takes a quoted name that is none for a string.
            case "name" | "string" | "number" if wants == "value" and self._may_be_literal(token):
                self._wants, self._after_row = "operator", False
            case _:
                raise DeadEndError
        self._before = token.text.lower() if token.kind in ("word", "symbol") else token.kind

    def _may_be_literal(self, token: Token) -> bool:
        if self._select.clause in ("on", "group", "order") and self._group is None:
            return self._before in _ARITHMETIC and token.kind == "number"
        if token.kind == "number":
            return True
        return self._before not in _ARITHMETIC and len(token.text) <= _LITERAL

    def _begins_quoted(self, beginning: str) -> bool:
        """Is there a name that needs quotes and begins like this, where a table or a column must stand?"""
        return any(name.startswith(beginning) for name in self._expected() - self._names.plain)

    def _word(self, word: str, following: str, *, quoted: bool = False) -> None:
        select = self._select
        match self._wants:
            case "alias":
                self._alias(word)
            case "column":
                select.use_of(self._qualifier, word)
                self._named(self._qualifier, word)
            case "table":
                self._wants, self._words = "tail", frozenset({"as"})
                if select.add_table(word):
                    self._wants = "word"
            case "value":
                self._value(word, following, quoted)
            case "word" if word in self._words:
                self._keyword(word)
            case "operator" | "tail" | "direction" | "item" if word in self._followers():
                self._keyword(word)
            case "tail" if select.nameable:
                self._alias(word)
            case _:
                raise DeadEndError

    def _value(self, word: str, following: str, quoted: bool) -> None:
        select = self._select
        self._after_row = False
        columns = self._names.columns | select.aliases
        calls = following == "(" or (not following and word not in columns)
        if following == ".":
            self._qualifier, self._wants = word, "dot"
            if not select.columns_of(word):
                raise DeadEndError
        elif self._group is not None and self._group.after == "in" and word != "select":
            raise DeadEndError  # a list holds literals
        elif not quoted and word in _FUNCTIONS and calls:
            if word in _AGGREGATES:
                if not self._may_aggregate():
                    raise DeadEndError
                select.aggregated = True
            if word not in self._nested(_FUNCTIONS):
                raise DeadEndError
            self._wants = "open"
        elif not quoted and word in self._value_keywords():
            self._keyword(word)
        elif not quoted and word.upper() in RESERVED:
            raise DeadEndError
        else:
            select.use(word)
            self._named("", word)

    def _named(self, qualifier: str, column: str) -> None:
        """A value that is a column."""
        if column in self._refused(qualifier):
            raise DeadEndError
        self._wants, self._column = "operator", (qualifier, column)
        if self._side == "" and self._group is None:
            self._select.listed.add((self._select.clause, qualifier, column))

    def _alias(self, name: str) -> None:
        if name.upper() in RESERVED:
            raise DeadEndError
        if self._names_a_table:
            self._select.call(name)
            self._wants = "tail"
            return
        self._select.aliases.add(name)
        self._wants = "item"

    def _keyword(self, word: str) -> None:
        select = self._select
        if word in _FORCED:
            self._words = _FORCED[word]
        match word:
            case "select":
                self._begin()
            case "from":
                select.clause, self._wants = "from", "table"
            case "where" | "having":
                select.clause, select.nameable = word, ""
                self._wants, self._side = "value", "left"
            case "group" | "order":
                select.clause, select.nameable = word, ""
                select.aggregated |= word == "group"
                self._wants, self._side = "word", ""
            case "limit":
                select.clause, select.nameable, self._side, self._wants = word, "", "", "number"
            case "offset":
                select.clause, self._wants = "offset", "number"
            case "union" | "intersect" | "except":
                self._select, self._wants, self._side = select.next_arm(), "word", ""
            case "join":
                select.clause, select.nameable, self._side, self._wants = "from", "", "", "table"
                select.joined = False
            case "inner" | "left" | "outer":
                select.nameable, self._wants = "", "word"
            case "on":
                select.clause, select.nameable, select.joined = "on", "", True
                self._wants, self._side = "value", "left"
            case "exists":
                self._wants = "open"
            case "in":
                self._wants, self._side = "open", "right"
            case "like":
                self._wants, self._side = "string", "right"
            case "between":
                self._between, self._wants, self._side = True, "value", "right"
            case "is":
                self._wants, self._side = "word", "right"
            case "not" if self._before == "is":
                self._wants, self._words = "word", _FORCED["is not"]
            case "not" if self._wants == "operator":
                self._wants = "word"
            case "null":
                self._wants = "operator"
            case "and" if self._between:
                self._between, self._wants = False, "value"
            case "and" | "or":
                select.conditions += 1
                self._wants, self._side = "value", "left"
            case "as":
                self._wants = "alias"
            case "asc" | "desc" | "first" | "last":
                self._wants = "direction"
            case "nulls" | "all":
                self._wants = "word"
            case _:  # not, distinct, by
                self._wants = "value"

    def _begin(self) -> None:
        """SELECT: of the statement, of a subquery, or of the next arm of a set operation."""
        if self._before == "(":
            paren = self._parens[-1]
            paren.query = True
            single = paren.after in ("", "in") and not paren.row
            self._select = Select(self._names, self._select, 1 if single else None)
        self._wants, self._side = "value", ""

    def _symbol(self, symbol: str) -> None:
        wants, group = self._wants, self._group
        after_value = wants in ("operator", "direction", "tail") and not self._between
        computes = wants == "operator" and self._select.clause not in ("limit", "offset")
        match symbol:
            case "(" if wants == "open" or (
                wants == "value" and self._side and self._select.clause != "on"
            ):
                self._open()
            case ")" if self._parens and after_value:
                self._close()
            case "," if (after_value or wants == "item") and self._side != "left":
                self._comma(group)
            case "." if wants == "dot":
                self._wants = "column"
            case "*" if wants == "column" and self._select.before_from and group is None:
                self._select.starred, self._wants = True, "item"
            case "*" if wants == "value" and self._may_star(group):
                self._wants = "operator" if group else "item"
                self._select.starred |= group is None
            case "-" if wants == "value" and self._select.clause != "on":
                self._wants = "number"
            case "!" if computes and self._side == "left" and self._select.clause != "on":
                self._wants = "equals"  # with the next character it is another token
            case _ if symbol in self._comparisons and computes and self._side == "left":
                self._wants, self._side, self._left = "value", "right", self._column
            case _ if symbol in _ARITHMETIC and computes and self._select.clause != "on":
                self._wants = "value"
            case _:
                raise DeadEndError

    def _may_star(self, group: _Paren | None) -> bool:
        if group is not None:
            return group.after == "count" and self._before == "("
        return self._select.before_from and self._before in ("select", "distinct", ",")

    def _open(self) -> None:
        after = self._before if self._wants == "open" else ""
        row = after == "in" and self._after_row
        paren = _Paren(self._select, after, self._side, self._between, row=row)
        self._parens.append(paren)
        self._between = False
        self._wants = "value"
        if after or self._side != "left":
            self._side = ""
        if after == "exists":
            self._wants, self._words = "word", frozenset({"select"})

    def _close(self) -> None:
        paren = self._parens.pop()
        inside = self._side
        too_few = paren.commas + 1 < _LEAST_ARGUMENTS.get(paren.after, 1)
        if too_few or (paren.query and inside == "left"):
            raise DeadEndError
        self._side = "right" if paren.after == "exists" else paren.side
        if paren.query:
            self._select.check()
            self._select = paren.select
        elif not paren.after and paren.side == "left":
            self._side = inside  # a condition in parentheses is a whole one
        self._between = paren.between
        self._after_row = paren.row and not paren.after
        self._column = None
        self._wants = "operator"

    def _comma(self, group: _Paren | None) -> None:
        select = self._select
        self._wants = "value"
        if group is not None:
            group.row |= not group.after
            self._side = ""
            group.commas += 1
            if group.commas >= _ARGUMENTS.get(group.after, _LIST):
                raise DeadEndError
        elif select.clause == "select":
            select.items += 1
            if select.width is not None and select.items > select.width:
                raise DeadEndError
        elif select.clause not in ("group", "order"):
            raise DeadEndError


def _closed(token: Token) -> bool:
    """Has a string or a quoted name its closing mark?"""
    if token.kind not in ("string", "name"):
        return True
    text = token.text.lstrip("xX") if token.kind == "string" else token.text
    end = "]" if text[0] == "[" else text[0]
    return len(text) > 1 and text[1:].replace(end * 2, "").endswith(end)
