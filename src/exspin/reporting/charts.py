"""Numbers → SVG. Each function draws one panel, about as wide as a phone, so a page can lay panels side by side.

Colours and text sizes are classes of `report.css`, which knows light, dark and print. Every panel has a title that
screen readers speak and a number beside every mark that matters. No script, no style attribute, no identifier.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from markupsafe import Markup

from exspin.records import Outcome
from exspin.reporting.collect import LossPoint

WIDTH = 340
_DRAWN = 400  # points of a raw curve; a longer one is averaged in groups


@dataclass(frozen=True, slots=True)
class Estimate:
    """A rate with its interval, all fractions 0–1."""

    label: str
    rate: float
    ci95: tuple[float, float]
    chosen: bool


def estimates(title: str, points: Sequence[Estimate], span: float) -> Markup:
    """Rates in order with their intervals as whiskers. `span` is the height of the axis, the same in every panel."""
    height, left, right, top, bottom = 200, 40, 14, 12, 28
    middle = (min(p.ci95[0] for p in points) + max(p.ci95[1] for p in points)) / 2
    low = min(max(0.0, middle - span / 2), max(0.0, 1 - span))
    high = low + span

    def y(rate: float) -> float:
        return top + (high - rate) / span * (height - top - bottom)

    step = (WIDTH - left - right) / len(points)
    xs = [left + step * (i + 0.5) for i in range(len(points))]
    parts = [
        _tag("line", x1=left, x2=WIDTH - right, y1=y(t), y2=y(t), class_="grid")
        + _text(f"{t:.0%}", left - 6, y(t) + 4, "tick end")
        for t in _ticks(low, high, 5)
    ]
    parts.append(_polyline(zip(xs, (y(p.rate) for p in points), strict=True), "trend"))
    few = len(points) <= 6
    for x, point in zip(xs, points, strict=True):
        said = f"{point.label}: {_percent(point.rate)} ({_span(point.ci95)})"
        marks = [_tag("title", said)]
        marks += [
            _tag("line", x1=x, x2=x, y1=y(point.ci95[0]), y2=y(point.ci95[1]), class_="whisker")
        ]
        marks += [
            _tag("line", x1=x - 4, x2=x + 4, y1=y(end), y2=y(end), class_="whisker")
            for end in point.ci95
        ]
        marks += [
            _tag("circle", cx=x, cy=y(point.rate), r=5, class_="chosen" if point.chosen else "dot")
        ]
        if few:
            marks += [_text(f"{100 * point.rate:.1f}", x + 11, y(point.rate) + 4, "value")]
        if few or point is points[0] or point is points[-1]:
            marks += [_text(point.label, x, height - 9, "tick middle")]
        parts.append(_tag("g", Markup().join(marks)))
    return _panel(title, height, parts)


def difference(diff: float, ci95: tuple[float, float], reach: float) -> Markup:
    """A small bar for a table cell: the interval of a difference around zero, on an axis from −reach to +reach."""
    width, height = 116, 20

    def x(value: float) -> float:
        return width / 2 * (1 + max(-1.0, min(1.0, value / reach))) if reach else width / 2

    kind = "up" if ci95[0] > 0 else "down" if ci95[1] < 0 else "unclear"
    parts = [
        _tag("line", x1=width / 2, x2=width / 2, y1=1, y2=height - 1, class_="axis"),
        _tag("line", x1=x(ci95[0]), x2=x(ci95[1]), y1=10, y2=10, class_=f"reach {kind}"),
        _tag("circle", cx=x(diff), cy=10, r=4, class_=kind),
    ]
    return _svg(f"{100 * diff:+.1f} points", width, height, parts, "inline")


def outcome_bars(title: str, rows: Sequence[tuple[str, Mapping[Outcome, int]]]) -> Markup:
    """One bar a row, split by outcome, each bar as long as its row is large: 100 %."""
    left, bar, gap = 52, 24, 8
    height = len(rows) * (bar + gap) + gap
    parts = []
    for number, (label, counts) in enumerate(rows):
        top = gap + number * (bar + gap)
        parts.append(_text(label, left - 8, top + 16, "tick end"))
        total, x = sum(counts.values()), float(left)
        for outcome in Outcome:
            if not counts[outcome]:
                continue
            share = counts[outcome] / total
            width = share * (WIDTH - left - 2)
            said = f"{label}: {outcome.value} {counts[outcome]} of {total} ({_percent(share)})"
            marks = _tag("title", said) + _tag(
                "rect", x=x, y=top, width=width, height=bar, class_=f"segment o-{outcome.value}"
            )
            if width > 30:
                marks += _text(
                    f"{share:.0%}", x + width / 2, top + 16, f"on-{outcome.value} middle"
                )
            parts.append(_tag("g", marks))
            x += width
    return _panel(title, height, parts)


def before_after(title: str, rows: Sequence[tuple[str, float, float]]) -> Markup:
    """How values moved: one line a row (label, before, after), hollow dot before, full dot after."""
    left, line, right = 84, 30, 12
    height = len(rows) * line + 34
    values = [value for row in rows for value in row[1:]]
    margin = (max(values) - min(values)) * 0.06 or 1.0
    low, high = min(values) - margin, max(values) + margin

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * (WIDTH - left - right)

    parts = [
        _tag("line", x1=x(t), x2=x(t), y1=4, y2=height - 24, class_="grid")
        + _text(_short(t), x(t), height - 8, "tick middle")
        for t in _ticks(low, high, 4)
    ]
    for number, (label, before, after) in enumerate(rows):
        y = 20 + number * line
        said = f"{label}: {_short(before)} before, {_short(after)} after"
        marks = _tag("title", said) + _text(label, left - 10, y + 4, "tick end")
        marks += _tag("line", x1=x(before), x2=x(after), y1=y, y2=y, class_=f"move s-{label}")
        marks += _tag("circle", cx=x(before), cy=y, r=5, class_=f"hollow s-{label}")
        marks += _tag("circle", cx=x(after), cy=y, r=5, class_=f"full s-{label}")
        parts.append(_tag("g", marks))
    return _panel(title, height, parts)


def loss_curve(title: str, points: Sequence[LossPoint]) -> Markup | None:
    """Loss by step: raw faint, smoothed on top; its parts where they differ from it. None without two points."""
    curves = {
        name: [(p.step, v) for p in points if (v := getattr(p, name)) is not None]
        for name in ("loss", "pair", "nll")
    }
    curves = {
        name: curve
        for name, curve in curves.items()
        if len(curve) > 1 and (name == "loss" or not _same(curve, curves["loss"]))
    }
    if "loss" not in curves:
        return None
    height, left, right, top, bottom = 210, 40, 42, 10, 30
    smooth = {name: _smooth(curve) for name, curve in curves.items()}
    raw = _thin(curves["loss"])
    values = [v for _, v in raw] + [v for curve in smooth.values() for _, v in curve]
    low, high = min(values), max(values)
    low = 0.0 if 0 <= low < 0.5 * high else low
    high = high if high > low else low + 1.0
    first, last = curves["loss"][0][0], curves["loss"][-1][0]

    def place(curve: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
        return [
            (
                left + (step - first) / ((last - first) or 1) * (WIDTH - left - right),
                top + (high - value) / (high - low) * (height - top - bottom),
            )
            for step, value in curve
        ]

    parts = [
        _tag("line", x1=left, x2=WIDTH - right, y1=y, y2=y, class_="grid")
        + _text(_short(t), left - 6, y + 4, "tick end")
        for t in _ticks(low, high, 5)
        for _, y in place([(first, t)])
    ]
    parts += [
        _text(f"{t:,.0f}", x, height - 10, "tick middle")
        for t in _ticks(first, last, 4)
        for x, _ in place([(t, low)])
        if t == int(t)
    ]
    parts.append(_polyline(place(raw), "raw"))
    ends = {}
    for name, curve in smooth.items():
        placed = place(_thin(curve))
        ends[name] = placed[-1][1]
        parts.append(_polyline(placed, f"curve s-{name}"))
    for name, y in _spread(ends, 13).items():
        parts.append(_text(name, WIDTH - right + 5, y + 4, f"value t-{name}"))
    return _panel(title, height, parts)


# --- drawing ----------------------------------------------------------------------------------------------------------


def _panel(title: str, height: float, parts: Iterable[Markup]) -> Markup:
    return _svg(title, WIDTH, height, parts, "panel")


def _svg(title: str, width: float, height: float, parts: Iterable[Markup], kind: str) -> Markup:
    body = Markup().join(parts)
    return _tag(
        "svg",
        body,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        role="img",
        aria_label=title,
        class_=kind,
    )


def _tag(name: str, body: str = "", **attributes: object) -> Markup:
    """One element. Attribute values and plain text are escaped; `class_` is class, `aria_label` is aria-label."""
    written = Markup().join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value))
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, body)


def _text(text: str, x: float, y: float, kind: str) -> Markup:
    return _tag("text", text, x=x, y=y, class_=kind)


def _polyline(points: Iterable[tuple[float, float]], kind: str) -> Markup:
    return _tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=kind)


def _plain(value: object) -> object:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


# --- numbers ----------------------------------------------------------------------------------------------------------


def _ticks(low: float, high: float, count: int) -> list[float]:
    """Round numbers between two values, about so many."""
    rough = (high - low) / count
    if rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _smooth(curve: Sequence[tuple[int, float]]) -> list[tuple[float, float]]:
    """Centred moving average over about a twentieth of the curve; the window narrows towards both ends."""
    sums = [0.0, *accumulate(value for _, value in curve)]
    reach = max(1, len(curve) // 40)
    smooth = []
    for i, (step, _) in enumerate(curve):
        near = min(reach, i, len(curve) - 1 - i)
        smooth.append((float(step), (sums[i + near + 1] - sums[i - near]) / (2 * near + 1)))
    return smooth


def _thin(curve: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_DRAWN` points: means of equal groups."""
    size = math.ceil(len(curve) / _DRAWN)
    groups = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [
        (sum(s for s, _ in group) / len(group), sum(v for _, v in group) / len(group))
        for group in groups
    ]


def _same(a: Sequence[tuple[int, float]], b: Sequence[tuple[int, float]]) -> bool:
    """Whether two curves would be drawn on top of each other."""
    return len(a) == len(b) and all(
        math.isclose(x[1], y[1], rel_tol=1e-3, abs_tol=1e-6) for x, y in zip(a, b, strict=True)
    )


def _spread(places: Mapping[str, float], distance: float) -> dict[str, float]:
    """Labels pushed down until none covers another."""
    order = sorted(places, key=lambda name: places[name])
    spread = {name: places[name] for name in order}
    for above, below in pairwise(order):
        spread[below] = max(spread[below], spread[above] + distance)
    return spread


def _percent(rate: float) -> str:
    return f"{100 * rate:.1f} %"


def _span(ci95: tuple[float, float]) -> str:
    return f"{100 * ci95[0]:.1f} to {100 * ci95[1]:.1f} %"


def _short(value: float) -> str:
    return f"{value:.4g}".replace("-", "−")
