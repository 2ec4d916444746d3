"""Which models a leaderboard ranks, and among whom: options into one query. Knows no particular board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from catalog.errors import QueryError

Within = Literal["family", "size", "architecture", "none"]
"""Whether models are ranked among those of their family, size band or architecture alone."""
Dequantised = Literal["all", "none", "only"]
"""Models with layers that were decoded from fewer bits: with the others, left out, or alone."""
MIN_FAMILY = 3
"""Models of a family that make a ranking of its own."""
SIZES = (
    (1e8, "under 100 M"),
    (1e9, "100 M to 1 B"),
    (3e9, "1 B to 3 B"),
    (1e10, "3 B to 10 B"),
    (3e10, "10 B to 30 B"),
    (1e11, "30 B to 100 B"),
)
"""Size bands by the parameters of the checkpoint, each below its limit."""
_LARGEST = "100 B and more"
_NAMES = {"family": "Family", "size": "Size", "architecture": "Architecture"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The options of a board that choose models, as typed; checked when it is made."""

    family: str | None = None
    within: Within | None = None
    """None: a family of three or more is a ranking of its own."""
    by: str | None = None
    """A column whose values make rankings of their own; instead of `within`."""
    dequantised: Dequantised = "all"
    source: str | None = None
    """A glob, or a piece of the source that a model came from."""
    since: str | None = None
    """Measured on this day (UTC) or later: `2026-11-27`."""

    def __post_init__(self) -> None:
        if self.within is not None and self.within not in get_args(Within):
            raise QueryError(
                f"--within: got {self.within!r}, wanted {', '.join(get_args(Within)[:-1])} or none"
            )
        if self.within is not None and self.by is not None:
            raise QueryError("--by: got it with --within; wanted one of them")
        if self.dequantised not in get_args(Dequantised):
            raise QueryError(f"--dequantised: got {self.dequantised!r}, wanted all, none or only")
        self._since_us()

    @property
    def name(self) -> str:
        """What the rankings are of: `Family`, `Size`, ..."""
        return self.by or _NAMES.get(self.within or "family", "")

    @property
    def values(self) -> dict[str, object]:
        """Parameters of `ranking_query`."""
        source = self.source
        if source is not None and not any(letter in source for letter in "*?["):
            source = f"*{source}*"
        return {
            "family": self.family,
            "dequantised": None if self.dequantised == "all" else self.dequantised == "only",
            "source": source,
            "since": self._since_us(),
        }

    def _since_us(self) -> int | None:
        """The start of the day, in microseconds since 1970."""
        if self.since is None:
            return None
        try:
            day = datetime.fromisoformat(self.since)
        except ValueError as error:
            raise QueryError(
                f"--since: got {self.since!r:.100}, wanted a day such as 2026-11-27"
            ) from error
        return int((day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp() * 1e6)

    def grouping(self, columns: Sequence[str]) -> tuple[str, str]:
        """SQL of the value that models of one ranking share (NULL: they are in the common one), and of
        what rankings are ordered by. QueryError for a column that is not among `columns`."""
        if self.by is not None:
            if self.by not in columns:
                raise QueryError(
                    f"--by: no column {self.by!r:.100}; there are {', '.join(columns)}"
                )
            return f'"{self.by}"::varchar', "null"
        if self.within is None:
            return (
                f"case when family is not null and family_size >= {MIN_FAMILY} then family end",
                "null",
            )
        if self.within == "size":
            return _band(*(f"'{label}'" for _, label in SIZES), f"'{_LARGEST}'"), _band(
                *map(str, range(7))
            )
        return {"family": "family", "architecture": "architecture", "none": "null"}[
            self.within
        ], "null"


def _band(*values: str) -> str:
    """One of `values` by the size band of a model; NULL where its parameters are not known."""
    cases = " ".join(
        f"when num_params < {limit} then {value}"
        for (limit, _), value in zip(SIZES, values, strict=False)
    )
    return f"case {cases} when num_params is not null then {values[-1]} end"


def ranking_query(
    source: str, board: str, *, chosen: str, choice: Choice, columns: Sequence[str]
) -> str:
    """Models of a board in their rankings; parameters: those of `Choice.values`, $top, $least, $wanted.

    `source`: the view of scores; `board`: its name in SQL; `chosen`: a checked condition.
    """
    within, order = choice.grouping(columns)
    return f"""
        with kept as (
            select * exclude (last_modified) replace (epoch_us(committed_at) as committed_at)
            from (
                from internal.board_of('{source}', '{board}', $least, $wanted)
                where ($family is null or family = $family)
                    and ($dequantised is null or (num_layers_dequantised > 0) = $dequantised)
                    and ($source is null or source glob $source)
                    and ($since is null or epoch_us(committed_at) >= $since)
                    and {chosen}
            )
        ),
        sized as (
            select *, standing = 'ranked' as is_ranked,
                count(*) over (partition by standing = 'ranked', family) as family_size
            from kept
        ),
        grouped as (
            select *, {within} as within, {order} as within_order,
            from sized
        ),
        placed as (
            select * exclude (rank),
                row_number() over (
                    partition by is_ranked, within
                    order by rank nulls last, standing, model_id) as place,
                count(*) over (partition by is_ranked, within) as num_beside,
                max(committed_at) over (partition by is_ranked) as newest
            from grouped
        ),
        keys as (
            select list(analysis order by num desc, analysis) as analyses
            from (select analysis, count(*) as num from kept where standing = 'ranked' group by 1)
        )
        select case when is_ranked then place end as rank, * exclude (is_ranked, family_size),
        from placed cross join keys
        where $top is null or place <= $top
        order by is_ranked desc, within_order nulls last, within nulls last, place
    """
