"use strict";
const page = JSON.parse(document.getElementById("data").textContent);
const store = "jftdata.judge/" + page.fingerprint, words = ["yes", "no", "unsure"];
const at = id => document.getElementById(id);
const items = page.items, places = new Map(items.map((item, i) => [item.id, i]));
const past = [];
let answers = new Map(), unsaved = 0, now = 0;

function make(tag, text, kind) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function figure(picture) {
  const box = make("figure"), below = make("figcaption"), labels = make("ul");
  if (picture.jpeg) {
    const image = make("img");
    image.src = picture.jpeg;
    image.alt = picture.alt;
    box.append(image);
  } else {
    const lost = make("div", picture.alt, "lost");
    lost.setAttribute("role", "img");
    lost.setAttribute("aria-label", picture.alt);
    box.append(lost);
  }
  for (const label of picture.labels) labels.append(make("li", label));
  for (const label of picture.conflicts) labels.append(make("li", "≠ " + label, "conflict"));
  if (labels.childElementCount) below.append(labels);
  for (const line of picture.lines) below.append(make("div", line));
  box.append(below);
  return box;
}

function card(item, i) {
  const box = make("article"), top = make("div", "", "top"), pictures = make("div", "", "pictures");
  const head = make("h2", item.heading), given = make("p", "", "given quiet");
  head.id = "heading" + i;
  box.setAttribute("aria-labelledby", head.id);
  top.append(head, given);
  for (const picture of item.pictures) pictures.append(figure(picture));
  box.append(top, pictures);
  for (const line of item.lines) box.append(make("p", line, "quiet"));
  if (item.group) box.append(make("p", item.group, "quiet"));
  return box;
}

const cards = items.map(card), cells = items.map(() => make("i"));
at("items").append(...cards);
at("strip").append(...cells);

function show() {
  const counts = {yes: 0, no: 0, unsure: 0};
  items.forEach((item, i) => {
    const answer = answers.get(item.id) || "";
    if (answer) counts[answer] += 1;
    cards[i].classList.toggle("now", i === now);
    cards[i].dataset.answer = answer;
    const given = cards[i].querySelector(".given");
    given.replaceChildren((i + 1) + " of " + items.length + " ");
    if (answer) given.append(make("b", answer));
    cells[i].className = i === now ? "now" : answer;
  });
  const answer = answers.get(items[now].id) || "";
  for (const word of words) at(word).setAttribute("aria-pressed", String(answer === word));
  at("back").disabled = now === 0;
  at("next").disabled = now === items.length - 1;
  at("undo").disabled = !past.length;
  at("save").disabled = !answers.size;
  at("save").classList.toggle("due", unsaved > 0);
  const done = answers.size === items.length;
  at("progress").textContent = answers.size + " of " + items.length + " answered: " + counts.yes + " yes, " + counts.no +
    " no, " + counts.unsure + " unsure" + (done && unsaved ? ". All done: save the file" : "");
  at("saved").textContent = !answers.size ? "" : unsaved ? unsaved + (unsaved === 1 ? " change" : " changes") + " not saved to a file yet" : "all saved to a file";
}

function say(text) {
  const answer = answers.get(items[now].id) || "not answered";
  at("said").textContent = (text ? text + ". " : "") + (now + 1) + " of " + items.length + ": " + items[now].heading + ", " + answer;
}

function go(i, text) {
  const before = now;
  now = Math.min(Math.max(i, 0), items.length - 1);
  show();
  if (now !== before) cards[now].scrollIntoView({block: "start"});
  say(text);
}

function unanswered(from) {
  for (let step = 0; step < items.length; step += 1) {
    const i = (from + step) % items.length;
    if (!answers.has(items[i].id)) return i;
  }
  return Math.min(from, items.length - 1);
}

function load() {
  try {
    const kept = JSON.parse(localStorage.getItem(store));
    if (!kept) return;
    answers = new Map(Object.entries(kept.answers).filter(([id, answer]) => places.has(id) && words.includes(answer)));
    unsaved = kept.unsaved;
  } catch (error) { warn(); }
}

function keep() {
  try { localStorage.setItem(store, JSON.stringify({answers: Object.fromEntries(answers), unsaved})); } catch (error) { warn(); }
}

function warn() {
  at("warning").textContent = "This browser does not keep answers: save them to a file before you close the page.";
}

function answer(word) {
  const id = items[now].id, before = answers.get(id);
  if (before !== word) {
    past.push([id, before]);
    answers.set(id, word);
    unsaved += 1;
    keep();
  }
  go(unanswered(now + 1), word);
}

function undo() {
  if (!past.length) return;
  const [id, before] = past.pop();
  if (before) answers.set(id, before); else answers.delete(id);
  unsaved += 1;
  keep();
  go(places.get(id), "undone");
}

function save() {
  if (!answers.size) return;
  const given = items.filter(item => answers.has(item.id)).map(item => [item.id, answers.get(item.id)]);
  const content = {format: "jftdata.judgements/1", page: page.fingerprint, title: page.title, question: page.question,
    answers: Object.fromEntries(given)};
  const link = make("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(content, null, 1) + "\n"], {type: "application/json"}));
  link.download = (page.title.replace(/[^\p{L}\p{N} ._-]+/gu, "_").replace(/^\.+/, "").slice(0, 100) || "page") + ".judgements.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  unsaved = 0;
  keep();
  go(now, "saved " + given.length + " answers");
}

const keys = {
  y: () => answer("yes"), n: () => answer("no"), u: () => answer("unsure"),
  1: () => answer("yes"), 2: () => answer("no"), 3: () => answer("unsure"),
  ArrowLeft: () => go(now - 1), ArrowRight: () => go(now + 1), Home: () => go(0), End: () => go(items.length - 1),
  z: undo, Backspace: undo, s: save,
};
document.addEventListener("keydown", event => {
  if (event.altKey || event.metaKey || event.ctrlKey) return;
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!act || (event.repeat && !event.key.startsWith("Arrow"))) return;
  event.preventDefault();
  act();
});
for (const word of words) at(word).addEventListener("click", () => answer(word));
at("back").addEventListener("click", () => go(now - 1));
at("next").addEventListener("click", () => go(now + 1));
at("undo").addEventListener("click", undo);
at("save").addEventListener("click", save);
at("strip").addEventListener("click", event => {
  const box = at("strip").getBoundingClientRect();
  go(Math.floor((event.clientX - box.left) / box.width * items.length));
});
window.addEventListener("storage", event => { if (event.key === store) { load(); show(); } });
load();
go(unanswered(0));
