// The answers: per head its shown class, its strip chart and its classes, each
// a button that asks for the class's heat.

import { StripChart, Track } from "./charts.js";
import { classColour, element, percent, setAttribute, setText } from "./dom.js";

/** Classes that are all shown; of more, the best and a list to search. */
const FEW = 8;
/** The best of many. */
const BEST = 5;

export class Heads {
  /** `explain(head, class, beside)` is called when people choose; `beside`: as
   * well as what is explained already. */
  constructor(place, explain) {
    Object.assign(this, { place, explain, cards: new Map(), shape: "" });
    this.timer = setInterval(() => this.#draw(), 125);
  }

  stop() {
    clearInterval(this.timer);
    for (const card of this.cards.values()) card.chart.stop();
    this.cards.clear();
    this.place.replaceChildren();
  }

  /** The state of the stream as the API has it. */
  update(stream) {
    const shape = JSON.stringify(stream.heads.map((head) => [head.name, head.classes.map((c) => c.label)]));
    if (shape !== this.shape) {
      this.shape = shape;
      for (const card of this.cards.values()) card.chart.stop();
      const cards = stream.heads.map((head) => [head.name, new Card(head, this.explain)]);
      this.cards = new Map(cards);
      this.place.replaceChildren(...cards.map(([, card]) => card.node));
    }
    for (const head of stream.heads) this.cards.get(head.name)?.update(head, stream);
  }

  /** One line of the events. */
  add(event) {
    if (event.type === "analysis") this.cards.get(event.head)?.track.add(event);
  }

  #draw() {
    for (const card of this.cards.values()) card.chart.draw();
  }
}

class Card {
  constructor(head, explain) {
    this.explain = explain;
    this.labels = head.classes.map((c) => c.label);
    this.track = new Track(this.labels);
    this.label = element("b");
    this.sure = element("span", { className: "sure" });
    this.tag = element("span", { className: "tag", textContent: "explained", hidden: true });
    this.canvas = element("canvas", { className: "chart", role: "img", "aria-label": `${head.name}: no answers yet` });
    this.chart = new StripChart(this.canvas, this.track, head.name);
    this.top = element("button", { type: "button", className: "pill", title: "Explain whichever class is shown" }, "Follow the shown class");
    this.top.addEventListener("click", () => explain(head.name, "top"));
    this.rows = [];
    const title = element("h3", { id: `head-${head.name}` }, head.name);
    const bar = element("header", { className: "head-bar" }, title, this.tag,
      element("p", { className: "shown" }, this.label, " ", this.sure));
    this.node = element("section", { className: "head", "aria-labelledby": title.id }, bar, this.canvas,
      this.#list(head), element("div", { className: "head-foot" }, this.top));
  }

  #list(head) {
    const group = (name) => element("div", { className: "classes", role: "group", "aria-label": name });
    const whole = group(`Classes of ${head.name}`);
    this.rows = this.labels.map((_, index) => new Row(this.labels, index, (label, beside) => this.explain(head.name, label, beside)));
    whole.append(...this.rows.map((row) => row.node));
    if (this.labels.length <= FEW) return whole;
    this.best = group(`Most probable classes of ${head.name}`);
    this.bestRows = Array.from({ length: BEST }, () => new Row(this.labels, 0, (label, beside) => this.explain(head.name, label, beside)));
    this.best.append(...this.bestRows.map((row) => row.node));
    const search = element("input", { type: "search", placeholder: "Find a class", "aria-label": `Find a class of ${head.name}` });
    search.addEventListener("input", () => {
      const wanted = search.value.trim().toLowerCase();
      for (const row of this.rows) row.node.hidden = !row.label.toLowerCase().includes(wanted);
    });
    whole.classList.add("many");
    const all = element("details", {}, element("summary", {}, `All ${this.labels.length} classes`), search, whole);
    return element("div", {}, this.best, all);
  }

  update(head, stream) {
    const isExplained = stream.head === head.name;
    setText(this.label, head.shown?.label ?? "\u2013");
    setText(this.sure, head.shown ? percent(head.shown.probability) : "");
    this.tag.hidden = !isExplained;
    setAttribute(this.top, "aria-pressed", String(isExplained && stream.class === "top"));
    const explained = isExplained ? stream.explained_classes : [];
    const by = (c) => c.probability ?? -1;
    head.classes.forEach((c, index) => this.rows[index].update(index, c.probability, explained.includes(c.label)));
    // Rows do not change places under somebody's finger.
    if (this.best && !this.best.matches(":hover, :focus-within")) {
      const order = head.classes.map((c, i) => [by(c), i]).sort((a, b) => b[0] - a[0] || a[1] - b[1]);
      this.bestRows.forEach((row, place) => row.place(order[place][1]));
    }
    for (const row of this.bestRows ?? []) {
      const c = head.classes[row.index];
      row.update(row.index, c.probability, explained.includes(c.label));
    }
  }
}

class Row {
  constructor(labels, index, choose) {
    this.labels = labels;
    this.swatch = element("i", { className: "swatch" });
    this.name = element("span", { className: "name" });
    this.fill = element("i", { className: "fill" });
    this.value = element("span", { className: "value" });
    this.node = element("button", { type: "button", className: "class", "aria-pressed": "false" },
      this.swatch, this.name, element("span", { className: "meter" }, this.fill), this.value);
    this.node.addEventListener("click", (event) => choose(this.label, event.shiftKey));
    this.place(index);
  }

  place(index) {
    if (this.index === index) return;
    this.index = index;
    this.label = this.labels[index];
    setText(this.name, this.label);
    this.node.title = `Explain ${this.label}; with Shift, beside what is explained`;
    this.node.dataset.class = this.label;
    const colour = classColour(index);
    this.swatch.style.background = colour;
    this.fill.style.background = colour;
  }

  update(index, probability, isExplained) {
    setText(this.value, percent(probability));
    this.fill.style.width = `${Math.round((probability ?? 0) * 100)}%`;
    setAttribute(this.node, "aria-pressed", String(isExplained));
  }
}
