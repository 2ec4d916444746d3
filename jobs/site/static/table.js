// A table with search, conditions, columns to choose, copy, CSV and its state in the address. Stands on Tabulator.
"use strict";
ZOO.table = (id, table, options = {}) => {
  const rows = ZOO.rows(table), names = table.columns;
  const links = options.links || {}, prefix = options.prefix || "";
  const tools = document.getElementById(id + "-tools"), problem = document.getElementById(id + "-problem");
  const numeric = new Set(names.filter((name) => rows.some((row) => typeof row[name] === "number")));
  const isNarrow = matchMedia("(max-width: 640px)").matches;
  const standard = [...table.shown];
  let chosen = [...standard], sorters = options.sort ? [options.sort] : [], keep = () => true;
  const saved = options.state === false ? new Map() : ZOO.state.read();
  const key = (name) => prefix + name;

  rows.forEach((row, i) => { row._at = i; });
  if (saved.has(key("cols"))) chosen = saved.get(key("cols")).split(",").filter((name) => names.includes(name)).slice(0, 15);
  if (saved.has(key("sort"))) {
    const word = saved.get(key("sort")), column = word.replace(/^-/, "");
    if (names.includes(column)) sorters = [{ column, dir: word.startsWith("-") ? "desc" : "asc" }];
  }

  // What is missing sorts last in either direction; equal values keep the order of the data.
  function order(a, b, aRow, bRow, column, dir) {
    const none = (value) => value === null || value === undefined || value === "";
    if (none(a) || none(b)) {
      if (none(a) && none(b)) return (aRow.getData()._at - bRow.getData()._at) * (dir === "asc" ? 1 : -1);
      return (none(a) ? 1 : -1) * (dir === "asc" ? 1 : -1);
    }
    const way = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
    return way || (aRow.getData()._at - bRow.getData()._at) * (dir === "asc" ? 1 : -1);
  }
  function format(cell) {
    const name = cell.getField(), value = cell.getValue(), row = cell.getData();
    const target = value !== null && links[name] ? links[name](row) : null;
    const element = document.createElement(target ? "a" : "span");
    element.textContent = typeof value === "number" && /params|bytes/.test(name) ? ZOO.amount(value) : ZOO.shown(value);
    if (target) element.href = target;
    if (value === null) {
      element.className = "none";
      element.title = row.reason || row.status || "not measured";
    } else if (typeof value === "number") element.title = value.toLocaleString("en-US", { maximumSignificantDigits: 17 });
    else if (String(value).length > 18) element.title = String(value);
    return element;
  }
  // a name may be broken behind its underscores
  function head(cell) {
    const element = document.createElement("span");
    cell.getValue().split(/(?<=_)/).forEach((piece, i) => element.append(...(i ? [document.createElement("wbr")] : []), piece));
    return element;
  }
  const column = (name) => ({
    title: name, field: name, titleFormatter: head, headerWordWrap: true, sorter: order, formatter: format, visible: chosen.includes(name),
    headerTooltip: () => (table.meanings || {})[name] || name,
    hozAlign: numeric.has(name) ? "right" : "left", headerHozAlign: numeric.has(name) ? "right" : "left",
    minWidth: 56, ...(numeric.has(name) ? { width: name.length < 7 ? 76 : name.length < 18 ? 104 : 128 } : {}),
    maxInitialWidth: ["reason", "message"].includes(name) ? 320 : isNarrow ? 170 : 260,
    headerSortStartingDir: "asc",
  });
  const inOrder = () => [...chosen, ...names.filter((name) => !chosen.includes(name))];
  const grid = new Tabulator("#" + id, {
    data: rows, columns: inOrder().map(column), layout: options.layout || "fitDataFill",
    ...(rows.length > 24 ? { height: options.height || "min(70vh, 720px)" } : {}),
    initialSort: sorters, placeholder: "No row fits.", columnHeaderSortMulti: false,
    printAsHtml: true, printRowRange: "active", printStyled: false,
  });

  // name op value, joined by `and`.
  function condition(text) {
    const tests = text.split(/\s+and\s+/i).filter((part) => part.trim()).map((part) => {
      const match = part.trim().match(/^(\w+)\s*(!=|<=|>=|=|<|>|~)\s*(.+)$/);
      if (!match || !names.includes(match[1])) throw new Error(match ? "no column " + match[1] : "got “" + part.trim() + "”; wanted a condition such as alpha < 2");
      const [, name, op, raw] = match, bare = raw.trim().replace(/^(['"])(.*)\1$/, "$2");
      const number = bare === "" ? NaN : Number(bare);
      return (row) => {
        const value = row[name];
        if (value === null || value === undefined) return false;
        if (op === "~") return String(value).toLowerCase().includes(bare.toLowerCase());
        const [a, b] = typeof value === "number" && !Number.isNaN(number) ? [value, number] : [String(value).toLowerCase(), bare.toLowerCase()];
        return op === "=" ? a === b : op === "!=" ? a !== b : op === "<" ? a < b : op === "<=" ? a <= b : op === ">" ? a > b : a >= b;
      };
    });
    return (row) => tests.every((test) => test(row));
  }
  function apply() {
    const word = tools.querySelector(".q").value.trim().toLowerCase();
    let where = () => true;
    try {
      where = condition(tools.querySelector(".where").value);
      problem.hidden = true;
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    }
    keep = (row) => where(row) && (!options.also || options.also(row))
      && (!word || names.some((name) => typeof row[name] === "string" && row[name].toLowerCase().includes(word)));
    grid.setFilter(keep);
    count();
    remember();
  }
  function active() { return grid.getRows("active").map((row) => row.getData()); }
  function count() {
    const num = rows.filter(keep).length;
    tools.querySelector(".count").textContent = num === rows.length ? num.toLocaleString("en-US") + " rows" : num.toLocaleString("en-US") + " of " + rows.length.toLocaleString("en-US") + " rows";
  }
  function remember() {
    if (options.state === false) return;
    const now = grid.getSorters()[0];
    const sort = now ? (now.dir === "desc" ? "-" : "") + now.field : "";
    const usual = options.sort ? (options.sort.dir === "desc" ? "-" : "") + options.sort.column : "";
    ZOO.state.write({
      ...Object.fromEntries([...ZOO.state.read()].filter(([name]) => !["q", "where", "sort", "cols"].map(key).includes(name))),
      ...(options.more ? options.more() : {}),
      [key("q")]: tools.querySelector(".q").value.trim(), [key("where")]: tools.querySelector(".where").value.trim(),
      [key("sort")]: sort === usual ? "" : sort, [key("cols")]: chosen.join() === standard.join() ? "" : chosen.join(),
    });
  }
  function pick() {
    const picker = tools.querySelector(".picker");
    picker.replaceChildren(...names.map((name) => {
      const label = document.createElement("label"), box = document.createElement("input");
      box.type = "checkbox";
      box.checked = chosen.includes(name);
      box.addEventListener("change", () => {
        if (box.checked && chosen.length >= 15) { box.checked = false; box.setCustomValidity("15 columns at most"); box.reportValidity(); return; }
        box.setCustomValidity("");
        chosen = box.checked ? [...chosen, name] : chosen.filter((other) => other !== name);
        grid.toggleColumn(name);
        remember();
      });
      label.append(box, " " + name);
      label.title = (table.meanings || {})[name] || "";
      return label;
    }));
  }

  if (tools) {
    const abort = new AbortController(), when = { signal: abort.signal };
    tools.querySelector(".q").value = saved.get(key("q")) || "";
    tools.querySelector(".where").value = saved.get(key("where")) || "";
    let timer = 0;
    const soon = () => { clearTimeout(timer); timer = setTimeout(apply, 120); };
    tools.querySelector(".q").addEventListener("input", soon, when);
    tools.querySelector(".where").addEventListener("change", apply, when);
    const visible = () => grid.getColumns().filter((c) => c.isVisible()).map((c) => c.getField());
    tools.querySelector(".copy").addEventListener("click", (e) => ZOO.copy(ZOO.tsv(visible(), active()), e.target), when);
    tools.querySelector(".csv").addEventListener("click", () => ZOO.save((options.file || id) + ".csv", ZOO.csv(names, active())), when);
    tools.querySelector(".link").addEventListener("click", (e) => { remember(); ZOO.copy(location.href, e.target); }, when);
    pick();
    grid.on("tableBuilt", apply);
    grid.on("dataSorted", () => { if (grid.initialized) remember(); });
    ZOO.closers = ZOO.closers || {};
    ZOO.closers[id] = () => { abort.abort(); grid.destroy(); };
  }
  // heads can be reached and pressed from the keyboard
  grid.on("tableBuilt", () => {
    for (const head of document.querySelectorAll("#" + id + " .tabulator-col.tabulator-sortable")) {
      head.tabIndex = 0;
      head.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); head.click(); }
      });
    }
    document.getElementById(id).dataset.ready = "true";
  });
  return { grid, rows, apply };
};
ZOO.close = (id) => { if (ZOO.closers && ZOO.closers[id]) { ZOO.closers[id](); delete ZOO.closers[id]; } };
