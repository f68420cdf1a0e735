"""A place in a statement: what is known there, and which words may come next."""

from __future__ import annotations

from bisect import bisect_left

from exspin.sql.guide.grammar import (
    AGGREGATES,
    ALIAS,
    CLAUSES,
    COMPARE_BY_WORD,
    COMPARISONS,
    CONDITIONS,
    DEPTH,
    FUNCTIONS,
    JOINED_BY,
    JOINS,
    NESTED_FUNCTIONS,
    SETS,
    Paren,
)
from exspin.sql.guide.names import Names
from exspin.sql.guide.scopes import Select


class Place:
    """What is known after some complete tokens.

    `_wants` is what the next token must be: value, operator (whatever may follow a value), table, tail (what may follow
    a table), item (what may follow a whole column of the result), direction (what may follow ASC), alias, dot, column
    (after the dot), open (a parenthesis), string, number, equals (the rest of !=) or word (one of `_words`). `_side` says
    where in a condition we are: left or right of what compares, or "" outside conditions.
    """

    def __init__(self, names: Names) -> None:
        self._names = names
        self._select = Select(names)
        self._parens: list[Paren] = []
        self._between = False  # a BETWEEN waits for its AND
        self._wants = "word"
        self._words = frozenset({"select"})
        self._side = ""
        self._qualifier = ""
        self._before = ""  # the last word, in lower case, or symbol
        self._first = ""  # the same, before the value that is read
        self._end = 0  # of the last token
        self._column: tuple[str, str] | None = None  # the value before, if it is just a column
        self._left: tuple[str, str] | None = None  # the same, left of what compares
        self._words_now: list[str] | None = None  # see `begins`
        self._aliases_now: list[str] | None = None
        self._start = 0  # of the first token that is not read
        self.unfinished = False  # the text ends inside a quoted name or a string

    # --- what may come next --------------------------------------------------------------------------------------

    def begins(self, word: str) -> bool:
        """May the next token be a word that begins like this?"""
        if self.unfinished:
            return True
        select, lower = self._select, word.lower()
        if self._wants == "alias" and not self._names_a_table:
            return len(word) <= ALIAS
        if self._wants == "alias" or (self._wants == "tail" and select.nameable):
            if self._aliases_now is None:
                self._aliases_now = select.possible_aliases()
            if any(alias.startswith(lower) for alias in self._aliases_now):
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
            case "value" if self._group is not None and self._group.after == "in":
                return self._value_keywords()  # a list holds literals
            case "value":
                functions = FUNCTIONS if self._may_aggregate() else FUNCTIONS - AGGREGATES
                names = self._select.visible() - self._refused("")
                if self._group is not None:
                    names -= self._select.totals - self._names.columns
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
            self._before == "(" and paren and paren.after in AGGREGATES
        ):
            words.add("distinct")
        if self._before == "(" and paren and paren.after in ("", "in") and self._depth < DEPTH:
            words.add("select")
        return words

    def _followers(self) -> set[str]:
        """What may follow a value, a table or a direction."""
        select = self._select
        if self._wants == "direction":
            nulls = {"nulls"} if self._before in ("asc", "desc") else set()
            return {"limit"} | nulls
        if self._wants == "item":
            return {"from"} if select.width_fits else set()
        if self._wants == "tail":
            words = {"as"} if select.nameable and select.possible_aliases() else set()
            on = {"on"} if select.may_be_unnamed else set()
            return words | (self._after_tables() if select.joined else on)
        if self._between:
            return {"and"}
        if self._side == "left":
            return set(COMPARE_BY_WORD) if select.clause != "on" else set()
        words = set[str]()
        if self._side == "right" and select.conditions < CONDITIONS:
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
        words = set(JOINS) if select.clause in ("from", "on") and select.may_join else set()
        if select.sound:
            words |= {name for name, earlier in CLAUSES.items() if select.clause in earlier}
            if select.results is not None and not (
                select.named or select.aliases or select.results
            ):
                words.discard("order")  # which could name nothing
            if select.clause not in ("order", "limit", "offset"):
                words |= SETS
        return words

    def _may_aggregate(self) -> bool:
        select = self._select
        if any(p.after in AGGREGATES and p.select is select for p in self._parens if not p.query):
            return False
        if select.clause == "order":
            return select.aggregated and not select.by_result
        return select.clause in ("select", "having")

    def _nested(self, functions: frozenset[str]) -> frozenset[str]:
        """These functions, or none where enough of them are open, and in ON, which compares columns."""
        if self._select.clause == "on" or self._select.by_result:
            return frozenset()
        inside = 0
        for paren in reversed(self._parens):
            if paren.query:
                break
            inside += paren.after in FUNCTIONS
        return functions if inside < NESTED_FUNCTIONS else frozenset()

    @property
    def _comparisons(self) -> frozenset[str]:
        return JOINED_BY if self._select.clause == "on" else COMPARISONS

    @property
    def _group(self) -> Paren | None:
        """The innermost parenthesis, unless it holds a query."""
        return self._parens[-1] if self._parens and not self._parens[-1].query else None

    @property
    def _depth(self) -> int:
        return sum(paren.query for paren in self._parens)

    @property
    def _names_a_table(self) -> bool:
        """Is the alias that comes now a table's?"""
        return self._group is None and not self._select.before_from
