// The page of one model: its charts, its layers, its steps.
"use strict";
ZOO.load("model:" + document.currentScript.dataset.key, "").then((model) => {
  const { rows } = ZOO.table("layers", model.layers.columns ? { ...model.layers, shown: model.shown, meanings: model.meanings } : model.layers,
    { file: model.id.replace(/[^\w.-]+/g, "-"), sort: { column: "layer_index", dir: "asc" } });
  const fitted = rows.filter((row) => row.status === "ok");
  ZOO.draw("alpha-depth", { layers: fitted });
  ZOO.draw("traps-depth", { layers: fitted });
  ZOO.draw("funnel", { layers: fitted });
  if (model.steps) {
    const steps = { ...model.steps, shown: model.steps.columns.filter((name) => name !== "revision").slice(0, 12), meanings: model.meanings };
    const table = ZOO.table("steps", steps, { state: false });
    ZOO.draw("trajectory", { steps: table.rows });
  }
});
