// How the stream is doing, as figures with a word on what is not well.

import { byId, duration, element, milliseconds, setAttribute, setText } from "./dom.js";

/** A tone, and the word that says the same to those who see no colours. */
const GOOD = ["good", ""], FAIR = ["fair", "high"], BAD = ["bad", "too high"];

const graded = (value, fair, bad) =>
  value === null || value === undefined ? ["", ""] : value >= bad ? BAD : value >= fair ? FAIR : GOOD;

export const STATES = {
  starting: ["fair", "starting"], running: ["good", "running"],
  reconnecting: ["bad", "reconnecting"], ended: ["dim", "ended"], failed: ["bad", "failed"],
};

/** Name, value, tone and word of every figure. */
function figures(stream) {
  const latency = stream.latency_ms;
  const skipped = Object.entries(stream.skipped);
  const causes = skipped.map(([cause, count]) => `${cause.replaceAll("_", " ")} ${count}`).join(", ");
  const total = skipped.reduce((sum, [, count]) => sum + count, 0);
  const size = stream.resolution ? `${stream.resolution.width} \u00d7 ${stream.resolution.height}` : "\u2013";
  const offset = stream.av_offset_ms;
  return [
    ["State", (STATES[stream.state] ?? ["", stream.state])[1], (STATES[stream.state] ?? [""])[0], ""],
    ["Picture", `${size}, ${stream.fps.toFixed(1)} fps`],
    ["Latency p50", milliseconds(latency?.p50), ...graded(latency?.p50, 60, 200)],
    ["Latency p95", milliseconds(latency?.p95), ...graded(latency?.p95, 60, 200)],
    ["Latency p99", milliseconds(latency?.p99), ...graded(latency?.p99, 100, 300)],
    ["Heat is", milliseconds(stream.explanation_age_ms) + " old", ...graded(stream.explanation_age_ms, 600, 2000)],
    ["Analysed", `${stream.analysed.toLocaleString("en")} of ${stream.frames.toLocaleString("en")}`],
    ["Skipped", total ? `${total.toLocaleString("en")} (${causes})` : "none"],
    ["Reconnects", String(stream.reconnects), ...(stream.reconnects ? ["fair", ""] : GOOD)],
    ["Sound offset", milliseconds(offset), ...graded(offset === null ? null : Math.abs(offset), 45, 120)],
    ["Model", `${stream.model} on ${stream.provider}`],
    ["Source", stream.source],
    ...stream.rtsp.map((address, i) => [i ? "RTSP, clean" : "RTSP", address]),
  ];
}

export function showHealth(stream) {
  const place = byId("health");
  const rows = figures(stream);
  while (place.children.length > rows.length) place.lastChild.remove();
  while (place.children.length < rows.length) {
    place.append(element("div", {}, element("dt"), element("dd")));
  }
  rows.forEach(([name, value, tone = "", word = ""], i) => {
    const [term, text] = place.children[i].children;
    setText(term, name);
    setText(text, word ? `${value}, ${word}` : value);
    setAttribute(place.children[i], "data-tone", tone);
  });
  const since = (Date.now() - stream.since_unix_ms) / 1000;
  setText(byId("since"), `${(STATES[stream.state] ?? ["", stream.state])[1]} for ${duration(since)}`);
}
