"""The interactive charts of the pages, as Vega-Lite specifications made with Altair, once for the whole site.

Their data have names (`layers`, `steps`, `models`) and come with each page. Colours are set by the page, for dark
and for light. No meaning is carried by colour alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import altair as alt

Spec = dict[str, Any]
"""A Vega-Lite specification."""

_HEIGHT = 230
_TIP = ["tensor:N", "role:N", "alpha:Q", "num_traps:Q", "erg_log_ratio:Q", "tail_warning:N"]


@cache
def charts() -> dict[str, Spec]:
    """Every chart by the name that pages call it by."""
    made = {
        "alpha-depth": _alpha_by_depth(),
        "traps-depth": _traps_by_depth(),
        "funnel": _funnel(),
        "trajectory": _trajectory(),
        "compare-alpha": _compare("alpha", "alpha", rule=2),
        "compare-traps": _compare("num_traps", "traps", rule=None),
        "families-alpha": _families("mean_alpha", "mean alpha of a model"),
        "families-traps": _families("mean_traps", "traps a layer"),
    }
    return {name: chart.to_dict() for name, chart in made.items()}


def _rule(value: float, channel: str) -> alt.Chart:
    data = alt.Data(values=[{"at": value}])
    mark = alt.Chart(data).mark_rule(strokeDash=[4, 3], opacity=0.6)
    encoded: alt.Chart = mark.encode(**{channel: alt.datum(value)})
    return encoded


def _points(x: alt.X, y: alt.Y) -> alt.Chart:
    """Layers as points; triangles are those with traps."""
    base = alt.Chart(alt.NamedData("layers")).transform_calculate(
        trapped="datum.num_traps == null ? 'not tested' : datum.num_traps > 0 ? 'with traps' : 'no trap'"
    )
    drawn: alt.Chart = base.mark_point(size=55, filled=True, opacity=0.8).encode(
        x=x,
        y=y,
        color=alt.Color(
            "role:N",
            legend=alt.Legend(
                title=None, symbolLimit=24, columns=6, orient="bottom", labelLimit=110
            ),
        ),
        shape=alt.Shape(
            "trapped:N",
            scale=alt.Scale(
                domain=["no trap", "with traps", "not tested"],
                range=["circle", "triangle-down", "cross"],
            ),
            legend=alt.Legend(title=None, orient="bottom"),
        ),
        tooltip=_TIP,
    )
    return drawn


def _alpha_by_depth() -> alt.LayerChart:
    x = alt.X("layer_index:Q", title="layer, in the order of the checkpoint")
    y = alt.Y("alpha:Q", title="alpha", scale=alt.Scale(zero=False))
    bars = (
        alt.Chart(alt.NamedData("layers"))
        .mark_rule(opacity=0.35)
        .encode(x=x, y=alt.Y("alpha_low:Q", title="alpha"), y2="alpha_high:Q")
    )
    layered = alt.layer(_rule(2, "y"), _rule(6, "y"), bars, _points(x, y))
    return layered.properties(width="container", height=_HEIGHT)


def _traps_by_depth() -> alt.LayerChart:
    data = alt.Chart(alt.NamedData("layers"))
    x = alt.X("layer_index:Q", title="layer, in the order of the checkpoint")
    stems = data.mark_rule(strokeWidth=3, opacity=0.7).encode(
        x=x,
        y=alt.Y("num_traps:Q", title="traps (mean over shuffles)"),
        y2=alt.datum(0),
        tooltip=_TIP,
    )
    heads = data.mark_point(filled=True, size=40, shape="triangle-down").encode(
        x=x, y="num_traps:Q", tooltip=_TIP
    )
    return alt.layer(stems, heads).properties(width="container", height=_HEIGHT)


def _funnel() -> alt.LayerChart:
    x = alt.X("alpha:Q", title="alpha", scale=alt.Scale(zero=False))
    y = alt.Y("erg_log_ratio:Q", title="ln(xmin / erg_lambda_min)")
    return alt.layer(_rule(2, "x"), _rule(0, "y"), _points(x, y)).properties(
        width="container", height=_HEIGHT + 40
    )


def _trajectory() -> alt.VConcatChart:
    names = (
        ("mean_alpha", "mean alpha"),
        ("total_traps", "traps"),
        ("mean_abs_erg_log_ratio", "|ERG ratio|"),
        ("test_accuracy", "test accuracy"),
    )
    panels = []
    for field, title in names:
        x = alt.X("step:Q", title="training step", scale=alt.Scale(type="symlog", constant=100))
        panel = (
            alt.Chart(alt.NamedData("steps"))
            .mark_line(point=True)
            .encode(
                x=x,
                y=alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False)),
                tooltip=["step:Q", f"{field}:Q", "phase:N"],
            )
            .properties(width=560, height=95)
        )
        panels.append(panel)
    return alt.vconcat(*panels, spacing=12)


def _compare(field: str, title: str, *, rule: float | None) -> alt.LayerChart:
    drawn = (
        alt.Chart(alt.NamedData("layers"))
        .mark_point(filled=True, size=45, opacity=0.75)
        .encode(
            x=alt.X(
                "depth:Q", title="depth (0 first layer, 1 last)", scale=alt.Scale(domain=[0, 1])
            ),
            y=alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False)),
            color=alt.Color("model:N", legend=alt.Legend(title=None, orient="top", labelLimit=400)),
            shape=alt.Shape("model:N"),
            tooltip=["model:N", *_TIP],
        )
    )
    rules = [] if rule is None else [_rule(rule, "y")]
    return alt.layer(*rules, drawn).properties(width="container", height=_HEIGHT)


def _families(field: str, title: str) -> alt.Chart:
    drawn: alt.Chart = (
        alt.Chart(alt.NamedData("models"))
        .mark_tick(thickness=2, size=14, opacity=0.7)
        .encode(
            x=alt.X(f"{field}:Q", title=title, scale=alt.Scale(zero=False)),
            y=alt.Y("family:N", title=None, axis=alt.Axis(labelLimit=160)),
            tooltip=["model_id:N", "family:N", f"{field}:Q"],
        )
        .properties(
            width="container"
        )  # the page knows how many families there are, and sets the height
    )
    return drawn
