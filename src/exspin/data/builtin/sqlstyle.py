"""The same meaning in the SQL styles annotators have: one `Query`, many equivalent statements.

`Style` holds the choices (COUNT(*) or COUNT(key), LIMIT 1 or = (SELECT MAX …), JOIN or IN, aliases, case, …) and
`write` follows them. `CANONICAL` is the one fixed style by which two questions are told to have the same intent.
Styles are equivalent on rows without ties and on unique labels; the generator runs both forms and compares.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace

from exspin.data.builtin.meaning import (
    Agg,
    Between,
    Compare,
    Cond,
    Either,
    Expr,
    Has,
    Like,
    Null,
    Path,
    Period,
    Query,
    Ref,
    Schema,
    Spread,
    Value,
    YearOf,
    move,
    paths_of,
)

LAST_DAY = ("31", "28", "31", "30", "31", "30", "31", "31", "30", "31", "30", "31")


@dataclass(frozen=True, slots=True)
class Style:
    """How one annotator writes."""

    alias: str = "number"  # number: T1, T2; letter: initials; table: the table's own name
    as_word: bool = True  # FROM t AS T1, or FROM t T1
    lower: bool = False
    unequal: str = "<>"
    between: bool = True  # BETWEEN, or two comparisons
    count_key: bool = False  # COUNT(key), or COUNT(*)
    period: str = "strftime"  # strftime, like, between
    join_up: bool = True  # JOIN the parent, or IN (SELECT …)
    join_down: bool = False  # JOIN the children and DISTINCT, or IN (SELECT …)
    limit: bool = False  # ORDER BY … LIMIT 1, or = (SELECT MAX …)
    compound: bool = False  # EXCEPT, INTERSECT, UNION, or NOT IN, AND, OR
    bare: bool = False  # MAX with bare columns and GROUP BY, or a correlated subquery
    one_of: bool = False  # IN ('a', 'b'), or OR
    backwards: bool = False  # conditions in the other order
    root: int = 0  # which table FROM names first

    @classmethod
    def draw(cls, rng: random.Random) -> Style:
        """A random annotator."""

        def maybe(share: float) -> bool:
            return rng.random() < share

        return cls(
            alias=rng.choices(("number", "letter", "table"), (6, 2, 2))[0],
            as_word=maybe(0.85),
            lower=maybe(0.1),
            unequal="<>" if maybe(0.5) else "!=",
            between=maybe(0.75),
            count_key=maybe(0.2),
            period=rng.choices(("strftime", "like", "between"), (4, 4, 2))[0],
            join_up=maybe(0.75),
            join_down=maybe(0.6),
            limit=maybe(0.7),
            compound=maybe(0.5),
            bare=maybe(0.5),
            one_of=maybe(0.5),
            backwards=maybe(0.25),
            root=rng.choices((0, 1, 2), (6, 3, 1))[0],
        )


CANONICAL = Style()


def write(query: Query, schema: Schema, style: Style) -> str:
    """One line of SQLite SQL."""
    text = _Writer(schema, style).query(query)
    if not style.lower:
        return text
    parts = re.split(r"('(?:[^']|'')*')", text)
    return "".join(part if n % 2 else part.lower() for n, part in enumerate(parts))


def mask(sql: str) -> str:
    """The statement with every literal replaced by `?`."""
    return re.sub(r"'(?:[^']|'')*'|(?<![\w.])-?\d+(?:\.\d+)?\b", "?", sql)


def literal(value: Value) -> str:
    """A value as SQL."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(int(value)) if value == int(value) else repr(value)


