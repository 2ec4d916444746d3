// The page of families: a table, and how models spread within the largest.
"use strict";
ZOO.load("families", "").then((found) => {
  ZOO.table("families", found.families, {
    links: { family: (row) => "index.html#" + new URLSearchParams({ family: row.family }) },
    sort: { column: "num_models", dir: "desc" },
  });
  const models = ZOO.rows(found.models);
  const size = { height: 22 * new Set(models.map((row) => row.family)).size + 10 };
  ZOO.draw("families-alpha", { models: models.filter((row) => row.mean_alpha !== null) }, size);
  ZOO.draw("families-traps", { models: models.filter((row) => row.mean_traps !== null) }, size);
});
