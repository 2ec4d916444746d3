"""A leaderboard on the screen: what it is about, its rankings, who has no rank and why, and a verdict.

csv and json are the rows alone, with every column: first those with a rank, then those without, whose
column `reason` says why. Tables and Markdown have the columns that fit, and the words around them.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jobs.screen.output import print_rows
from jobs.screen.shown import AS_USUAL, Format, Shown
from jobs.screen.text import printable, screen_width

if TYPE_CHECKING:
    from catalog.read.boards import Agreement, Leaderboard, Ranking, Row
    from catalog.read.evaluations import Results

SHOWN: dict[str, tuple[str, ...]] = {
    "traps": (
        "mean_traps", "low", "high", "total_traps", "num_layers_trapped", "num_layers_tested",
        "max_trap_excess", "total_traps_tw", "total_traps_ww", "total_active_traps",
    ),
    "traps-per-million": (
        "traps_per_million", "low", "high", "total_traps", "num_params_tested", "num_layers_tested",
        "mean_traps", "max_trap_excess",
    ),
    "active-traps": (
        "mean_active_traps", "low", "high", "total_active_traps", "num_layers_probed", "total_traps",
        "num_layers_trapped", "max_trap_excess",
    ),
    "composite": (
        "composite", "low", "high", "traps_share", "alpha_share", "alignment_share", "mean_traps",
        "mean_abs_alpha_minus_2", "mean_abs_erg_log_ratio", "num_layers_aligned",
    ),
    "alignment": (
        "mean_abs_erg_log_ratio", "low", "high", "num_layers_aligned", "mean_abs_alpha_minus_2",
        "spearman_alpha_erg_delta", "share_alpha_and_delta_low",
    ),
    "alpha": (
        "mean_abs_alpha_minus_2", "low", "high", "num_layers_fitted", "mean_alpha", "weighted_alpha",
        "share_alpha_2_6", "num_over_trained", "num_under_trained",
    ),
    "alpha-hat": (
        "mean_alpha_hat", "low", "high", "num_layers_fitted", "mean_alpha", "mean_log_spectral_norm",
    ),
    "log-alpha-norm": (
        "mean_log_alpha_norm", "low", "high", "num_layers_fitted", "mean_alpha",
        "mean_log_spectral_norm",
    ),
}  # fmt: skip
"""Columns of each leaderboard that fit a terminal, after rank and model."""
_WIDTH = 100
"""Places of a line of words, where the terminal has so many."""


def print_board(
    found: Leaderboard,
    *,
    format: Format,
    shown: Shown = AS_USUAL,
    quiet: bool = False,
    num_verdicts: int = 3,
) -> None:
    """Print a leaderboard; `quiet` leaves out all words but the reasons of those without a rank.

    `num_verdicts`: models whose evidence is written out below the board.
    """
    if format in ("csv", "json"):
        print_rows(
            found.rows,
            columns=found.column_names,
            format=format,
            shown=shown,
            quiet=quiet,
        )
        if found.num_below and not quiet:
            print(
                f"{_models(found.num_below)} without a rank, the last rows: see the column reason",
                file=sys.stderr,
            )
        return
    is_md = format == "md"
    if not quiet:
        _print_paragraph(_title(found), prefix="## " if is_md else "")
        _print_paragraph(_notes(found))
    for ranking in found.rankings:
        if not quiet and (ranking.within is not None or len(found.rankings) > 1):
            print(
                ("### " if is_md else "") + _heading(ranking, found.within),
                end="\n\n" if is_md else "\n",
            )
        usual = _columns(found, ranking.rows)
        print_rows(
            ranking.rows,
            columns=found.column_names,
            usual=usual,
            first=("model_id", *usual),
            format=format,
            shown=shown,
            quiet=quiet or ranking is not found.rankings[0],  # what was left out is told once
        )
        print()
    if found.against is not None:
        _print_agreement(found, found.against, format, quiet)
    if found.below:
        _print_below(found, format, shown, quiet)
    if not quiet:
        _print_verdict(found, is_md, num_verdicts)


def _columns(found: Leaderboard, rows: Sequence[Row]) -> tuple[str, ...]:
    """What is shown, without a family that the heading tells and a step that no row has."""
    has_step = any(row["step"] is not None for row in rows)
    told = len({row["within"] for row in rows}) == 1 and rows[0]["within"] is not None
    # a column that says `=` of all says that nothing moved, as the notes do
    moved = any(row["moved"] not in (None, "=") for row in rows)
    told = told and found.within == "Family"
    before = [
        "rank", *(["moved"] if moved else []), "model_id", *([] if told else ["family"]),
        *(["step"] if has_step else []),
    ]  # fmt: skip
    if found.within == "Size":
        before.append("num_params")
    score, low, high, *others = SHOWN[found.board.name]
    held = () if found.against is None else ("against",)
    return (*before, score, low, high, *held, *others)


def _title(found: Leaderboard) -> str:
    return f"{found.board.title}: {found.board.direction}"


def _notes(found: Leaderboard) -> str:
    """Analysis, date, numbers of models, and what the columns low and high are."""
    below = f", {_models(found.num_below)} below the line" if found.num_below else ""
    parts = [f"{_models(found.num_models)} ranked{below}."]
    if found.analyses:
        key, *others = found.analyses
        asked = f" ({', '.join(others)}: asked for the same)" if others else ""
        parts.append(f"Analysis {key}{asked}, newest measurement {_time(found.newest)} UTC.")
        parts.append("low, high: 95 % of the score, by a bootstrap over five or more layers.")
    if found.last_sweep is not None:
        since = f"the board before the sweep of {_time(found.last_sweep)} UTC"
        everyone = [row for ranking in found.rankings for row in ranking.rows]
        if any(row["moved"] not in (None, "=") for row in (*everyone, *found.below)):
            parts.append(f"moved: places up (▲) or down (▼) against {since}.")
        else:
            parts.append(f"No model moved against {since}.")
    return " ".join(parts)


def _heading(ranking: Ranking, what: str) -> str:
    others = {
        "Family": "Other families",
        "Size": "Size not known",
        "Architecture": "No architecture",
    }
    name = f"{what} {ranking.within}"
    if ranking.within is None:
        name = others.get(what, f"No {what}")
    cut = f", the first {len(ranking.rows)}" if len(ranking.rows) < ranking.num_models else ""
    return printable(f"{name} ({_models(ranking.num_models)}{cut})")


def _print_agreement(found: Leaderboard, against: Results, format: Format, quiet: bool) -> None:
    """A row a ranking: rank correlations of score and result, and what they say of the board."""
    is_md = format == "md"
    if not quiet:
        better = {"low": "less is better", "high": "more is better"}.get(
            against.better or "", "whether less or more is better, its name does not tell"
        )
        heading = printable(f"Against {against.name} ({better}): correlation with the score")
        print(("### " if is_md else "") + heading, end="\n\n" if is_md else "\n")
    rows: list[dict[str, object]] = []
    for ranking in found.rankings:
        agreement = ranking.agreement
        if agreement is None:
            continue
        of = "other families" if ranking.within is None and len(found.rankings) > 1 else "all"
        row: dict[str, object] = {"within": ranking.within or of, "n": agreement.num_models}
        for kind, told in (("spearman", agreement.spearman), ("kendall", agreement.kendall)):
            row[kind] = told and told.value
            row[f"{kind}_low"] = told and told.low
            row[f"{kind}_high"] = told and told.high
        rows.append({**row, "board": _agreement_in_words(agreement, against)})
    columns = tuple(rows[0]) if rows else ("within", "n", "board")
    print_rows(rows, columns=columns, first=("within", "n", "spearman"), format=format, quiet=quiet)
    print()


def _agreement_in_words(agreement: Agreement, against: Results) -> str:
    """Whether the board's order is that of the results, as far as the interval lets one say."""
    rho = agreement.spearman
    several = (
        f"; {_models(agreement.num_several)} with several such results left out"
        if agreement.num_several
        else ""
    )
    if rho is None:
        return f"no correlation of {_models(agreement.num_models)}, or of equal values{several}"
    if rho.low is None or rho.high is None:
        return f"too few models for an interval: nothing follows{several}"
    if rho.low <= 0 <= rho.high:
        return f"cannot be told from no relation{several}"
    if against.better is None:
        return f"a relation{several}"
    # on every board the smaller score is meant to be the better one
    agrees = (rho.value > 0) == (against.better == "low")
    return f"{'agrees with the results' if agrees else 'runs against the results'}{several}"


