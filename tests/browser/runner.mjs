/* Runs scenarios on demand in one Chromium: reads {"scenario", "sdk"} lines, answers {"error", "log"} lines.
 *
 *   node runner.mjs CONFIG
 *
 * CONFIG, as JSON: url, app_key and app_secret of a running imcloud, data (its folder), manage ([program,
 * argument…] that runs manage.py), chromium (its program).
 */

import { createInterface } from "node:readline";

import { World, servePages } from "./harness.mjs";
import * as demo from "./demo_scenarios.mjs";
import * as sdk from "./sdk_scenarios.mjs";

const SCENARIO_MS = 60_000;
const OPTIONS = {
  headless: true,
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    // The SDKs call their makers' hosts; no name but the loopback's is looked up.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
  ],
};

async function run(world, scenario) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${SCENARIO_MS} ms`)), SCENARIO_MS);
  });
  try {
    await Promise.race([scenario(world), late]);
    return { error: null, log: world.notes({ failed: false }) };
  } catch (error) {
    return { error: error.stack ?? String(error), log: world.notes({ failed: true }) };
  } finally {
    clearTimeout(timer);
    await world.end();
  }
}

async function main(config) {
  const { chromium } = await import("playwright-core");
  const [pages, browser] = await Promise.all([
    servePages(),
    chromium.launch({ ...OPTIONS, executablePath: config.chromium }),
  ]);
  for await (const line of createInterface({ input: process.stdin })) {
    const wanted = JSON.parse(line);
    const world = new World(config, browser, pages, wanted.sdk);
    const result = await run(world, (wanted.sdk ? sdk : demo)[wanted.scenario]);
    process.stdout.write(`${JSON.stringify(result)}\n`);
  }
  await browser.close();
  process.exit(0); // the page server would keep the process
}

await main(JSON.parse(process.argv[2]));
