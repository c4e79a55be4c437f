// The program's API as functions. Nothing here knows the document.

const streamPath = (name) => `/api/v1/streams/${encodeURIComponent(name)}`;

/** An answer that is no success. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const response = await fetch(path, { cache: "no-store", ...options });
  if (response.status === 401) location.assign("/login");
  if (!response.ok) {
    const problem = await response.json().catch(() => ({}));
    throw new Refused(response.status, problem.error ?? `the server answered ${response.status}`);
  }
  return response;
}

export const about = async () => (await ask("/api/v1/about")).json();
export const streams = async () => (await ask("/api/v1/streams")).json();
export const changes = async (name) => (await ask(`${streamPath(name)}/changes`)).json();

export async function change(name, patch) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify(patch);
  return (await ask(streamPath(name), { method: "PATCH", headers, body })).json();
}

/** The encoded picture, as long as it lasts. */
export const live = (name, signal) => ask(`${streamPath(name)}/live`, { signal });

/** One picture as a file. */
export async function still(name, size, signal) {
  return (await ask(`${streamPath(name)}/snapshot.jpg?heat=1&size=${size}`, { signal })).blob();
}

export const snapshotPath = (name) => `${streamPath(name)}/snapshot.png?heat=1`;
/** The still of a change; another address once the change has moved. */
export const changePath = (name, change, heat) =>
  `${streamPath(name)}/changes/${change.id}/still.jpg?heat=${heat ? 1 : 0}&at=${change.pts_s}`;

/** Follows the events of a stream; returns what ends it. */
export function follow(name, replay, onEvent, onLink) {
  const source = new EventSource(`${streamPath(name)}/events?replay=${replay}`);
  source.onopen = () => onLink(true);
  source.onerror = () => onLink(false);
  source.onmessage = (message) => {
    let event;
    try { event = JSON.parse(message.data); } catch { return; }
    onEvent(event);
  };
  return () => source.close();
}
