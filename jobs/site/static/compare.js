// Two models side by side; which ones stands in the address.
"use strict";
ZOO.load("names", "").then((names) => {
  const a = document.getElementById("a"), b = document.getElementById("b"), problem = document.getElementById("problem");
  const byKey = new Map(names.models.map((m) => [m[1], m])), byId = new Map(names.models.map((m) => [m[0], m]));
  const same = (row) => JSON.stringify([row.tensor, row.part ?? null, row.expert ?? null]);
  const COMPARED = ["alpha", "num_traps", "trap_excess_max", "erg_log_ratio", "stable_rank", "log_spectral_norm", "rand_distance"];

  function say(text) { problem.textContent = text; problem.hidden = !text; }
  const get = (model) => ZOO.load("model:" + model[1], "data/models/" + model[1] + ".js");

  function scores(x, y) {
    document.getElementById("name-a").textContent = x.id;
    document.getElementById("name-b").textContent = y.id;
    const lines = Object.keys(x.scores).map((name) => {
      const line = document.createElement("tr"), [p, q] = [x.scores[name], y.scores[name]];
      const both = typeof p === "number" && typeof q === "number";
      const cells = [name, ZOO.shown(p), ZOO.shown(q), both ? (q - p > 0 ? "+" : "") + ZOO.shown(Number((q - p).toPrecision(6))) : "–"];
      cells.forEach((text, i) => {
        const cell = document.createElement(i ? "td" : "th");
        if (!i) cell.scope = "row";
        cell.textContent = text;
        line.append(cell);
      });
      return line;
    });
    document.querySelector("#scores tbody").replaceChildren(...lines);
  }
  function pairs(x, y) {
    const left = ZOO.rows(x.layers), right = new Map(ZOO.rows(y.layers).map((row) => [same(row), row]));
    const joined = left.map((row) => [row, right.get(same(row))]);
    const taken = new Set(left.map(same));
    for (const [name, row] of right) if (!taken.has(name)) joined.push([undefined, row]);
    const columns = ["layer_index", "tensor", "part", "expert", "role", "presence", ...COMPARED.flatMap((n) => [n + "_a", n + "_b", n + "_delta"])];
    const list = joined.map(([p, q]) => {
      const one = p || q, row = { layer_index: one.layer_index, tensor: one.tensor, part: one.part ?? null, expert: one.expert ?? null, role: one.role, presence: p && q ? "both" : p ? "a" : "b" };
      for (const name of COMPARED) {
        const [u, v] = [p ? p[name] ?? null : null, q ? q[name] ?? null : null];
        row[name + "_a"] = u;
        row[name + "_b"] = v;
        row[name + "_delta"] = u !== null && v !== null ? Number((v - u).toPrecision(6)) : null;
      }
      return row;
    });
    const meanings = { presence: "Which of the two has the layer: both, a or b." };
    for (const name of COMPARED) Object.assign(meanings, { [name + "_a"]: name + " of a", [name + "_b"]: name + " of b", [name + "_delta"]: name + ": b minus a" });
    const shown = ["layer_index", "tensor", "role", "presence", "alpha_a", "alpha_b", "alpha_delta", "num_traps_a", "num_traps_b", "num_traps_delta", "erg_log_ratio_delta"];
    if (list.some((row) => row.part !== null)) shown.splice(2, 0, "part");
    return { columns, cells: columns.map((name) => list.map((row) => row[name])), shown, meanings };
  }
  function depths(model) {
    const rows = ZOO.rows(model.layers).filter((row) => row.status === "ok");
    return rows.map((row, i) => ({ ...row, model: model.id, depth: rows.length > 1 ? i / (rows.length - 1) : 0 }));
  }
  async function show() {
    const [p, q] = [byId.get(a.value.trim()), byId.get(b.value.trim())];
    ZOO.state.write({ ...Object.fromEntries(ZOO.state.read()), a: p ? p[1] : "", b: q ? q[1] : "" });
    for (const [box, found] of [[a, p], [b, q]]) box.setAttribute("aria-invalid", String(Boolean(box.value && !found)));
    say((a.value && !p) || (b.value && !q) ? "No such model here; the list under the box has them." : "");
    if (!p || !q) return;
    document.getElementById("result").hidden = false;
    const [x, y] = await Promise.all([get(p), get(q)]);
    scores(x, y);
    ZOO.close("pairs");
    ZOO.table("pairs", pairs(x, y), { file: "comparison" });
    const layers = [...depths(x), ...(x.id === y.id ? [] : depths(y))];
    ZOO.draw("compare-alpha", { layers });
    ZOO.draw("compare-traps", { layers });
  }
  function start() {
    const saved = ZOO.state.read();
    if (byKey.has(saved.get("a"))) a.value = byKey.get(saved.get("a"))[0];
    if (byKey.has(saved.get("b"))) b.value = byKey.get(saved.get("b"))[0];
    show();
  }
  for (const box of [a, b]) box.addEventListener("change", show);
  document.getElementById("choose").addEventListener("submit", (event) => { event.preventDefault(); show(); });
  document.getElementById("swap").addEventListener("click", () => { [a.value, b.value] = [b.value, a.value]; show(); });
  addEventListener("hashchange", start);
  start();
});
