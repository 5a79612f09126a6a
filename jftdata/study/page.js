"use strict";
/* What a page can do beyond being read: values at the points of figures, sorted tables, larger pictures, a search among labels.
   Text of the page is put back as text only, never as markup. */
(() => {
  const all = (query, within = document) => [...within.querySelectorAll(query)];
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };

  // ---- values at points: under the pointer, or with the arrow keys once a figure has the focus
  const tip = make("p", { class: "tip", role: "status" });
  document.body.append(tip);
  let point = null;
  const leave = () => {
    point?.classList.remove("on");
    point = null;
    tip.textContent = "";
  };
  const say = (mark) => {
    leave();
    point = mark;
    mark.classList.add("on");
    tip.textContent = mark.dataset.says;
    const at = mark.getBoundingClientRect();
    const left = at.left + (at.width - tip.offsetWidth) / 2;
    const above = at.top - tip.offsetHeight - 4;
    tip.style.left = `${Math.max(8, Math.min(left, document.documentElement.clientWidth - tip.offsetWidth - 8))}px`;
    tip.style.top = `${above < 4 ? at.bottom + 4 : above}px`;
  };
  for (const figure of all("svg[role=img]")) {
    const marks = all(".mark", figure);
    if (!marks.length) continue;
    for (const mark of marks) {
      mark.dataset.says = mark.textContent;
      mark.replaceChildren();
      mark.addEventListener("pointerenter", () => say(mark));
      mark.addEventListener("pointerleave", leave);
    }
    figure.setAttribute("tabindex", "0");
    figure.setAttribute("aria-label", `${figure.getAttribute("aria-label")}. Arrow keys go from point to point.`);
    figure.addEventListener("blur", leave);
    figure.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "Escape") leave();
      if (!step) return;
      event.preventDefault();
      const now = marks.indexOf(point);
      say(marks[now < 0 ? (step > 0 ? 0 : marks.length - 1) : (now + step + marks.length) % marks.length]);
    });
  }
  addEventListener("scroll", leave, { passive: true });

  // ---- sorted tables: a button in each heading; up, then down; what has no number comes last
  const numberOf = (text) => {
    const found = /^[+\u2212-]?\d[\d,]*(\.\d+)?/.exec(text);
    return found ? Number(found[0].replaceAll(",", "").replace("\u2212", "-")) : NaN;
  };
  const textOf = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.sort ?? cell.textContent.trim();
  };
  for (const table of all("table")) {
    const body = table.tBodies[0];
    const rows = body ? [...body.rows] : [];
    const heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
    if (rows.length < 3) continue;
    heads.forEach((head, column) => {
      const button = make("button", { type: "button", class: "sort" });
      button.append(...head.childNodes);
      head.append(button);
      const numeric = rows.filter((row) => !Number.isNaN(numberOf(textOf(row, column)))).length * 2 > rows.length;
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        const sign = down ? -1 : 1;
        const order = (a, b) => {
          const [x, y] = [textOf(a, column), textOf(b, column)];
          if (!numeric) return sign * x.localeCompare(y, undefined, { numeric: true });
          const [m, n] = [numberOf(x), numberOf(y)];
          return Number.isNaN(m) - Number.isNaN(n) || sign * (m - n) || 0;
        };
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        body.append(...[...rows].sort(order));
      });
    });
  }

  // ---- larger pictures: each becomes a button that opens it; arrows go to the next, Escape closes
  const pictures = all("main img");
  if (pictures.length) {
    const large = make("img", { alt: "" });
    const caption = make("p");
    const source = make("p", { class: "quiet" });
    const button = (text, act) => {
      const made = make("button", { type: "button" }, text);
      made.addEventListener("click", act);
      return made;
    };
    const bar = make("div", { class: "turn" });
    const dialog = make("dialog", { class: "large", "aria-label": "Picture" }, large, caption, source, bar);
    let now = 0;
    const show = (number) => {
      now = (number + pictures.length) % pictures.length;
      const picture = pictures[now];
      large.src = picture.src;
      large.alt = picture.alt;
      const said = picture.closest("figure")?.querySelector("figcaption");
      caption.textContent = (said?.textContent.trim() || picture.alt).replace(/\s+/g, " ");
      source.textContent = picture.dataset.source ?? "";
      if (!dialog.open) dialog.showModal();
    };
    bar.append(
      button("\u2190 previous", () => show(now - 1)),
      button("next \u2192", () => show(now + 1)),
      button("close", () => dialog.close()),
    );
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => {
      if (event.key === "ArrowLeft") show(now - 1);
      if (event.key === "ArrowRight") show(now + 1);
    });
    document.body.append(dialog);
    pictures.forEach((picture, number) => {
      const open = make("button", { type: "button", class: "open" });
      open.addEventListener("click", () => show(number));
      picture.replaceWith(open);
      open.append(picture);
    });
  }

  // ---- a search among labels: what matches stays, with all above and below it; folds open on the way
  for (const tree of all(".tree")) {
    const [labels, items, folds] = [".label", "li", "details"].map((query) => all(query, tree));
    const field = make("input", { type: "search", autocomplete: "off", spellcheck: "false" });
    const count = make("p", { class: "quiet", role: "status" });
    tree.before(make("div", { class: "search" }, make("label", {}, "Find a label ", field), count));
    let opened = null;
    field.addEventListener("input", () => {
      const wanted = field.value.trim().toLowerCase();
      opened ??= folds.map((fold) => fold.open);
      const kept = new Set();
      let found = 0;
      for (const label of labels) {
        const hit = wanted !== "" && label.textContent.toLowerCase().includes(wanted);
        label.classList.toggle("match", hit);
        if (!hit) continue;
        found += 1;
        const item = label.closest("li");
        for (const below of [item, ...all("li", item)]) kept.add(below);
        for (let above = item.parentElement.closest("li"); above; above = above.parentElement.closest("li")) kept.add(above);
      }
      for (const item of items) item.hidden = wanted !== "" && !kept.has(item);
      folds.forEach((fold, number) => {
        fold.open = wanted === "" ? opened[number] : fold.querySelector("ul .match") !== null;
      });
      if (wanted === "") opened = null;
      count.textContent = wanted === "" ? "" : `${found || "No"} label${found === 1 ? "" : "s"} found`;
    });
  }

  // ---- on paper every fold is open
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const fold of closed) fold.open = true;
  });
  addEventListener("afterprint", () => {
    for (const fold of closed) fold.open = false;
  });
})();