class _Writer:
    def __init__(self, schema: Schema, style: Style) -> None:
        self.schema = schema
        self.style = style
        self.names: dict[
            Path, str
        ] = {}  # of the query being written; "" where columns need no prefix
        self.table = ""

    def query(self, query: Query, inside: str = "") -> str:
        """`inside` is the alias of the row outside, for a correlated subquery."""
        outer = self.names, self.table
        try:
            return self._compound(query) or self._select(self._restyle(query), inside)
        finally:
            self.names, self.table = outer

    def _compound(self, query: Query) -> str:
        """EXCEPT, INTERSECT or UNION where the style wants it and the items tell rows apart."""
        plain = not (query.group or query.order or query.limit or query.top or query.distinct)
        if not (self.style.compound and query.unique and plain) or not query.where:
            return ""
        *others, last = query.where
        one = replace(query, where=tuple(others))
        left, right, word = one, replace(query, where=(last,)), ""
        if isinstance(last, Has) and last.absent:
            right, word = replace(query, where=(replace(last, absent=False),)), "EXCEPT"
        elif isinstance(last, Either) and not others and len(last.options) == 2:
            left, right = (replace(query, where=(option,)) for option in last.options)
            word = "UNION"
        elif len(others) == 1 and all(isinstance(c, Has) and not c.absent for c in query.where):
            word = "INTERSECT"
        return f"{self.query(left)} {word} {self.query(right)}" if word else ""

    def _restyle(self, query: Query) -> Query:
        """Choose between JOIN and IN, LIMIT 1 and MAX, a bare column and a correlated subquery."""
        query = self._bare(query)
        if query.top:
            ref, descending = query.top
            if self.style.limit:
                query = replace(query, order=((ref, descending),), limit=1, top=None)
            else:
                best = Agg("MAX" if descending else "MIN", ref)
                inner = Query(query.table, (best,), query.where)
                where = (*query.where, Compare(ref, "=", inner))
                query = replace(query, where=where, top=None)
        counting = query.items == (Agg("COUNT"),)
        if (
            self.style.join_down
            and not query.group
            and (counting or query.unique)
            and not query.top
        ):
            query = self._join_down(query, counting)
        return query

    def _bare(self, query: Query) -> Query:
        match query:
            case Query(
                items=(Ref() as group, Ref() as label, Ref() as number),
                where=(Compare(Ref() as left, "=", Query(items=(Agg(func),), correlate=by)),),
            ) if self.style.bare and by == group.column and left == number:
                items = (group, label, Agg(func, number))
                return replace(query, items=items, where=(), group=(group,))
        return query

    def _join_down(self, query: Query, counting: bool) -> Query:
        for cond in query.where:
            if isinstance(cond, Has) and not cond.absent and not cond.path:
                key = Ref(self.schema.keys[query.table])
                others = tuple(c for c in query.where if c is not cond)
                if cond.at_least > 1:
                    if cond.where or counting:
                        continue
                    having = (Compare(Agg("COUNT"), ">=", cond.at_least),)
                    return replace(
                        query, where=others, group=(key,), having=having, joins=((cond.step,),)
                    )
                inner = tuple(move(c, lambda path, s=cond.step: (s, *path)) for c in cond.where)  # type: ignore[misc]
                items = (Agg("COUNT", key, True),) if counting else query.items
                return replace(
                    query,
                    items=items,
                    where=(*others, *inner),
                    joins=((cond.step,),),
                    distinct=not counting,
                )
        return query

    def _select(self, query: Query, inside: str) -> str:
        style = self.style
        query = self._subselect_parents(query)
        read = [*query.items, *query.where, *query.group, *query.having]
        paths = [*(p for part in read for p in paths_of(part)), *query.joins]
        paths += [p for expr, _ in query.order for p in paths_of(expr)]
        needed = {p[:n] for p in paths for n in range(len(p) + 1)} | {()}
        correlated = any(
            isinstance(c, Compare) and isinstance(c.right, Query) and c.right.correlate
            for c in query.where
        )
        order = self._from_order(needed, query.outer)
        self.table = query.table
        self._name(order, query.table, forced="T2" if inside else "T1" if correlated else "")
        text = "SELECT " + "DISTINCT " * query.distinct
        text += ", ".join(self._expr(item) for item in query.items)
        text += " FROM " + self._from(order, query.outer)
        conditions = [self._cond(c) for c in query.where]
        if query.correlate:
            conditions.append(f"T2.{query.correlate} = {inside}.{query.correlate}")
        if style.backwards:
            conditions.reverse()
        if len(conditions) > 1:
            conditions = [f"({c})" if self._loose(c) else c for c in conditions]
        if conditions:
            text += " WHERE " + " AND ".join(conditions)
        if query.group:
            text += " GROUP BY " + ", ".join(self._expr(e) for e in query.group)
        if query.having:
            text += " HAVING " + " AND ".join(self._cond(c) for c in query.having)
        if query.order:
            keys = (self._expr(e) + (" DESC" if down else " ASC") for e, down in query.order)
            text += " ORDER BY " + ", ".join(keys)
        if query.limit:
            text += f" LIMIT {query.limit}"
        return text

    @staticmethod
    def _loose(condition: str) -> bool:
        """Whether an OR stands outside all parentheses and quotes."""
        depth, quoted = 0, False
        for n, char in enumerate(condition):
            quoted ^= char == "'"
            depth += (char == "(") - (char == ")")
            if not quoted and depth == 0 and condition.startswith(" OR ", n):
                return True
        return False

    def _subselect_parents(self, query: Query) -> Query:
        """Conditions on a parent as IN (SELECT …), where only conditions read that parent."""
        if self.style.join_up:
            return query
        outside = [*query.items, *query.group, *query.having, *(e for e, _ in query.order)]
        fixed = {p[0] for part in outside for p in paths_of(part) if p} | {
            p[0] for p in query.joins
        }
        groups: dict[str, list[Cond]] = {}
        kept: list[Cond] = []
        for cond in query.where:
            steps = {p[0] if p else "" for p in paths_of(cond)}
            step = steps.pop() if len(steps) == 1 else ""
            if not step or step in fixed or step.startswith("<"):
                kept.append(cond)
            else:
                groups.setdefault(step, []).append(cond)
        for step, conds in groups.items():
            there, _, key = self.schema.step(query.table, step)
            inner = tuple(move(c, lambda path: path[1:]) for c in conds)
            kept.append(Compare(Ref(step), "IN", Query(there, (Ref(key),), inner)))
        return replace(query, where=tuple(kept))

    def _from_order(self, needed: set[Path], outer: bool) -> list[Path]:
        """Sources in the order FROM names them; each but the first touches an earlier one."""
        paths = sorted(needed, key=lambda p: (len(p), p))
        order = [paths[0 if outer else self.style.root % len(paths)]]
        while len(order) < len(paths):
            order.append(
                next(
                    p
                    for p in paths
                    if p not in order and any(p[:-1] == q or q[:-1] == p for q in order if p != q)
                )
            )
        return order

    def _name(self, order: list[Path], table: str, forced: str) -> None:
        tables = [self.schema.walk(table, path) for path in order]
        if len(order) == 1:
            self.names = {order[0]: forced}
            return
        kind = self.style.alias
        initials = ["".join(word[0] for word in t.split("_")) for t in tables]
        if len({*tables}) < len(tables) or (kind == "letter" and len({*initials}) < len(tables)):
            kind = "number"
        names = {
            "number": [f"T{n + 1}" for n in range(len(order))],
            "letter": initials,
            "table": tables,
        }[kind]
        self.names = dict(zip(order, names, strict=True))

    def _from(self, order: list[Path], outer: bool) -> str:
        word = " AS " if self.style.as_word else " "
        text = ""
        for n, path in enumerate(order):
            table, name = self.schema.walk(self.table, path), self.names[path]
            source = table + (word + name if name not in ("", table) else "")
            if n == 0:
                text = source
                continue
            if any(path[:-1] == q for q in order[:n] if path):
                step, near = path[-1], path[:-1]
                far = path
            else:
                far = next(q for q in order[:n] if q and q[:-1] == path)
                step, near = far[-1], path
            start = self.schema.walk(self.table, near)
            _, here, there = self.schema.step(start, step)
            join = " LEFT JOIN " if outer and path and path[0].startswith("<") else " JOIN "
            text += f"{join}{source} ON {self.names[near]}.{here} = {self.names[far]}.{there}"
        return text

    def _ref(self, ref: Ref) -> str:
        name = self.names[ref.path]
        return f"{name}.{ref.column}" if name else ref.column

    def _expr(self, expr: Expr) -> str:
        match expr:
            case Ref():
                return self._ref(expr)
            case YearOf(of):
                return f"STRFTIME('%Y', {self._ref(of)})"
            case Spread(of):
                return f"MAX({self._ref(of)}) - MIN({self._ref(of)})"
            case Agg(func, None, _):
                key = self.schema.keys[self.table]
                return (
                    f"{func}({self._ref(Ref(key))})"
                    if self.style.count_key and key
                    else f"{func}(*)"
                )
            case Agg(func, of, distinct):
                assert of is not None
                return f"{func}({'DISTINCT ' * distinct}{self._ref(of)})"

    def _cond(self, cond: Cond) -> str:
        match cond:
            case Compare(left, op, right):
                op = self.style.unequal if op == "<>" else op
                if isinstance(right, Query):
                    outside = self.names[()] if right.correlate else ""
                    return f"{self._expr(left)} {op} ({self.query(right, outside)})"
                return f"{self._expr(left)} {op} {literal(right)}"
            case Between(of, low, high):
                return self._between(of, low, high)
            case Like(of, pattern):
                return f"{self._ref(of)} LIKE {literal(pattern)}"
            case Null(of, missing):
                return f"{self._ref(of)} IS {'' if missing else 'NOT '}NULL"
            case Period():
                return self._period(cond)
            case Either(options):
                values = self._one_of(options) if self.style.one_of else ""
                return values or " OR ".join(self._cond(option) for option in options)
            case Has():
                return self._has(cond)

    def _between(self, of: Ref, low: Value, high: Value) -> str:
        column = self._ref(of)
        if self.style.between:
            return f"{column} BETWEEN {literal(low)} AND {literal(high)}"
        return f"{column} >= {literal(low)} AND {column} <= {literal(high)}"

    def _period(self, cond: Period) -> str:
        year, _, month = cond.period.partition("-")
        if self.style.period == "like":
            return f"{self._ref(cond.of)} LIKE '{cond.period}%'"
        if self.style.period == "strftime":
            shape = "%Y-%m" if month else "%Y"
            return f"STRFTIME('{shape}', {self._ref(cond.of)}) = '{cond.period}'"
        if not month:
            return self._between(cond.of, f"{year}-01-01", f"{year}-12-31")
        leap = month == "02" and int(year) % 4 == 0
        last = "29" if leap else LAST_DAY[int(month) - 1]
        return self._between(cond.of, f"{cond.period}-01", f"{cond.period}-{last}")

    def _one_of(self, options: tuple[Cond, ...]) -> str:
        columns, values = set(), []
        for option in options:
            match option:
                case Compare(Ref() as left, "=", str() | int() | float() as right):
                    columns.add(left)
                    values.append(literal(right))
                case _:
                    return ""
        return f"{self._ref(columns.pop())} IN ({', '.join(values)})" if len(columns) == 1 else ""

    def _has(self, cond: Has) -> str:
        owner = self.schema.walk(self.table, cond.path)
        child, here, there = self.schema.step(owner, cond.step)
        where = cond.where
        if cond.absent and self.schema.has_nulls(child, there):
            where = (*where, Null(Ref(there), False))
        inner = Query(child, (Ref(there),), where)
        if cond.at_least > 1:
            having = (Compare(Agg("COUNT"), ">=", cond.at_least),)
            inner = replace(inner, group=(Ref(there),), having=having)
        word = "NOT IN" if cond.absent else "IN"
        return f"{self._ref(Ref(here, cond.path))} {word} ({self.query(inner)})"
