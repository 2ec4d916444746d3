// Draws the charts of a page with Vega-Lite, in the colours of the page, and again when these change.
"use strict";
ZOO.draw = (() => {
  const drawn = new Map();
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  function config() {
    const ink = colour("--ink"), soft = colour("--soft"), line = colour("--line");
    return {
      background: "transparent", view: { stroke: line }, font: "system-ui, sans-serif",
      axis: { labelColor: soft, titleColor: ink, gridColor: line, domainColor: line, tickColor: line, titleFontWeight: 500 },
      legend: { labelColor: soft, titleColor: ink }, rule: { color: soft }, tick: { color: colour("--own") },
      line: { color: colour("--own") }, point: { color: colour("--own") },
      range: { category: ZOO.isDark()
        ? ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#d55e00", "#cc79a7", "#9aa5b1", "#8dd3c7", "#bebada", "#fb8072", "#b3de69", "#fccde5"]
        : ["#0072b2", "#d55e00", "#009e73", "#b07d00", "#a8508a", "#2f9fd6", "#5b6570", "#7a4f9a", "#8a5a2b", "#d1495b", "#4b7f2f", "#00798c"] },
    };
  }
  async function draw(name, datasets, more = {}) {
    const place = document.querySelector('[data-chart="' + name + '"]');
    if (!place) return;
    drawn.set(name, [datasets, more]);
    if (Object.values(datasets).every((list) => !list.length)) {
      place.textContent = "Nothing to draw: no number was measured.";
      place.dataset.ready = "true";
      return null;
    }
    const specs = await ZOO.load("charts", "");
    const made = await vegaEmbed(place, { ...specs[name], datasets, ...more }, {
      actions: false, renderer: "svg", ast: true, logLevel: 1, config: config(), tooltip: { theme: ZOO.isDark() ? "dark" : "light" },
    });
    const label = place.parentElement.querySelector("figcaption");
    const svg = place.querySelector("svg");
    if (svg) { svg.setAttribute("role", "img"); svg.setAttribute("aria-label", label ? label.textContent : name); }
    place.dataset.ready = "true";
    return made;
  }
  ZOO.onTheme(() => { for (const [name, [datasets, more]] of drawn) draw(name, datasets, more); });
  return draw;
})();
