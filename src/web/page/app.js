// The page: which view is shown, and what keeps it up to date. The address
// after `#/` names the stream; without one all are shown.

import * as api from "./api.js";
import { Changes } from "./changes.js";
import { Controls } from "./controls.js";
import { byId, element, percent, setAttribute, setText, toast } from "./dom.js";
import { Heads } from "./heads.js";
import { showHealth, STATES } from "./health.js";
import { LivePicture } from "./video.js";
import { Wall } from "./wall.js";

/** Time between two looks at the streams, ms. */
const PULSE = 1000;
/** Lines of events asked for at first: three minutes of four heads. */
const REPLAY = 3600;

let streams = [];
let view = null;
let asked = null;

/** One stream at large. */
class Focus {
  constructor(name) {
    this.name = name;
    byId("focus").hidden = false;
    this.heads = new Heads(byId("heads"), (head, label, beside) => {
      this.#change({ head, class: beside ? this.#beside(head, label) : label });
    });
    this.controls = new Controls((patch) => this.#change(patch));
    this.changes = new Changes(name);
    this.picture = new LivePicture(name, byId("video"), byId("still"), (said) => this.#said(said));
    this.waiting = [];
    this.shown = new Map();
    this.unfollow = api.follow(name, REPLAY, (event) => this.#event(event), () => {});
    byId("snapshot").href = api.snapshotPath(name);
    byId("snapshot").setAttribute("download", `${name}.png`);
    setText(byId("title"), `${name}: Heatcast monitor`);
    document.title = `${name} \u2013 Heatcast`;
    // Nothing of the stream before.
    setText(byId("delay"), "");
    byId("health").replaceChildren();
  }

  stop() {
    this.unfollow();
    for (const part of [this.heads, this.controls, this.changes, this.picture]) part.stop();
    byId("focus").hidden = true;
  }

  update() {
    const stream = streams.find((one) => one.name === this.name);
    if (!stream) return;
    this.stream = stream;
    this.heads.update(stream);
    // Events that came before the heads were known.
    for (const event of this.waiting.splice(0)) this.heads.add(event);
    this.controls.update(stream);
    this.changes.refresh(stream);
    showHealth(stream);
    const [tone, word] = STATES[stream.state] ?? ["dim", stream.state];
    if (stream.state !== "running") {
      setAttribute(byId("tally"), "data-tone", tone);
      setText(byId("tally"), word);
    }
    const slate = byId("slate");
    slate.hidden = !stream.detail;
    setText(slate, stream.detail ?? "");
    this.#speak(stream);
  }

  /** Tells screen readers what is shown, when it changes. */
  #speak(stream) {
    const said = stream.heads.filter((head) => head.shown && this.shown.get(head.name) !== head.shown.label);
    for (const head of said) this.shown.set(head.name, head.shown.label);
    if (said.length) {
      setText(byId("now"), said.map((head) => `${head.name}: ${head.shown.label}, ${percent(head.shown.probability)}`).join("; "));
    }
  }

  #event(event) {
    if (this.stream) this.heads.add(event);
    else if (this.waiting.length < 2 * REPLAY) this.waiting.push(event);
  }

  #said({ state, delay, why }) {
    const tally = byId("tally");
    if (this.stream && this.stream.state !== "running") return;
    setAttribute(tally, "data-tone", state === "waiting" ? "fair" : "live");
    setText(tally, { live: "live", stills: "stills", waiting: "connecting" }[state]);
    tally.title = why ?? "";
    setText(byId("delay"), state === "live" ? `${Math.round(delay / 10) * 10} ms behind` : "");
  }

  /** The explained classes with one more, or without it. */
  #beside(head, label) {
    const now = this.stream.head === head ? this.stream.explained_classes : [];
    const classes = now.includes(label) ? now.filter((one) => one !== label) : [...now, label];
    return classes.join(",") || "top";
  }

  async #change(patch) {
    try {
      const stream = await api.change(this.name, patch);
      streams = streams.map((one) => (one.name === stream.name ? stream : one));
      this.update();
    } catch (error) {
      toast(error.message);
    }
  }
}

/** All streams. */
class AllStreams {
  constructor() {
    byId("wall").hidden = false;
    this.wall = new Wall(byId("wall"));
    setText(byId("title"), "All streams: Heatcast monitor");
    document.title = "Heatcast monitor";
  }

  stop() {
    this.wall.stop();
    byId("wall").hidden = true;
  }

  update() {
    this.wall.update(streams);
  }
}

/** The stream that the address names; null for all. */
function wanted() {
  const name = location.hash.startsWith("#/") ? decodeURIComponent(location.hash.slice(2)) : "";
  if (name) return name;
  return streams.length === 1 ? streams[0].name : null;
}

function route() {
  // A skip link is no address.
  if (location.hash && !location.hash.startsWith("#/")) return;
  const name = wanted();
  const known = name === null || streams.some((stream) => stream.name === name);
  const notice = byId("notice");
  notice.hidden = known && streams.length > 0;
  if (!streams.length) setText(notice, "No stream is running. Start one on the command line, or add one through the API.");
  else if (!known) setText(notice, `There is no stream \u201c${name}\u201d.`);
  const next = known && streams.length && !document.hidden ? name ?? "*" : "";
  if (next !== asked) {
    view?.stop();
    asked = next;
    view = next === "" ? null : next === "*" ? new AllStreams() : new Focus(next);
  }
  tabs(name);
  view?.update();
}

function tabs(current) {
  const place = byId("streams");
  const names = streams.length > 1 ? ["", ...streams.map((stream) => stream.name)] : streams.map((stream) => stream.name);
  if (place.dataset.names !== names.join("/")) {
    place.dataset.names = names.join("/");
    place.replaceChildren(...names.map((name) => {
      const dot = element("i", { className: "dot" });
      return element("a", { href: `#/${encodeURIComponent(name)}` }, ...(name ? [dot, name] : ["All"]));
    }));
  }
  names.forEach((name, i) => {
    const tab = place.children[i];
    if (name === (current ?? "")) tab.setAttribute("aria-current", "page");
    else tab.removeAttribute("aria-current");
    const stream = streams.find((one) => one.name === name);
    if (stream) setAttribute(tab, "data-tone", STATES[stream.state]?.[0] ?? "dim");
  });
}

let lost = false;

async function pulse() {
  try {
    streams = await api.streams();
    if (lost) showAbout();
    lost = false;
    setAttribute(byId("link"), "data-tone", "good");
    setText(byId("link"), "connected");
    route();
  } catch (error) {
    lost = true;
    setAttribute(byId("link"), "data-tone", "bad");
    setText(byId("link"), "no connection to the program");
  }
  setTimeout(pulse, PULSE);
}

async function showAbout() {
  try {
    const about = await api.about();
    const gstreamer = about.gstreamer.replace(/^GStreamer /, "");
    setText(byId("about"), `Heatcast ${about.heatcast}, GStreamer ${gstreamer}, ONNX Runtime ${about.onnxruntime}`);
    byId("logout").hidden = !about.login;
  } catch {
    // It is only the footer.
  }
}

addEventListener("hashchange", () => {
  route();
  if (location.hash.startsWith("#/")) byId("main").focus({ preventScroll: true });
});
document.addEventListener("visibilitychange", route);
setInterval(() => setText(byId("clock"), `${new Date().toISOString().slice(11, 19)} UTC`), 500);
pulse();
showAbout();
