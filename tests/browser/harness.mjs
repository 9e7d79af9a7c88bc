/* What scenarios work with: pages with an SDK in them, users made through the server API, a way to wait. */

import { createHash, randomBytes } from "node:crypto";
import { execFile } from "node:child_process";
import { createReadStream, existsSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { dirname, extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { isDeepStrictEqual, promisify } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const SDKS = join(HERE, "node_modules", "@rongcloud");
const FOLDERS = {
  pages: join(HERE, "pages"),
  sdk4: join(SDKS, "imlib-v4"),
  engine4: join(SDKS, "imlib-v4", "node_modules", "@rongcloud", "engine"),
  sdk5: join(SDKS, "imlib-next"),
  engine5: join(SDKS, "engine"),
};
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript" };
const WAIT_MS = 15_000;
const TRACED = 60; // frames

/** Serves pages/ and the SDKs' packages, on an origin that is not imcloud's: apps have their own, too. */
export async function servePages() {
  const server = createServer((request, response) => {
    const path = normalize(new URL(request.url, "http://local").pathname);
    const [, first, ...rest] = path.split("/");
    const file = first in FOLDERS && rest.length ? join(FOLDERS[first], ...rest) : join(FOLDERS.pages, path);
    if (!existsSync(file) || !statSync(file).isFile()) return response.writeHead(404).end();
    response.writeHead(200, {
      "Content-Type": `${TYPES[extname(file)] ?? "application/octet-stream"}; charset=utf-8`,
    });
    return createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://127.0.0.1:${server.address().port}`;
}

export function check(truth, text) {
  if (!truth) throw new Error(text);
}

export function same(got, wanted, what) {
  check(
    isDeepStrictEqual(got, wanted),
    `${what}: got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`,
  );
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Calls `probe` until it returns something true, and returns that. */
export async function until(probe, what, ms = WAIT_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (Date.now() > end) throw new Error(`waited ${ms} ms for ${what}`);
    await pause(40);
  }
}

/** One scenario's world; end() closes everything that it opened. */
export class World {
  /** config: that of runner.mjs. sdk: "v4" or "v5", or none. */
  constructor(config, browser, pages, sdk) {
    Object.assign(this, { config, browser, pages, sdk, contexts: [], log: [], traffic: [] });
    this.mark = randomBytes(3).toString("hex");
    this.count = 0;
  }

  newId(prefix) {
    return `${prefix}_${this.mark}_${++this.count}`;
  }

  async api(path, form) {
    const nonce = String(Math.random());
    const timestamp = String(Date.now());
    const signature = createHash("sha1")
      .update(this.config.app_secret + nonce + timestamp)
      .digest("hex");
    const headers = {
      "App-Key": this.config.app_key,
      Nonce: nonce,
      Timestamp: timestamp,
      Signature: signature,
    };
    const response = await fetch(this.config.url + path, {
      method: "POST",
      headers,
      body: new URLSearchParams(form),
    });
    const answer = await response.json();
    check(answer.code === 200, `${path} answered ${JSON.stringify(answer)}`);
    return answer;
  }

  async newUser(prefix = "user") {
    const id = this.newId(prefix);
    const { token } = await this.api("/user/getToken.json", { userId: id, name: id });
    return { id, token };
  }

  async newPage(options = {}) {
    const context = options.context ?? (await this.browser.newContext(options));
    if (!this.contexts.includes(context)) this.contexts.push(context);
    const page = await context.newPage();
    page.setDefaultTimeout(WAIT_MS);
    const note = (text) => this.log.push(`${page.url().slice(-40)}: ${text.slice(0, 300)}`);
    page.on("console", (message) => message.type() === "error" && note(message.text()));
    page.on("pageerror", (error) => note(String(error)));
    page.on("websocket", (socket) => {
      this.#trace(page, "opens", socket.url().replace(/token=[^&]*/, "token=…"));
      socket.on("framesent", ({ payload }) => this.#trace(page, "sends", payload));
      socket.on("framereceived", ({ payload }) => this.#trace(page, "gets", payload));
      socket.on("close", () => this.#trace(page, "loses its connection"));
    });
    return page;
  }

  #trace(page, what, data = "") {
    const readable = data.toString("latin1").replace(/[^ -~]+/g, "·").slice(0, 200);
    this.traffic.push(`${new Date().toISOString().slice(14, 23)} ${page.url().slice(-24)} ${what} ${readable}`);
  }

  /** What was noted on the pages; with it, for a scenario that failed, the last that went over the wire. */
  notes({ failed }) {
    return failed ? [...this.log, ...this.traffic.slice(-TRACED)] : this.log;
  }

  /** A page with the SDK in it, not connected. */
  async device(user, { platform } = {}) {
    const page = await this.newPage();
    await page.goto(`${this.pages}/${this.sdk}.html${platform ? `?platform=${platform}` : ""}`);
    await page.waitForFunction("window.sdk?.ready");
    await page.evaluate(([key, base]) => sdk.init(key, base), [this.config.app_key, this.config.url]);
    return new Device(page, user);
  }

  /** The same, connected. */
  async online(user, options) {
    const device = await this.device(user, options);
    same(await device.call("connect", user.token), { value: user.id }, "connect");
    return device;
  }

  async manage(...args) {
    const [program, ...first] = this.config.manage;
    return promisify(execFile)(program, [...first, ...args]);
  }

  processId(name) {
    return JSON.parse(readFileSync(join(this.config.data, "run.json"))).pids[name];
  }

  async end() {
    await Promise.all(this.contexts.map((context) => context.close()));
  }
}

/** A page with an SDK. */
class Device {
  constructor(page, user) {
    Object.assign(this, { page, user, id: user.id });
  }

  call(name, ...args) {
    return this.page.evaluate(([name, args]) => sdk[name](...args), [name, args]);
  }

  async send(peer, text) {
    const { value, code } = await this.call("send", peer.id, text);
    check(value?.uid && value.time, `${this.id} sends ${JSON.stringify(text)}: code ${code}`);
    return value;
  }

  seen(name) {
    return this.page.evaluate((name) => sdk[name], name);
  }

  /** The text messages of one user that this device was shown, in the order in which it was. */
  async texts(sender) {
    return (await this.seen("messages")).filter((m) => m.name === "RC:TxtMsg" && m.sender === sender.id);
  }

  async waitTexts(sender, count, ms) {
    return until(
      async () => {
        const texts = await this.texts(sender);
        return texts.length >= count && texts;
      },
      `${count} messages of ${sender.id} at ${this.id}`,
      ms,
    );
  }

  waitState(state, times = 1) {
    return until(
      async () => (await this.seen("states")).filter((s) => s === state).length >= times,
      `${state} at ${this.id}`,
    );
  }
}
