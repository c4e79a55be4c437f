// A page of the monitor in a headless browser, and what went wrong on it.

import { chromium } from "playwright-core";

const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const launch = () => chromium.launch({
  executablePath: EXECUTABLE,
  args: ["--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"],
});

/**
 * Opens `address`. What the page should not do is collected in `faults`:
 * errors, words in the console, requests to other hosts.
 */
export async function open(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  const faults = [];
  const host = new URL(address).host;
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const asked = new URL(request.url());
    if (!["blob:", "data:"].includes(asked.protocol) && asked.host !== host) faults.push(`asked ${asked.host}`);
  });
  await page.goto(address);
  return { page, faults };
}

/** What the picture consists of: a number that differs when it does. */
export const pixels = (page, selector) => page.$eval(selector, (shown) => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [64, 36];
  const pen = canvas.getContext("2d");
  pen.drawImage(shown, 0, 0, 64, 36);
  return pen.getImageData(0, 0, 64, 36).data.reduce((sum, value, i) => (sum * 31 + value * (i + 1)) % 1e9, 7);
});

/** Asks the API, apart from the page. */
export async function api(address, path, options = {}) {
  const response = await fetch(`${address}api/v1/${path}`, options);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response;
}

/** Waits until `ask` gives something true. */
export async function until(ask, what, ms = 20000) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await ask();
    if (found) return found;
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
