"""Do alpha and erg_delta fall together on the demo's training run (SETOL, section 6.2)?

    zoo demo demo && python -m benchmarks.alignment demo/catalog

Prints the rank correlation of the two over the steps of each layer, and the two themselves.
"""

from __future__ import annotations

import sys

from catalog.read import views
from catalog.read.query import ask
from jobs.screen.output import print_table

CORRELATIONS = """
    select tensor, count(*) as num_steps, corr(alpha, erg_delta) as pearson,
        corr(alpha_rank, delta_rank) as spearman,
        max(alpha) as alpha_max, min(alpha) as alpha_min,
        max(erg_delta) as erg_delta_max, min(erg_delta) as erg_delta_min
    from (
        select *, rank() over (partition by tensor order by alpha) as alpha_rank,
            rank() over (partition by tensor order by erg_delta) as delta_rank
        from layers_latest
        where model_id = 'local/grokking-mlp' and alpha is not null and step >= 1000
    )
    group by tensor order by tensor
"""
COURSE = """
    select tensor, step, alpha, alpha_stderr, erg_delta, num_tail, num_traps from layers_latest
    where model_id = 'local/grokking-mlp' and alpha is not null order by tensor, step
"""


def main() -> None:
    """Print both tables as Markdown."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m benchmarks.alignment CATALOG (of `zoo demo`)")
    with views.connect(sys.argv[1]) as con:
        print_table(ask(con, CORRELATIONS), format="md")
        print()
        print_table(ask(con, COURSE), format="md")


if __name__ == "__main__":
    main()
