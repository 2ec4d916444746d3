// The page of failures: units, and layers of models that are there.
"use strict";
Promise.all([ZOO.load("failures", ""), ZOO.load("names", "")]).then(([found, names]) => {
  const pages = new Map(names.models.map(([id, key]) => [id, key]));
  const links = { model_id: (row) => pages.has(row.model_id) ? "models/" + pages.get(row.model_id) + ".html" : null };
  if (document.getElementById("failures")) ZOO.table("failures", found.failures, { links });
  if (document.getElementById("failed")) ZOO.table("failed", found.layers, { links, prefix: "l." });
});
