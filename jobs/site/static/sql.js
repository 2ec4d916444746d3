// Copies a query.
"use strict";
for (const button of document.querySelectorAll(".copy-code")) {
  button.addEventListener("click", () => ZOO.copy(button.parentElement.querySelector("code").textContent, button));
}
