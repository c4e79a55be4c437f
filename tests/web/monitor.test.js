// The monitor page as people meet it, in headless Chromium. The streams are
// those of `examples/monitor.rs`, or of a running program: MONITOR=http://...

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";

import { api, launch, open, pixels, until } from "./page.js";

const PROGRAM = new URL("../../target/debug/examples/monitor", import.meta.url).pathname;
const REAL = process.env.MONITOR;

let browser;
let child;
/** Where one stream is shown, where all are, and where a token is asked for. */
let one;
let wall;
let locked;

/** Starts the example; resolves to its two addresses. */
function start(names) {
  const environment = { ...process.env, HEATCAST_TOKEN: "correct-horse-battery" };
  child = spawn(PROGRAM, ["0", ...names], { stdio: ["pipe", "pipe", "inherit"], env: environment });
  return new Promise((resolve, reject) => {
    let said = "";
    child.stdout.on("data", (text) => {
      said += text;
      const lines = said.split("\n");
      if (lines.length > 2) resolve(lines);
    });
    setTimeout(() => reject(new Error("the example does not say where it is")), 120000).unref();
    child.once("exit", (code) => reject(new Error(`the example ended with ${code}`)));
  });
}

before(async () => {
  browser = await launch();
  [wall, locked] = REAL ? [REAL.endsWith("/") ? REAL : `${REAL}/`] : await start(["studio", "gate", "lobby", "roof"]);
  const [first] = await (await api(wall, "streams")).json();
  one = `${wall}#/${first.name}`;
});

after(async () => {
  await browser?.close();
  if (child) await new Promise((done) => { child.once("exit", done); child.stdin.end(); });
});

const stream = async () => (await (await api(wall, "streams")).json())[0];
/** A class that is not explained now, of a head with few classes. */
async function otherClass() {
  const now = await stream();
  const head = now.heads.find((head) => head.classes.length <= 8);
  return { head: head.name, label: head.classes.map((c) => c.label).find((label) => label !== now.explained_class) };
}
const isLive = (page) => page.waitForFunction(() => document.getElementById("tally").textContent === "live", null, { timeout: 20000 });

