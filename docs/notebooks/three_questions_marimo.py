"""Three questions to a catalog, as a marimo notebook.

    marimo edit docs/notebooks/three_questions_marimo.py      # in the browser
    python docs/notebooks/three_questions_marimo.py           # as a script

ZOO_CATALOG names the catalog; by default the one that `make demo` builds. Needs marimo, and the extras notebook, site.
"""

import marimo

app = marimo.App(width="medium", app_title="Three questions to a catalog")


@app.cell
def _():
    import os

    import altair as alt
    import marimo as mo

    import zoo

    catalog = zoo.open(os.environ.get("ZOO_CATALOG", "demo/catalog"))
    return alt, catalog, mo


@app.cell
def _(mo):
    mo.md("## 1. Which layers have Correlation Traps, and how large are they?")
    return


@app.cell
def _(catalog):
    trapped = catalog.sql("""
        select model_id, tensor, role, num_traps, 1 + trap_excess_max as times_the_edge, num_active_traps
        from layers semi join (from current where is_final)
            using (sweep_id, model_id, revision, analysis_key)
        where num_traps > 0 and delta_base is null
        order by times_the_edge desc nulls last
    """)
    trapped
    return (trapped,)


@app.cell
def _(alt, trapped):
    alt.Chart(trapped).mark_bar().encode(
        x="times_the_edge:Q", y=alt.Y("tensor:N", sort="-x"), color="model_id:N"
    )
    return


@app.cell
def _(mo):
    mo.md("## 2. How does alpha go with the role of a layer?")
    return


@app.cell
def _(catalog):
    by_role = catalog.sql("""
        select role, count(alpha) as num_layers, median(alpha) as median_alpha,
            count(*) filter (where alpha < 2) as below_2, count(*) filter (where alpha > 6) as above_6
        from layers semi join (from current where is_final)
            using (sweep_id, model_id, revision, analysis_key)
        where delta_base is null and alpha is not null
        group by role order by median_alpha
    """)
    by_role
    return (by_role,)


@app.cell
def _(alt, by_role):
    alt.Chart(by_role).mark_point(filled=True, size=80).encode(
        x=alt.X("median_alpha:Q", scale=alt.Scale(zero=False)),
        y=alt.Y("role:N", sort="x"),
        size="num_layers:Q",
    )
    return


@app.cell
def _(mo):
    mo.md("## 3. When do traps come in training, beside the test accuracy?")
    return


@app.cell
def _(catalog):
    steps = catalog.sql("""
        select model_id, step, test_accuracy, total_traps, mean_alpha, phase
        from trajectories order by model_id, step
    """)
    onset = catalog.sql("select model_id, onset_step, last_traps, num_steps from onset")
    onset
    return onset, steps


@app.cell
def _(alt, steps):
    lines = (
        alt.Chart(steps)
        .mark_line(point=True)
        .encode(x=alt.X("step:Q", scale=alt.Scale(type="symlog", constant=100)), color="model_id:N")
    )
    lines.encode(y="test_accuracy:Q") | lines.encode(y="total_traps:Q")
    return


if __name__ == "__main__":
    app.run()
