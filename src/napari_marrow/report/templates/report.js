"use strict";
// The page is whole without this: figures are drawn, titles of their parts are shown by the browser, tables are readable.
(() => {
  const make = (name, attributes, text = "") => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.textContent = text;
    return element;
  };

  // A button for each series of a figure shows and hides it
  for (const plot of document.querySelectorAll(".plot")) {
    const parts = [...plot.querySelectorAll(".hint[data-series]")];
    const names = [...new Set(parts.map((part) => part.dataset.series))];
    if (names.length < 2) continue;
    const bar = make("div", { class: "series", role: "group", "aria-label": "Shown in this figure" });
    for (const name of names) {
      const button = make("button", { type: "button", "aria-pressed": "true" }, name);
      button.addEventListener("click", () => {
        const shown = button.getAttribute("aria-pressed") !== "true";
        button.setAttribute("aria-pressed", String(shown));
        for (const part of parts) if (part.dataset.series === name) part.classList.toggle("off", !shown);
      });
      bar.append(button);
    }
    plot.before(bar);
  }

  // Under the pointer: what the part is, and on a curve the value at this place
  const tip = make("div", { class: "tip", "aria-hidden": "true" });
  tip.hidden = true;
  document.body.append(tip);
  for (const part of document.querySelectorAll(".hint")) {
    const title = part.querySelector("title");
    if (!title) continue;
    part.dataset.text = title.textContent;
    title.remove(); // or the browser would show it, too
    for (const path of part.querySelectorAll("path")) {
      if (path.closest("defs") || !path.style.fill.startsWith("none")) continue;
      const wide = path.cloneNode();
      wide.setAttribute("style", "fill: none; stroke: transparent; stroke-width: 9; pointer-events: stroke");
      wide.removeAttribute("id");
      part.append(wide);
    }
  }
  const rounded = (value) => String(Number(value.toPrecision(3)));
  const valueAt = (part, event) => {
    const path = part.querySelector("path");
    const [x0, x1, y0, y1, left, right, low, high] = part.dataset.scale.split(" ").map(Number);
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(path.getScreenCTM().inverse());
    let from = 0, to = path.getTotalLength();
    for (let i = 0; i < 40; i++) {
      const middle = (from + to) / 2;
      if (path.getPointAtLength(middle).x < at.x) from = middle; else to = middle;
    }
    const point = path.getPointAtLength(to);
    const x = left + ((point.x - x0) / (x1 - x0)) * (right - left);
    const y = low + ((point.y - y0) / (y1 - y0)) * (high - low);
    return `: ${rounded(y)} at ${rounded(x)} h`;
  };
  document.addEventListener("pointermove", (event) => {
    const part = event.target instanceof Element ? event.target.closest(".hint") : null;
    tip.hidden = !part || !part.dataset.text;
    if (tip.hidden) return;
    tip.textContent = part.dataset.text + (part.dataset.scale ? valueAt(part, event) : "");
    const right = event.clientX + 14 + tip.offsetWidth > document.documentElement.clientWidth;
    tip.style.left = `${event.pageX + (right ? -14 - tip.offsetWidth : 14)}px`;
    tip.style.top = `${event.pageY + 14}px`;
  });

  // A click on a heading sorts by its column: numbers by size, the rest by letters, what is missing at the end
  const numberOf = (text) => {
    const plain = text.replace(/[\u202f\u00a0\s]/g, "").replace("\u2212", "-").replace(/^</, "");
    return /^-?[\d.]+(e[+-]?\d+)?$/i.test(plain) ? Number(plain) : NaN;
  };
  for (const table of document.querySelectorAll("table")) {
    const headings = [...table.querySelectorAll("thead th")];
    const body = table.tBodies[0];
    if (!body || body.rows.length < 2) continue;
    headings.forEach((heading, column) => {
      const button = make("button", { type: "button", class: "sort" }, heading.textContent);
      heading.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = heading.getAttribute("aria-sort") === "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row) => {
          const text = row.cells[column].textContent.trim();
          return { row, text, value: numberOf(text), missing: text === "" || text === "–" || text === "n/a" };
        });
        const sign = down ? -1 : 1;
        rows.sort((a, b) => {
          if (a.missing || b.missing) return Number(a.missing) - Number(b.missing);
          const bySize = a.value - b.value;
          return sign * (Number.isNaN(bySize) ? a.text.localeCompare(b.text, "en", { numeric: true }) : bySize);
        });
        body.append(...rows.map((each) => each.row));
      });
    });
  }
})();
