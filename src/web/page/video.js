// The live picture: fragmented MP4 over fetch into Media Source Extensions,
// always at the newest picture; still pictures where that does not work.

import * as api from "./api.js";
import { prefersLessMotion, sleep } from "./dom.js";

const Source = window.ManagedMediaSource ?? window.MediaSource;

/** Seconds of picture that wait to be shown: aimed at, hurried from, jumped from. */
const AIM = 0.08, HURRY = 0.3, JUMP = 1.0;
/** Seconds of shown picture that are kept. */
const KEEP = 6;
/** Silence after which the connection counts as broken, ms. */
const SILENCE = 8000;
/** Faults of the browser's player after which still pictures take over. */
const FAULTS = 3;
/** How long they do before the player is tried again, ms. */
const STILLS = 60000;

export class LivePicture {
  /**
   * Shows stream `name` in `video`, or in `image`. `say` is told
   * `{ state: "live" | "stills" | "waiting", delay, why }` as things change.
   */
  constructor(name, video, image, say, size = 1280) {
    Object.assign(this, { name, video, image, say, size });
    this.end = new AbortController();
    this.faults = Source ? 0 : FAULTS;
    this.#run();
  }

  stop() {
    this.end.abort();
    this.#showVideo();
    this.video.removeAttribute("src");
    this.video.load();
    if (this.image.src.startsWith("blob:")) URL.revokeObjectURL(this.image.src);
    this.image.removeAttribute("src");
  }

  async #run() {
    const { signal } = this.end;
    let pause = 250;
    while (!signal.aborted) {
      const begun = performance.now();
      try {
        if (this.faults >= FAULTS) {
          await this.#playStills(signal);
          this.faults = Source ? FAULTS - 1 : FAULTS;
        } else {
          await this.#playVideo(signal);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof PlayerFault) this.faults += 1;
        this.say({ state: "waiting", why: error.message });
      }
      if (performance.now() - begun > 5000) pause = 250;
      await sleep(pause, signal);
      pause = Math.min(pause * 2, 4000);
    }
  }

  async #playVideo(outer) {
    const inner = new AbortController();
    const stop = () => inner.abort();
    outer.addEventListener("abort", stop, { once: true });
    let chase;
    let silence;
    const heard = () => { clearTimeout(silence); silence = setTimeout(stop, SILENCE); };
    try {
      heard();
      const response = await api.live(this.name, inner.signal);
      const reader = response.body.getReader();
      const [codec, head] = await readHead(reader);
      const type = `video/mp4; codecs="${codec}"`;
      if (!Source.isTypeSupported(type)) throw new PlayerFault(`this browser cannot play ${codec}`);
      const media = new Source();
      const address = URL.createObjectURL(media);
      this.video.disableRemotePlayback = true;
      this.video.src = address;
      await once(media, "sourceopen", inner.signal);
      URL.revokeObjectURL(address);
      const buffer = media.addSourceBuffer(type);
      chase = setInterval(() => this.#chase(buffer), 100);
      this.#showVideo();
      for (let bytes = head; bytes; ) {
        await this.#append(buffer, bytes, inner.signal);
        const next = await reader.read();
        heard();
        bytes = next.done ? null : next.value;
      }
    } finally {
      clearInterval(chase);
      clearTimeout(silence);
      outer.removeEventListener("abort", stop);
      inner.abort();
    }
  }

  async #append(buffer, bytes, signal) {
    if (this.video.error) throw new PlayerFault(this.video.error.message || "the player failed");
    try {
      buffer.appendBuffer(bytes);
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw new PlayerFault(error.message);
      // The oldest goes; the newest is what people want to see.
      buffer.remove(0, Math.max(this.video.currentTime, 0.1));
      await once(buffer, "updateend", signal);
      return;
    }
    await once(buffer, "updateend", signal);
  }

  /** Keeps what is shown close behind what has come. */
  #chase(buffer) {
    const { video } = this;
    const parts = buffer.buffered;
    if (!parts.length) return;
    const last = parts.length - 1;
    const [start, end] = [parts.start(last), parts.end(last)];
    const behind = end - video.currentTime;
    if (video.currentTime < start || behind > JUMP || behind < 0) {
      video.currentTime = Math.max(start, end - AIM);
    }
    video.playbackRate = behind > HURRY ? 1.15 : behind > 2 * AIM ? 1.04 : 1;
    if (video.paused) video.play().catch(() => {});
    if (!buffer.updating && parts.start(0) < video.currentTime - 2 * KEEP) {
      buffer.remove(0, video.currentTime - KEEP);
    }
    this.faults = 0;
    this.say({ state: "live", delay: Math.max(0, behind) * 1000 });
  }

  async #playStills(signal) {
    const until = Source ? performance.now() + STILLS : Infinity;
    const pause = prefersLessMotion() ? 1000 : 200;
    while (!signal.aborted && performance.now() < until) {
      const picture = await api.still(this.name, this.size, signal);
      const before = this.image.src;
      this.image.src = URL.createObjectURL(picture);
      await this.image.decode().catch(() => {});
      if (before.startsWith("blob:")) URL.revokeObjectURL(before);
      this.image.hidden = false;
      this.video.hidden = true;
      this.say({ state: "stills" });
      await sleep(pause, signal);
    }
  }

  #showVideo() {
    this.video.hidden = false;
    this.image.hidden = true;
  }
}

/** The player, not the connection, is to blame. */
class PlayerFault extends Error {}

/** The first bytes, as far as the codec's name: the profile of `avcC`. */
async function readHead(reader) {
  let head = new Uint8Array(0);
  while (head.length < 65536) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the picture ended before it began");
    const joined = new Uint8Array(head.length + value.length);
    joined.set(head);
    joined.set(value, head.length);
    head = joined;
    const at = indexOf(head, "avcC");
    if (at >= 0 && head.length >= at + 8) {
      const hex = (byte) => byte.toString(16).padStart(2, "0");
      const sound = indexOf(head, "mp4a") >= 0 ? ",mp4a.40.2" : "";
      return [`avc1.${[...head.subarray(at + 5, at + 8)].map(hex).join("")}${sound}`, head];
    }
  }
  throw new PlayerFault("the picture is not H.264");
}

function indexOf(bytes, name) {
  const code = [...name].map((c) => c.charCodeAt(0));
  for (let at = 0; at + code.length <= bytes.length; at += 1) {
    if (code.every((byte, i) => bytes[at + i] === byte)) return at;
  }
  return -1;
}

function once(target, name, signal) {
  return new Promise((resolve, reject) => {
    const gone = () => { target.removeEventListener(name, done); reject(new Error("stopped")); };
    const done = () => { signal.removeEventListener("abort", gone); resolve(); };
    if (signal.aborted) { reject(new Error("stopped")); return; }
    target.addEventListener(name, done, { once: true });
    signal.addEventListener("abort", gone, { once: true });
  });
}
