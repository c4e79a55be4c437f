// Strip charts: the probabilities of a head's classes over the last minutes,
// against stream time.

import { classColour, clockTime, percent, prefersLessMotion, setAttribute } from "./dom.js";

/** Seconds that are shown. */
const SPAN = 180;
/** Classes drawn at once: the most probable of the span. */
const LINES = 5;
/** Seconds without an answer after which a line is broken. */
const BREAK = 4;

/** What one head said over time. */
export class Track {
  constructor(labels) {
    this.labels = new Map(labels.map((label, index) => [label, index]));
    /** `[pts, [[class, probability], ...]]`, rising. */
    this.points = [];
    /** Moments at which shots begin. */
    this.cuts = [];
  }

  add(event) {
    const last = this.points.at(-1);
    // A stream that began anew counts from zero again.
    if (last && event.pts_s < last[0]) {
      if (last[0] - event.pts_s < 1) return;
      this.points.length = 0;
      this.cuts.length = 0;
    }
    const values = event.top.map(({ label, probability }) => [this.labels.get(label), probability]);
    this.points.push([event.pts_s, values.filter(([index]) => index !== undefined)]);
    if (event.starts_shot) this.cuts.push(event.pts_s);
    const old = event.pts_s - SPAN - 5;
    while (this.points.length && this.points[0][0] < old) this.points.shift();
    while (this.cuts.length && this.cuts[0] < old) this.cuts.shift();
  }
}

/** Draws a track into a canvas. */
export class StripChart {
  constructor(canvas, track, name) {
    Object.assign(this, { canvas, track, name });
    this.seen = true;
    this.arrived = performance.now();
    this.latest = 0;
    this.watcher = new IntersectionObserver(([entry]) => { this.seen = entry.isIntersecting; });
    this.watcher.observe(canvas);
  }

  stop() {
    this.watcher.disconnect();
  }

  draw() {
    const { canvas, track } = this;
    if (!this.seen) return;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    const style = getComputedStyle(canvas);
    const newest = track.points.at(-1)?.[0] ?? 0;
    if (newest !== this.latest) {
      this.latest = newest;
      this.arrived = performance.now();
    }
    // Between two answers the chart moves on by the clock, at most a second.
    const since = prefersLessMotion() ? 0 : Math.min((performance.now() - this.arrived) / 1000, 1);
    const now = newest + since;
    const [top, bottom] = [4, height - 14];
    const x = (pts) => width - ((now - pts) / SPAN) * width;
    const y = (probability) => bottom - probability * (bottom - top);
    this.#grid(pen, style, { width, top, bottom, x, y, now });
    for (const index of this.#best()) this.#line(pen, index, x, y);
    this.#describe();
  }

  #grid(pen, style, { width, top, bottom, x, y, now }) {
    pen.lineWidth = 1;
    pen.strokeStyle = style.getPropertyValue("--line");
    pen.fillStyle = style.getPropertyValue("--dim");
    pen.font = "10px system-ui, sans-serif";
    pen.textBaseline = "alphabetic";
    pen.beginPath();
    for (const level of [0, 0.5, 1]) {
      pen.moveTo(0, Math.round(y(level)) + 0.5);
      pen.lineTo(width, Math.round(y(level)) + 0.5);
    }
    pen.stroke();
    pen.textAlign = "center";
    const step = width < 320 ? 60 : 30;
    for (let t = Math.ceil((now - SPAN) / step) * step; t <= now; t += step) {
      if (t < 0) continue;
      const at = Math.round(x(t)) + 0.5;
      pen.beginPath();
      pen.moveTo(at, bottom);
      pen.lineTo(at, bottom + 3);
      pen.stroke();
      if (at > 16 && at < width - 16) pen.fillText(clockTime(t), at, bottom + 13);
    }
    pen.globalAlpha = 0.55;
    pen.setLineDash([2, 3]);
    pen.beginPath();
    for (const cut of this.track.cuts) {
      pen.moveTo(Math.round(x(cut)) + 0.5, top);
      pen.lineTo(Math.round(x(cut)) + 0.5, bottom);
    }
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  }

  /** The classes that were most probable within the span. */
  #best() {
    const most = new Map();
    for (const [, values] of this.track.points) {
      for (const [index, probability] of values) {
        if (probability > (most.get(index) ?? 0)) most.set(index, probability);
      }
    }
    const ranked = [...most].sort((a, b) => b[1] - a[1]).slice(0, LINES).map(([index]) => index);
    return ranked.reverse();
  }

  #line(pen, index, x, y) {
    pen.strokeStyle = classColour(index);
    pen.lineWidth = 1.75;
    pen.lineJoin = "round";
    // Beyond the eight colours, lines are dashed.
    pen.setLineDash(index >= 8 ? [5, 3] : []);
    pen.beginPath();
    let before = null;
    for (const [pts, values] of this.track.points) {
      const value = values.find(([known]) => known === index);
      // Not among the best: as good as nothing.
      const probability = value ? value[1] : 0;
      if (before === null || pts - before > BREAK) pen.moveTo(x(pts), y(probability));
      else pen.lineTo(x(pts), y(probability));
      before = pts;
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  #describe() {
    const last = this.track.points.at(-1);
    if (!last) return;
    const names = [...this.track.labels.keys()];
    const said = last[1].slice(0, 2).map(([index, p]) => `${names[index]} ${percent(p)}`);
    const text = `${this.name} over the last three minutes; now ${said.join(", ")}`;
    // Not with every frame: screen readers would never end.
    if (!this.described || performance.now() - this.described > 5000) {
      this.described = performance.now();
      setAttribute(this.canvas, "aria-label", text);
    }
  }
}
