// What every page shares: data handed over by scripts, the state in the address, dark and light, text for spreadsheets.
// Classic scripts without modules, as pages from a disk may load nothing else. Nothing is ever fetched.
"use strict";
const ZOO = (() => {
  const data = new Map(), waiting = new Map();

  function put(name, value) {
    data.set(name, value);
    for (const tell of waiting.get(name) || []) tell(value);
    waiting.delete(name);
  }

  // The data called `name`, from the script `path` when no page has brought it yet.
  function load(name, path) {
    if (data.has(name)) return Promise.resolve(data.get(name));
    return new Promise((resolve, reject) => {
      const asked = waiting.has(name);
      waiting.set(name, [...(waiting.get(name) || []), resolve]);
      if (asked || !path) return; // without a path: a script further down the page brings it
      const script = document.createElement("script");
      script.src = path;
      script.onerror = () => { waiting.delete(name); reject(new Error("cannot read " + path)); };
      document.head.append(script);
    });
  }

  // Lists by column -> a list of rows.
  function rows(table) {
    const count = table.cells.length ? table.cells[0].length : 0;
    const made = new Array(count);
    for (let i = 0; i < count; i++) {
      const row = {};
      for (let c = 0; c < table.columns.length; c++) row[table.columns[c]] = table.cells[c][i];
      made[i] = row;
    }
    return made;
  }

  // A number with four digits; what is missing is a dash.
  function shown(value) {
    if (value === null || value === undefined || value === "") return "–";
    if (typeof value !== "number") return String(value);
    if (Number.isInteger(value)) return Math.abs(value) >= 10000 ? value.toLocaleString("en-US") : String(value);
    const size = Math.abs(value);
    if (size >= 1e6 || size < 1e-4) return value.toExponential(3);
    return String(Number(value.toPrecision(4)));
  }

  // Parameters and bytes as people say them; the box over a cell has every digit.
  function amount(value) {
    for (const [unit, size] of [["T", 1e12], ["B", 1e9], ["M", 1e6], ["k", 1e3]]) {
      if (value >= size) return Number((value / size).toPrecision(3)) + " " + unit;
    }
    return shown(value);
  }

  // The state of the page, in the address behind #.
  const state = {
    read() { return new Map(new URLSearchParams(location.hash.slice(1))); },
    write(values) {
      const kept = new URLSearchParams();
      for (const [key, value] of Object.entries(values)) if (value !== "" && value !== null) kept.set(key, value);
      const hash = kept.toString();
      history.replaceState(null, "", hash ? "#" + hash : location.pathname + location.search);
    },
  };

  // A cell for a spreadsheet: text that it would run as a formula gets an apostrophe.
  function tame(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    const plain = String(value);
    return /^[\s]*[=+\-@\t\r|%]/.test(plain) ? "'" + plain : plain;
  }
  function csv(names, list) {
    const quote = (value) => /[",\n\r]/.test(value) ? '"' + value.replaceAll('"', '""') + '"' : value;
    const lines = [names, ...list.map((row) => names.map((name) => row[name]))];
    return lines.map((cells) => cells.map((cell) => quote(tame(cell))).join(",")).join("\r\n") + "\r\n";
  }
  function tsv(names, list) {
    const flat = (value) => tame(value).replace(/[\t\r\n]+/g, " ");
    return [names, ...list.map((row) => names.map((name) => row[name]))].map((cells) => cells.map(flat).join("\t")).join("\n");
  }
  function save(name, content) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff" + content], { type: "text/csv;charset=utf-8" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  async function copy(content, button) {
    const before = button.dataset.words || (button.dataset.words = button.textContent);
    let done = true;
    try {
      await navigator.clipboard.writeText(content);
    } catch {
      const area = document.createElement("textarea");
      area.value = content;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    button.textContent = done ? "Copied" : "Not allowed";
    setTimeout(() => { button.textContent = before; }, 1500);
  }

  // Dark or light: as the system says, until the button is pressed.
  const root = document.documentElement;
  const themed = [];
  function remembered() {
    try { return localStorage.getItem("zoo-theme"); } catch { return null; }
  }
  if (remembered()) root.dataset.theme = remembered();
  function isDark() {
    return (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  }
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const say = () => button.setAttribute("aria-pressed", String(isDark()));
    button.addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      try { localStorage.setItem("zoo-theme", root.dataset.theme); } catch { /* private windows forget it */ }
      say();
      for (const redraw of themed) redraw();
    });
    say();
  });

  return { put, load, rows, shown, amount, state, csv, tsv, save, copy, tame, isDark, onTheme: (redraw) => themed.push(redraw) };
})();