def _print_below(found: Leaderboard, format: Format, shown: Shown, quiet: bool) -> None:
    is_md = format == "md"
    if not quiet:
        cut = f", the first {len(found.below)}" if len(found.below) < found.num_below else ""
        heading = f"Below the line: no rank ({_models(found.num_below)}{cut})"
        print(("### " if is_md else "") + heading, end="\n\n" if is_md else "\n")
    score = found.board.score
    print_rows(
        found.below,
        columns=found.column_names,
        usual=(
            *(("moved",) if any(row["moved"] for row in found.below) else ()),
            *("model_id", "family", score, "verdict", "reason"),
        ),
        first=("model_id", "reason", score),
        format=format,
        shown=shown,
        quiet=quiet,
    )
    print()


def _print_verdict(found: Leaderboard, is_md: bool, num_verdicts: int) -> None:
    """Which ranks can be told apart, and what traps, alpha and alignment say of the first models."""
    written = found.rows[:num_verdicts]
    if not written:
        return
    print("### Verdict\n" if is_md else "Verdict")
    for line in _ties(found):
        _print_paragraph(line, prefix="- " if is_md else "  ")
    for row in written:
        place = f"rank {row['rank']}" if row["rank"] is not None else "no rank"
        line = f"{row['model_id']} ({place}): {row['verdict']}. {row['evidence']}"
        _print_paragraph(line, prefix="- " if is_md else "  ")
    num_left = found.num_models + found.num_below - len(written)
    if num_left:
        _print_paragraph(
            f"{num_left} more: columns verdict and evidence of --format csv, one row a model.",
            prefix="- " if is_md else "  ",
        )


