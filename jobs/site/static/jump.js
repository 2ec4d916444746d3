// The box that leads to a model from every page, and the list of names that other boxes share.
"use strict";
ZOO.load("names", "").then((names) => {
  const box = document.getElementById("jump-to"), list = document.getElementById("jump-names");
  const base = document.body.dataset.root;
  const find = (word) => {
    const low = word.toLowerCase();
    return names.models.find((m) => m[0] === word) || names.models.filter((m) => m[0].toLowerCase().includes(low))[0];
  };
  const offer = (input) => {
    const low = input.value.toLowerCase(), options = [];
    for (const [id] of names.models) {
      if (options.length >= 40) break;
      if (id.toLowerCase().includes(low)) {
        const option = document.createElement("option");
        option.value = id;
        options.push(option);
      }
    }
    list.replaceChildren(...options);
  };
  for (const input of document.querySelectorAll('input[list="jump-names"]')) {
    input.addEventListener("input", () => offer(input));
    input.addEventListener("focus", () => offer(input));
  }
  const go = () => {
    const model = box.value && find(box.value);
    if (model) location.href = base + "models/" + model[1] + ".html";
    else box.setCustomValidity(box.value ? "No such model here" : "");
    box.reportValidity();
  };
  box.addEventListener("input", () => {
    box.setCustomValidity("");
    if (names.models.some((m) => m[0] === box.value)) go();
  });
  document.getElementById("jump").addEventListener("submit", (event) => { event.preventDefault(); go(); });

  const ranks = document.getElementById("ranks");
  if (ranks) {
    const model = names.models.find((m) => m[1] === ranks.dataset.key);
    for (const [board, rank] of Object.entries(model ? model[3] : {})) {
      const link = document.createElement("a");
      link.href = base + "index.html#" + new URLSearchParams({ board, q: model[0] });
      link.textContent = board + ": rank " + rank + " of " + names.ranked[board];
      ranks.append(link, " ");
    }
    if (!ranks.childNodes.length) ranks.textContent = "No rank on any board; each board says why below its line.";
  }
});
