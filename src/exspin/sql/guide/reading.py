"""Read a statement from left to right, token by token."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from exspin.sql.guide.grammar import (
    AGGREGATES,
    ALIAS,
    ARGUMENTS,
    ARITHMETIC,
    FORCED,
    FUNCTIONS,
    LEAST_ARGUMENTS,
    LIST,
    LITERAL,
    NUMBER,
    Paren,
)
from exspin.sql.guide.place import Place
from exspin.sql.guide.scopes import DeadEndError, Select
from exspin.sql.schema import RESERVED
from exspin.sql.tokens import Token, tokens


class Reading(Place):
    """What is known after some complete tokens."""

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
        made: dict[int, Select] = {}
        other._select = self._select.copy(made)
        other._parens = [replace(paren, select=made[id(paren.select)]) for paren in self._parens]
        return other

    # --- one token -----------------------------------------------------------------------------------------------

    def _next(self, token: Token, following: str) -> None:
        wants = self._wants
        if token.kind == "word" and self._before == "number" and token.start == self._end:
            raise DeadEndError  # SQLite reads 1e, 3from as one broken number
        self._end = token.end
        if token.kind not in ("symbol", "word") or token.text in ARITHMETIC:
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
            case "name" if token.text[0] != '"':
                raise DeadEndError
            case "string" | "name" if wants == "string" and len(token.text) <= LITERAL:
                self._wants = "operator"
            case "number" if wants == "number" and len(token.text) <= NUMBER:
                self._wants = "operator"
            # SQLite takes a quoted name that is none for a string.
            case "name" | "string" | "number" if wants == "value" and self._may_be_literal(token):
                self._wants = "operator"
            case _:
                raise DeadEndError
        self._before = token.text.lower() if token.kind in ("word", "symbol") else token.kind
        if self._wants == "value":
            self._first = self._before

    @property
    def _only_names(self) -> bool:
        """May no value begin with a literal here? ORDER BY 3 would mean the third column."""
        return self._select.clause in ("on", "group", "order") and self._group is None

    def _may_be_literal(self, token: Token) -> bool:
        if self._only_names:
            return self._before in ARITHMETIC and token.kind == "number"
        if token.kind == "number":
            return len(token.text) <= NUMBER
        return self._before not in ARITHMETIC and len(token.text) <= LITERAL

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
        if self._group is not None and word in select.totals - self._names.columns:
            raise DeadEndError
        columns = self._names.columns | select.aliases
        calls = following == "(" or (not following and word not in columns)
        if following == ".":
            self._qualifier, self._wants = word, "dot"
            if not select.columns_of(word):
                raise DeadEndError
        elif self._group is not None and self._group.after == "in" and word != "select":
            raise DeadEndError  # a list holds literals
        elif not quoted and word in FUNCTIONS and calls:
            if word in AGGREGATES:
                if not self._may_aggregate():
                    raise DeadEndError
                select.aggregated = select.totalled = True
            if word not in self._nested(FUNCTIONS):
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
            if self._select.before_from and self._alone and not qualifier:
                self._select.item = column
            self._select.listed.add((self._select.clause, qualifier, column))

    def _alias(self, name: str) -> None:
        if name.upper() in RESERVED or len(name) > ALIAS:
            raise DeadEndError
        if self._names_a_table:
            self._select.call(name)
            self._wants = "tail"
            return
        self._select.call_item(name)
        self._wants = "item"

    def _keyword(self, word: str) -> None:
        select = self._select
        if word in FORCED:
            self._words = FORCED[word]
        match word:
            case "select":
                self._begin()
            case "from":
                select.end_item()
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
                self._wants, self._words = "word", FORCED["is not"]
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
                if select.before_from:
                    select.end_item()
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
            single = paren.after in ("", "in")
            self._select = Select(self._names, self._select, 1 if single else None)
        self._wants, self._side = "value", ""

    def _symbol(self, symbol: str) -> None:
        wants, group = self._wants, self._group
        after_value = wants in ("operator", "direction", "tail") and not self._between
        computes = wants == "operator" and self._select.clause not in ("limit", "offset")
        computes = computes and not self._select.by_result
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
            case "*" if wants == "column" and self._may_star(group):
                self._select.stars.append(self._qualifier)
                self._select.qualified.setdefault(self._qualifier, frozenset())
                self._wants = "item"
            case "*" if wants == "value" and self._may_star(group):
                self._wants = "operator" if group else "item"
                if group is None:
                    self._select.stars.append("")
            case "-" if wants == "value" and not self._only_names:
                self._wants = "number"
            case "!" if computes and self._side == "left" and self._select.clause != "on":
                self._wants = "equals"  # with the next character it is another token
            case _ if symbol in self._comparisons and computes and self._side == "left":
                self._wants, self._side, self._left = "value", "right", self._column
            case _ if symbol in ARITHMETIC and computes and self._select.clause != "on":
                self._select.item = "" if group is None else self._select.item
                self._wants = "value"
            case _:
                raise DeadEndError

    def _may_star(self, group: Paren | None) -> bool:
        if group is not None:
            return group.after == "count" and self._before == "("
        select = self._select
        may = select.may_star_of if self._wants == "column" else select.may_star
        return select.before_from and may and self._alone

    @property
    def _alone(self) -> bool:
        """Is the value that comes the first of its item, or the column after its table's name and dot?"""
        return self._first in ("select", "distinct", ",")

    def _open(self) -> None:
        after = self._before if self._wants == "open" else ""
        paren = Paren(self._select, after, self._side, self._between)
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
        too_few = paren.commas + 1 < LEAST_ARGUMENTS.get(paren.after, 1)
        if too_few or (paren.query and inside == "left"):
            raise DeadEndError
        self._side = "right" if paren.after == "exists" else paren.side
        if paren.query:
            self._select.check()
            self._select = paren.select
        elif not paren.after and paren.side == "left":
            self._side = inside  # a condition in parentheses is a whole one
        self._between = paren.between
        self._column = None
        self._wants = "operator"

    def _comma(self, group: Paren | None) -> None:
        select = self._select
        self._wants = "value"
        if group is not None:
            if not group.after:
                raise DeadEndError  # rows, as in (a, b) IN …, are left out
            self._side = ""
            group.commas += 1
            if group.commas >= ARGUMENTS.get(group.after, LIST):
                raise DeadEndError
        elif select.clause == "select":
            select.end_item()
            select.items += 1
            select.totalled = False
            if select.stars and select.width is not None:
                raise DeadEndError
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