def _ties(found: Leaderboard) -> Iterator[str]:
    """Where the first of a ranking cannot be told from those behind it."""
    for ranking in found.rankings:
        first, *others = ranking.rows
        if first["low"] is None:
            continue
        close = [
            row for row in others
            if row["low"] is not None and row["low"] <= first["high"] and first["low"] <= row["high"]
        ]  # fmt: skip
        where = "" if ranking.within is None else f" of family {ranking.within}"
        if close:
            yield (
                f"Rank 1{where} cannot be told from {_ranks(close)}: their intervals overlap with that of "
                "rank 1."
            )
        elif others:
            yield f"Rank 1{where} stands apart: no other interval overlaps with its own."


def _ranks(rows: Sequence[Row]) -> str:
    numbers = [str(row["rank"]) for row in rows]
    if len(numbers) > 6:
        return f"{len(numbers)} others, the last of them rank {numbers[-1]}"
    return f"rank {', '.join(numbers)}" if len(numbers) == 1 else f"ranks {', '.join(numbers)}"


def _models(number: int) -> str:
    return f"{number} model" if number == 1 else f"{number} models"


def _time(microseconds: int | None) -> str:
    return f"{datetime.fromtimestamp((microseconds or 0) / 1e6, UTC):%Y-%m-%d %H:%M}"


def _print_paragraph(text: str, *, prefix: str = "") -> None:
    """Words for people: Markdown headings and items whole, all else wrapped."""
    safe = printable(text)
    if prefix.strip():
        print(f"{prefix}{safe.replace('<', '&lt;').replace('|', chr(92) + '|')}")
    else:
        print(textwrap.fill(
            safe, min(_WIDTH, screen_width()), initial_indent=prefix, subsequent_indent=prefix and prefix + "  ",
            break_long_words=False, break_on_hyphens=False,
        ))  # fmt: skip
    if prefix == "## ":
        print()
