// The leaderboards: one table, and the data of a board when its tab is chosen.
"use strict";
(() => {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const family = document.getElementById("family"), size = document.getElementById("size"), ranked = document.getElementById("ranked");
  const tools = document.getElementById("board-tools");
  const isNarrow = matchMedia("(max-width: 640px)").matches;
  let current = null, opened = "";

  const filters = () => ({ board: opened === tabs[0].dataset.board ? "" : opened, family: family.value.trim(), size: size.value, ranked: ranked.checked ? "1" : "" });
  function also(row) {
    if (ranked.checked && row.rank === null) return false;
    if (family.value.trim() && (row.family || "").toLowerCase() !== family.value.trim().toLowerCase()) return false;
    if (!size.value) return true;
    const [low, high] = size.value.split(":").map(Number);
    return row.num_params !== null && row.num_params >= low && row.num_params < high;
  }
  function notes(board) {
    const day = board.newest ? new Date(board.newest).toISOString().slice(0, 16).replace("T", " ") + " UTC" : "never";
    const parts = [board.numRanked.toLocaleString("en-US") + " ranked"];
    if (board.numBelow) parts.push(board.numBelow.toLocaleString("en-US") + " below the line, with the reason (fewer than " + board.minLayers + " layers behind the score, or measured otherwise)");
    if (board.analyses.length) parts.push("analysis " + board.analyses[0] + (board.analyses.length > 1 ? " and " + (board.analyses.length - 1) + " asked for alike" : ""));
    parts.push("newest measurement " + day);
    return parts.join("; ") + ". low, high: 95 % of the score, by a bootstrap over five or more layers.";
  }
  async function open(name, { fresh = false } = {}) {
    opened = name;
    for (const tab of tabs) {
      const is = tab.dataset.board === name;
      tab.setAttribute("aria-selected", String(is));
      tab.tabIndex = is ? 0 : -1;
    }
    const board = await ZOO.load("board-" + name, "data/board-" + name + ".js");
    if (opened !== name) return;
    document.getElementById("panel").setAttribute("aria-labelledby", "tab-" + name);
    document.getElementById("board-title").textContent = board.title;
    document.getElementById("board-direction").textContent = board.direction;
    document.getElementById("board-notes").textContent = notes(board);
    tools.querySelector(".sql").href = "sql.html#board-" + name;
    if (fresh) ZOO.state.write({ ...filters(), q: tools.querySelector(".q").value.trim() });
    ZOO.close("board");
    const few = ["rank", "model_id", board.score, "verdict"];
    const view = { ...board, shown: isNarrow ? few.filter((n) => board.columns.includes(n)) : board.shown };
    current = ZOO.table("board", view, {
      links: {
        model_id: (row) => "models/" + board.slugs[row._at] + ".html",
        family: (row) => "index.html#" + new URLSearchParams({ board: name, family: row.family }),
      },
      also, more: filters, file: "leaderboard-" + name, sort: { column: "rank", dir: "asc" },
    });
    const names = [...new Set(current.rows.map((row) => row.family).filter(Boolean))].sort();
    document.getElementById("families").replaceChildren(...names.map((value) => Object.assign(document.createElement("option"), { value })));
  }
  function start() {
    const saved = ZOO.state.read();
    family.value = saved.get("family") || "";
    size.value = saved.get("size") || "";
    ranked.checked = saved.get("ranked") === "1";
    const wanted = saved.get("board");
    open(tabs.some((tab) => tab.dataset.board === wanted) ? wanted : tabs[0].dataset.board);
  }
  for (const tab of tabs) {
    tab.addEventListener("click", () => open(tab.dataset.board, { fresh: true }));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
      next.focus();
      next.click();
    });
  }
  for (const input of [family, size, ranked]) input.addEventListener("change", () => current && current.apply());
  document.getElementById("reset").addEventListener("click", () => {
    family.value = size.value = tools.querySelector(".q").value = tools.querySelector(".where").value = "";
    ranked.checked = false;
    ZOO.state.write({ board: filters().board });
    open(opened);
  });
  addEventListener("hashchange", start);
  start();
})();
