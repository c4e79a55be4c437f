// The ribbon of segments, the changes with their frame and heat, and the dialog
// that shows one of them larger.

import * as api from "./api.js";
import { byId, classColour, clockTime, duration, element, percent, setAttribute, setText } from "./dom.js";

/** Seconds that the ribbon shows, at most. */
const SPAN = 900;
/** Changes that are listed; older ones are in the ribbon and the API. */
const LISTED = 40;

export class Changes {
  constructor(name) {
    Object.assign(this, { name, all: [], stream: null, cards: new Map(), opened: null, heat: true, busy: false });
    this.end = new AbortController();
    const on = (id, event, action) => byId(id).addEventListener(event, action, { signal: this.end.signal });
    on("detail-close", "click", () => byId("detail").close());
    on("detail", "click", (event) => { if (event.target === byId("detail")) byId("detail").close(); });
    on("detail", "close", () => { this.opened = null; });
    on("detail", "keydown", (event) => {
      if (event.key === "ArrowLeft") this.#step(-1);
      if (event.key === "ArrowRight") this.#step(1);
    });
    on("detail-heat", "click", () => this.#look(true));
    on("detail-plain", "click", () => this.#look(false));
    on("detail-earlier", "click", () => this.#step(-1));
    on("detail-later", "click", () => this.#step(1));
  }

  stop() {
    this.end.abort();
    if (byId("detail").open) byId("detail").close();
    byId("ribbon").replaceChildren();
    byId("changes").replaceChildren();
  }

  /** Asks for what is new. */
  async refresh(stream) {
    this.stream = stream;
    if (this.busy) return;
    this.busy = true;
    try {
      const all = await api.changes(this.name);
      if (this.end.signal.aborted) return;
      this.all = all;
      this.#list();
      this.#ribbon();
    } catch {
      // The next one comes in a moment, and the page says that it waits.
    } finally {
      this.busy = false;
    }
  }

  #colour(head, label) {
    const classes = this.stream?.heads.find((h) => h.name === head)?.classes ?? [];
    return classColour(classes.findIndex((c) => c.label === label));
  }

  #list() {
    const place = byId("changes");
    const wanted = this.all.filter((change) => change.still).slice(-LISTED).reverse();
    const ids = new Set(wanted.map((change) => change.id));
    for (const [id, card] of this.cards) {
      if (!ids.has(id)) { card.node.remove(); this.cards.delete(id); }
    }
    wanted.forEach((change, i) => {
      if (!this.cards.has(change.id)) this.cards.set(change.id, this.#card(change));
      const card = this.cards.get(change.id);
      card.update(change);
      if (place.children[i] !== card.node) place.insertBefore(card.node, place.children[i] ?? null);
    });
    if (!wanted.length && !place.children.length) {
      place.append(element("li", { className: "empty" }, "No change yet. The frame of each will stand here, with its heat."));
    } else if (wanted.length) place.querySelector(".empty")?.remove();
  }

  #card(change) {
    const pictures = [false, true].map((heat) => element("img", {
      loading: "lazy", decoding: "async", width: 160, height: 90, alt: "", src: api.changePath(this.name, change, heat),
    }));
    const swatch = element("i", { className: "swatch" });
    swatch.style.background = this.#colour(change.head, change.label);
    const length = element("span", { className: "dim" });
    const probability = element("span");
    const from = element("span", { className: "dim" });
    const button = element("button", { type: "button", className: "change", "aria-haspopup": "dialog" },
      element("span", { className: "pair" }, ...pictures),
      element("span", { className: "what" }, swatch, element("b", {}, change.label), " ", probability),
      element("span", { className: "when" }, from, length));
    button.addEventListener("click", () => this.#open(change.id));
    // A segment's start may move, and its still and probability with it.
    const update = (now) => {
      pictures.forEach((picture, heat) => setAttribute(picture, "src", api.changePath(this.name, now, heat)));
      setText(length, lasted(now));
      setText(probability, percent(now.probability));
      setText(from, `${now.head} at ${clockTime(now.pts_s)}${maybe(now)}`);
      button.dataset.certainty = now.certainty;
      setAttribute(button, "aria-label",
        `${now.head} became ${now.label}, ${percent(now.probability)}, at ${clockTime(now.pts_s)}${maybe(now)}: show larger`);
    };
    return { node: element("li", {}, button), update };
  }

  #ribbon() {
    const place = byId("ribbon");
    const now = Math.max(this.stream?.pts_s ?? 0, ...this.all.map((change) => change.pts_s), 1);
    const first = Math.min(...this.all.map((change) => change.pts_s), now);
    const start = Math.max(first, now - SPAN);
    const width = Math.max(now - start, 1);
    setText(byId("span"), this.all.length ? `the last ${duration(width)}` : "");
    const heads = this.stream?.heads.map((head) => head.name) ?? [];
    const rows = heads.map((head) => {
      const own = this.all.filter((change) => change.head === head && (change.end_pts_s ?? now) > start)
        .sort((a, b) => a.pts_s - b.pts_s);
      const parts = own.map((change) => {
        const [from, to] = [Math.max(change.pts_s, start), change.end_pts_s ?? now];
        const part = element("button", { type: "button", className: "part", tabIndex: -1, title:
          `${change.label}, ${clockTime(change.pts_s)} to ${change.end_pts_s === null ? "now" : clockTime(to)}${maybe(change)}` }, change.label);
        part.style.left = `${((from - start) / width) * 100}%`;
        part.style.width = `${Math.max(((to - from) / width) * 100, 0.15)}%`;
        part.style.setProperty("--own", this.#colour(head, change.label));
        part.dataset.certainty = change.certainty;
        part.addEventListener("click", () => this.#open(change.id));
        return part;
      });
      const spoken = own.slice(-5).map((change) => `${change.label} from ${clockTime(change.pts_s)}${maybe(change)}`).join(", ");
      return element("div", { className: "ribbon-row", role: "group", "aria-label": `${head}: ${spoken || "nothing yet"}` },
        element("span", { className: "ribbon-name" }, head), element("div", { className: "ribbon-track" }, ...parts));
    });
    place.replaceChildren(...rows, element("div", { className: "ribbon-row scale", "aria-hidden": "true" },
      element("span"), element("div", { className: "ribbon-ends" }, element("span", {}, clockTime(start)), element("span", {}, clockTime(now)))));
  }

  #open(id) {
    const change = this.all.find((one) => one.id === id);
    if (!change) return;
    this.opened = id;
    setText(byId("detail-title"), `${change.head}: ${change.previous ? `${change.previous} \u2192 ` : ""}${change.label}`);
    const at = new Date(change.at_unix_ms);
    const cues = change.cues.length ? `; ${change.cues.join(", ").replaceAll("_", " ")}` : "";
    const shows = change.explained_class ? ` Heat: ${change.explained_class}.` : "";
    setText(byId("detail-facts"), `${clockTime(change.pts_s)} in the stream, ${at.toISOString().slice(0, 19).replace("T", " ")} UTC, ${lasted(change)}${maybe(change)}${cues}.${shows}`);
    byId("detail-answers").replaceChildren(...change.heads.map((head) => {
      const best = [...head.classes].sort((a, b) => (b.probability ?? 0) - (a.probability ?? 0)).slice(0, 5);
      return element("section", {}, element("h3", {}, head.name), element("ul", { className: "bars" }, ...best.map((c) => {
        const fill = element("i", { className: "fill" });
        fill.style.width = `${Math.round((c.probability ?? 0) * 100)}%`;
        fill.style.background = this.#colour(head.name, c.label);
        return element("li", {}, element("span", { className: "name" }, c.label), element("span", { className: "meter" }, fill),
          element("span", { className: "value" }, percent(c.probability)));
      })));
    }));
    this.#look(this.heat);
    const [earlier, later] = [this.#other(-1), this.#other(1)];
    byId("detail-earlier").disabled = !earlier;
    byId("detail-later").disabled = !later;
    if (!byId("detail").open) byId("detail").showModal();
  }

  #look(heat) {
    this.heat = heat;
    const change = this.all.find((one) => one.id === this.opened);
    const picture = byId("detail-picture");
    picture.hidden = !change?.still;
    if (change?.still) picture.src = api.changePath(this.name, change, heat);
    picture.alt = change ? `The frame at which ${change.head} became ${change.label}${heat ? ", with its heat" : ""}` : "";
    byId("detail-heat").setAttribute("aria-pressed", String(heat));
    byId("detail-plain").setAttribute("aria-pressed", String(!heat));
  }

  #other(step) {
    const at = this.all.findIndex((one) => one.id === this.opened);
    return at < 0 ? undefined : this.all[at + step];
  }

  #step(step) {
    const other = this.#other(step);
    if (other) this.#open(other.id);
  }
}

/** What is to be said of a boundary that may still move or be taken back. */
const maybe = (change) => (change.certainty === "provisional" ? ", provisional" : "");

const lasted = (change) =>
  change.end_pts_s === null ? "goes on" : `lasted ${duration(change.end_pts_s - change.pts_s)}`;
