// How the picture is explained and drawn. What the API says is shown, except
// while people are changing it.

import { byId, element, setText } from "./dom.js";

/** Analysed frames per second that can be chosen. */
const RATES = [0.2, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12.5, 15, 25];
/** Time after a change in which older answers are not shown, ms. */
const SETTLE = 1200;

export class Controls {
  /** `change(patch)` sends a change and resolves when it is done. */
  constructor(change) {
    this.change = change;
    this.end = new AbortController();
    this.touched = 0;
    const on = (id, name, action) => byId(id).addEventListener(name, action, { signal: this.end.signal });
    on("controls", "submit", (event) => event.preventDefault());
    on("method", "change", () => this.#send({ method: byId("method").value }));
    on("opacity", "input", () => { this.#touch(); this.#opacity(Number(byId("opacity").value)); });
    on("opacity", "change", () => this.#send({ opacity: Number(byId("opacity").value) }));
    on("rate", "input", () => { this.#touch(); this.#rate(RATES[byId("rate").value]); });
    on("rate", "change", () => this.#send({ analysis_fps: RATES[byId("rate").value] }));
    byId("rate").max = RATES.length - 1;
  }

  stop() {
    this.end.abort();
    byId("style").replaceChildren();
    byId("method").replaceChildren();
  }

  update(stream) {
    if (performance.now() - this.touched < SETTLE) return;
    const method = byId("method");
    // The method in use may have a setting, and then is not among the names.
    const methods = [...new Set([...stream.methods, stream.method])];
    if ([...method.options].map((o) => o.value).join() !== methods.join()) {
      method.replaceChildren(...methods.map((m) => element("option", { value: m, textContent: NAMES[m] ?? m })));
    }
    method.value = stream.method;
    this.#styles(stream);
    byId("opacity").value = stream.opacity;
    this.#opacity(stream.opacity);
    const near = (rate) => Math.abs(rate - stream.analysis_fps);
    const at = RATES.reduce((best, rate, i) => (near(rate) < near(RATES[best]) ? i : best), 0);
    byId("rate").value = at;
    this.#rate(stream.analysis_fps);
  }

  #styles(stream) {
    const place = byId("style");
    if (place.dataset.styles !== stream.styles.join()) {
      place.dataset.styles = stream.styles.join();
      place.replaceChildren(...stream.styles.map((name) => {
        const radio = element("input", { type: "radio", name: "style", value: name, id: `style-${name}` });
        radio.addEventListener("change", () => this.#send({ style: name }));
        return element("span", {}, radio, element("label", { htmlFor: radio.id, textContent: name }));
      }));
    }
    for (const radio of place.querySelectorAll("input")) radio.checked = radio.value === stream.style;
  }

  #opacity(value) {
    setText(byId("opacity-value"), `${Math.round(value * 100)} %`);
  }

  #rate(value) {
    setText(byId("rate-value"), `${Number(value.toFixed(2))} / s`);
    byId("rate").setAttribute("aria-valuetext", `${value} frames a second`);
  }

  #touch() {
    this.touched = performance.now();
  }

  #send(patch) {
    this.#touch();
    this.change(patch).finally(() => { this.touched = 0; });
  }
}

const NAMES = {
  auto: "automatic", cam: "CAM", gradcam: "Grad-CAM", "gradcam++": "Grad-CAM++",
  layercam: "LayerCAM", hirescam: "HiResCAM",
};
