// Several streams as a wall of tiles. A browser opens few connections to one
// server: the first tiles are live, the others take turns with still pictures.

import * as api from "./api.js";
import { element, percent, prefersLessMotion, setAttribute, setText, sleep } from "./dom.js";
import { STATES } from "./health.js";
import { LivePicture } from "./video.js";

/** Tiles with moving pictures. */
const LIVE = 3;
/** Pixels of a tile's still picture. */
const SIZE = 640;

export class Wall {
  constructor(place) {
    Object.assign(this, { place, tiles: new Map() });
    this.end = new AbortController();
    this.#takeTurns();
  }

  stop() {
    this.end.abort();
    for (const tile of this.tiles.values()) tile.stop();
    this.tiles.clear();
    this.place.replaceChildren();
  }

  update(streams) {
    const names = new Set(streams.map((stream) => stream.name));
    for (const [name, tile] of this.tiles) {
      if (!names.has(name)) { tile.stop(); tile.node.remove(); this.tiles.delete(name); }
    }
    const live = () => [...this.tiles.values()].filter((tile) => tile.picture).length;
    for (const stream of streams) {
      if (!this.tiles.has(stream.name)) {
        const tile = new Tile(stream.name, live() < LIVE);
        this.tiles.set(stream.name, tile);
        this.place.append(tile.node);
      }
      this.tiles.get(stream.name).update(stream);
    }
  }

  async #takeTurns() {
    const { signal } = this.end;
    while (!signal.aborted) {
      for (const tile of [...this.tiles.values()].filter((one) => !one.picture)) {
        await tile.refresh(signal);
        if (signal.aborted) return;
      }
      await sleep(prefersLessMotion() ? 2000 : 300, signal);
    }
  }
}

class Tile {
  constructor(name, isLive) {
    this.name = name;
    this.video = element("video", { muted: true, playsInline: true, autoplay: true, hidden: !isLive, "aria-hidden": "true" });
    this.image = element("img", { alt: "", hidden: isLive });
    this.state = element("span", { className: "chip tally" });
    this.answers = element("span", { className: "tile-answers" });
    this.detail = element("span", { className: "dim" });
    this.node = element("a", { className: "tile", href: `#/${encodeURIComponent(name)}` },
      element("span", { className: "tile-screen" }, this.video, this.image, element("span", { className: "chips" }, this.state)),
      element("span", { className: "tile-bar" }, element("b", {}, name), this.detail), this.answers);
    this.picture = isLive ? new LivePicture(name, this.video, this.image, () => {}, SIZE) : null;
  }

  stop() {
    this.picture?.stop();
    if (this.image.src.startsWith("blob:")) URL.revokeObjectURL(this.image.src);
  }

  async refresh(signal) {
    try {
      const picture = await api.still(this.name, SIZE, signal);
      const before = this.image.src;
      this.image.src = URL.createObjectURL(picture);
      await this.image.decode();
      if (before.startsWith("blob:")) URL.revokeObjectURL(before);
    } catch {
      // The tile says in words what the stream is doing.
      await sleep(500, signal);
    }
  }

  update(stream) {
    const [tone, word] = STATES[stream.state] ?? ["dim", stream.state];
    setAttribute(this.state, "data-tone", tone);
    setText(this.state, word);
    setText(this.detail, stream.detail ?? `${stream.fps.toFixed(1)} fps`);
    const shown = stream.heads.filter((head) => head.shown);
    const chips = shown.map((head) => `${head.name}: ${head.shown.label} ${percent(head.shown.probability)}`);
    const now = [...this.answers.children].map((chip) => chip.textContent);
    if (now.join("|") !== chips.join("|")) {
      this.answers.replaceChildren(...chips.map((text) => element("span", { className: "answer" }, text)));
    }
    const spoken = `${stream.name}, ${word}${chips.length ? `; ${chips.join(", ")}` : ""}`;
    if (!this.spoken || performance.now() - this.spoken > 5000) {
      this.spoken = performance.now();
      setAttribute(this.node, "aria-label", spoken);
    }
  }
}