test("the picture moves, close behind the newest, without a word in the console", async () => {
  const { page, faults } = await open(browser, one);
  await isLive(page);
  const time = () => page.$eval("#video", (video) => video.currentTime);
  const [before, seen] = [await time(), new Set()];
  await until(async () => seen.add(await pixels(page, "#video")).size > 5, "five different pictures");
  assert.ok((await time()) > before);
  const behind = await page.$eval("#video", (video) => video.buffered.end(video.buffered.length - 1) - video.currentTime);
  assert.ok(behind < 1.2, `${behind} s behind`);
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("choosing a class explains it on the running stream", async () => {
  const { page, faults } = await open(browser, one);
  const { head, label } = await otherClass();
  const button = page.locator(`section[aria-labelledby="head-${head}"] .classes:not(.many) .class[data-class="${label}"]`);
  await button.click();
  const now = await until(async () => { const s = await stream(); return s.class === label && s; }, "the class in the API");
  assert.equal(now.head, head);
  await until(async () => (await stream()).explained_class === label, "its heat");
  await until(async () => (await button.getAttribute("aria-pressed")) === "true", "its mark");
  // The picture with heat is another one than the one without.
  const picture = async (heat) => Buffer.from(await (await api(wall, `streams/${now.name}/snapshot.png?heat=${heat}`)).arrayBuffer());
  assert.ok(!(await picture(1)).equals(await picture(0)));
  await page.locator(`section[aria-labelledby="head-${head}"] .pill`).click();
  await until(async () => (await stream()).class === "top", "the shown class again");
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("method, style, opacity and rate can be set, also by keyboard alone", async () => {
  const { page, faults } = await open(browser, one);
  await page.locator("#method option").first().waitFor({ state: "attached" });
  const before = await stream();
  const method = before.methods.find((name) => name !== before.method);
  await page.selectOption("#method", method);
  await until(async () => (await stream()).method === method, "the method");
  await page.focus("#opacity");
  await page.keyboard.press("End");
  await until(async () => (await stream()).opacity === 1, "full opacity");
  await page.keyboard.press("Home");
  await until(async () => (await stream()).opacity === 0, "no opacity");
  await page.focus("#rate");
  await page.keyboard.press("Home");
  await until(async () => (await stream()).analysis_fps === 0.2, "the lowest rate");
  await page.focus(`#style input[value="${before.style}"]`);
  await page.keyboard.press("ArrowRight");
  await until(async () => (await stream()).style !== before.style, "another style");
  const { style, opacity, analysis_fps } = before;
  await api(wall, `streams/${before.name}`, {
    method: "PATCH", headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ method: before.method, style, opacity, analysis_fps }),
  });
  await until(async () => (await page.$eval("#opacity", (range) => range.value)) === String(opacity), "the page follows the API");
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("the keyboard reaches the picture, a class, and a change and its heat", async () => {
  const { page, faults } = await open(browser, one);
  await page.locator(".class").first().waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the picture");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  const reach = async (selector) => {
    for (let n = 0; n < 120; n += 1) {
      await page.keyboard.press("Tab");
      if (await page.evaluate((s) => document.activeElement.matches(s), selector)) return;
    }
    assert.fail(`no way to ${selector}`);
  };
  await reach(".class");
  const label = await page.evaluate(() => document.activeElement.dataset.class);
  await page.keyboard.press("Enter");
  await until(async () => (await stream()).class === label, "the class");
  await page.locator(".change").first().waitFor({ timeout: 60000 });
  await reach(".change");
  await page.keyboard.press("Enter");
  await page.locator("#detail[open]").waitFor();
  const heated = await page.$eval("#detail-picture", (image) => image.src);
  await page.locator("#detail-plain").press("Space");
  assert.notEqual(await page.$eval("#detail-picture", (image) => image.src), heated);
  await page.waitForFunction(() => document.getElementById("detail-picture").naturalWidth > 100);
  assert.ok((await page.locator("#detail-answers li").count()) > 1);
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#detail[open]").count(), 0);
  assert.ok(await page.evaluate(() => document.activeElement.matches(".change")), "the focus is where it was");
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("a segment that may still move is marked, in looks and in words", async () => {
  const { page, faults } = await open(browser, one);
  // At once, for the ribbon is drawn anew every second.
  const part = (certainty) => until(() => page.evaluate((wanted) => {
    const node = document.querySelector(`.part[data-certainty="${wanted}"]`);
    return node && { title: node.title, look: getComputedStyle(node).backgroundImage,
      row: node.closest(".ribbon-row").getAttribute("aria-label") };
  }, certainty), `a part that is ${certainty}`, 60000);
  const [provisional, shown] = [await part("provisional"), await part("shown")];
  assert.match(provisional.title, /, provisional$/);
  assert.match(provisional.look, /gradient/);
  assert.match(provisional.row, /provisional/);
  assert.equal(shown.look, "none");
  assert.doesNotMatch(shown.row, /provisional/);
  const card = page.locator('.change[data-certainty="provisional"]');
  await card.first().waitFor();
  assert.match(await card.first().getAttribute("aria-label"), /, provisional: show larger$/);
  assert.match(await card.first().textContent(), /provisional/);
  // Its frame, and the same with heat.
  await card.first().click();
  await page.waitForFunction(() => document.getElementById("detail-picture").naturalWidth > 100);
  await page.keyboard.press("Escape");
  // It becomes final, and then is no longer marked.
  assert.doesNotMatch((await part("final")).title, /provisional/);
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("everything that can be used has a name, and every picture a text", async () => {
  const { page } = await open(browser, one);
  await page.locator(".class").first().waitFor();
  const nameless = await page.evaluate(() => {
    const name = (node) => node.getAttribute("aria-label") ?? (node.labels?.[0]?.textContent || node.textContent || node.title);
    const used = [...document.querySelectorAll("button, a, select, input, canvas, video, dialog, nav")];
    const bad = used.filter((node) => !node.getAttribute("aria-labelledby") && !name(node).trim());
    return [...bad, ...document.querySelectorAll("img:not([alt])")].map((node) => node.outerHTML.slice(0, 80));
  });
  assert.deepEqual(nameless, []);
  assert.equal(await page.locator("#now[aria-live=polite]").count(), 1);
  await until(async () => (await page.textContent("#now")).includes("%"), "the shown classes are told");
  await page.context().close();
});

test("a phone shows all of it without scrolling sideways", async () => {
  for (const width of [360, 390, 768]) {
    const { page, faults } = await open(browser, one, { viewport: { width, height: 800 }, colorScheme: "light" });
    await isLive(page);
    await page.locator(".class").first().waitFor();
    const [page_, view] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(page_ <= view, `${page_} px in ${view} px`);
    const small = await page.evaluate(() => [...document.querySelectorAll(".class, .pill, select")].filter((node) => {
      const box = node.getBoundingClientRect();
      return box.width && box.height < 26;
    }).length);
    assert.equal(small, 0, "targets for a finger");
    assert.deepEqual(faults, []);
    await page.context().close();
  }
});

test("dark and light differ, and both can be read", async () => {
  const seen = [];
  for (const colorScheme of ["dark", "light"]) {
    const { page } = await open(browser, one, { colorScheme });
    await page.locator(".class").first().waitFor();
    const contrasts = await page.evaluate(() => {
      const rgb = (text) => text.match(/[\d.]+/g).slice(0, 3).map(Number);
      const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const style = (s) => getComputedStyle(document.querySelector(s));
      const back = light(rgb(style(".panel").backgroundColor));
      return [".shown", ".class .name", ".value", "h2", ".health dt", ".health [data-tone] dd"].map((s) => {
        const front = light(rgb(style(s).color));
        return [s, (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05)];
      });
    });
    for (const [selector, contrast] of contrasts) assert.ok(contrast >= 4.5, `${colorScheme} ${selector}: ${contrast}`);
    seen.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
    await page.context().close();
  }
  assert.notEqual(seen[0], seen[1]);
});

test("without Media Source Extensions still pictures take over", async () => {
  const context = await browser.newContext();
  await context.addInitScript(() => { delete window.MediaSource; delete window.ManagedMediaSource; });
  const page = await context.newPage();
  await page.goto(one);
  await page.waitForFunction(() => document.getElementById("tally").textContent === "stills", null, { timeout: 20000 });
  const seen = new Set();
  await until(async () => {
    const shown = await page.$eval("#still", (image) => !image.hidden && image.complete && image.naturalWidth > 0);
    return shown && seen.add(await pixels(page, "#still")).size > 2;
  }, "three different still pictures");
  await context.close();
});

test("a broken connection heals by itself", async () => {
  const { page } = await open(browser, one);
  await isLive(page);
  await page.context().setOffline(true);
  await page.waitForFunction(() => document.getElementById("link").textContent.startsWith("no connection"));
  await page.context().setOffline(false);
  await page.waitForFunction(() => document.getElementById("link").textContent === "connected");
  await isLive(page);
  const before = await pixels(page, "#video");
  await until(async () => (await pixels(page, "#video")) !== before, "the picture moves again");
  await page.context().close();
});

test("several streams are a wall of tiles that lead to each of them", { skip: REAL && "one stream" }, async () => {
  const { page, faults } = await open(browser, wall);
  await page.locator(".tile").nth(3).waitFor();
  const moving = async (selector) => {
    const first = await until(async () => pixels(page, selector).catch(() => 0), selector);
    await until(async () => (await pixels(page, selector).catch(() => first)) !== first, `${selector} moves`);
  };
  await moving(".tile:nth-child(1) video");
  await moving(".tile:nth-child(4) img");
  await page.locator(".tile", { hasText: "lobby" }).click();
  await isLive(page);
  assert.equal(await page.textContent("#streams [aria-current]"), "lobby");
  await page.goto(`${wall}#/nowhere`);
  await page.locator("#notice", { hasText: "There is no stream" }).waitFor();
  assert.deepEqual(faults, []);
  await page.context().close();
});

test("a locked monitor asks for the token and then shows everything", { skip: REAL && "no token" }, async () => {
  const { page } = await open(browser, locked);
  assert.equal(new URL(page.url()).pathname, "/login");
  await page.fill("#token", "wrong");
  await page.keyboard.press("Enter");
  await page.locator("[role=alert]", { hasText: "not the token" }).waitFor();
  await page.fill("#token", "correct-horse-battery");
  await page.keyboard.press("Enter");
  await page.locator(".tile", { hasText: "studio" }).click();
  await isLive(page);
  await page.locator("#logout button").click();
  await page.waitForURL("**/login");
  await page.context().close();
});
