// Small helpers for the document. Nothing here knows a stream.

export const byId = (id) => document.getElementById(id);

/** A new element: its properties, then its children. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null) continue;
    if (name in made && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Sets a text only when it differs, so that nothing is painted for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export const percent = (probability) =>
  probability === null || probability === undefined ? "\u2013" : `${Math.round(probability * 100)} %`;

export const milliseconds = (value) =>
  value === null || value === undefined ? "\u2013" : `${Math.round(value)} ms`;

/** 3725 s as 1:02:05. */
export function clockTime(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds / 3600) % 24} h`;
}

export const prefersLessMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

let toastTimer;

/** Says that something did not work. */
export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { place.hidden = true; }, 8000);
}

/** The colour of the class at `index` among its head's classes. */
export function classColour(index) {
  const name = `--class-${((index % 8) + 8) % 8}`;
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export const sleep = (ms, signal) => new Promise((resolve) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); resolve(); }, { once: true });
});
