/* The demo page, driven as people use it. */

import { check, same, until } from "./harness.mjs";

const PHONE = { viewport: { width: 390, height: 780 } };

/** A window of the demo page. */
class Window {
  static async open(world, user, { device = "", ...options } = {}) {
    const page = await world.newPage(options);
    await page.goto(`${world.config.url}/demo/`);
    await page.getByLabel("User name").fill(user);
    await page.getByLabel("This window is").selectOption(device);
    await page.getByRole("button", { name: "Sign in" }).click();
    const window = new Window(page, user);
    await window.waitState("Online");
    return window;
  }

  constructor(page, user) {
    Object.assign(this, { page, user });
  }

  waitState(text, ms) {
    return until(
      async () => (await this.page.locator("#connection-text").textContent()) === text,
      `“${text}” at ${this.user}`,
      ms,
    );
  }

  async chatWith(peer) {
    await this.page.getByLabel("User to chat with").fill(peer);
    await this.page.keyboard.press("Enter");
    await this.page.getByRole("heading", { name: peer }).waitFor();
  }

  async write(text) {
    await this.page.getByLabel("Message", { exact: true }).fill(text);
    await this.page.keyboard.press("Enter");
  }

  /** What was received and what was stored of one's own; not what is still on its way. */
  bubbles() {
    return this.page.locator("#messages li:not(.pending, .failed) .bubble").allTextContents();
  }

  async waitBubbles(wanted) {
    const enough = async () => (await this.bubbles()).length >= wanted.length;
    await until(enough, `${wanted.length} bubbles at ${this.user}`);
    same(await this.bubbles(), wanted, `bubbles at ${this.user}`);
  }

  waitBubble(text) {
    return this.page.getByRole("log").getByText(text, { exact: true }).waitFor();
  }

  row(peer) {
    return this.page.locator("#conversations li", { has: this.page.getByText(peer, { exact: true }) });
  }

  waitUnread(peer, count) {
    return until(async () => {
      const shown = await this.row(peer).locator(".unread").allTextContents();
      return shown[0] === (count ? String(count) : "");
    }, `${count} unread of ${peer} at ${this.user}`);
  }
}

export async function two_windows_chat(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const [hers, his] = await Promise.all([Window.open(world, ann), Window.open(world, bob)]);
  await hers.chatWith(bob);
  await his.chatWith(ann);
  const written = ["Hello 😀", "two\nlines", '<img src=x onerror="document.title=1">'];
  for (const text of written) await hers.write(text);
  await his.waitBubbles(written);
  await his.write("an answer");
  await hers.waitBubbles([...written, "an answer"]);
  same(await his.page.locator("#messages img").count(), 0, "images made of text");
  await hers.page.getByLabel("Message", { exact: true }).pressSequentially("an");
  await his.page.getByText("typing…").waitFor();
}

export async function unread_messages_are_counted_until_they_are_opened(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const his = await Window.open(world, bob);
  const hers = await Window.open(world, ann);
  await hers.chatWith(bob);
  for (const text of ["one", "two", "three"]) await hers.write(text);
  await his.waitUnread(ann, 3);
  check((await his.page.title()).startsWith("(3)"), "the title counts");
  await his.page.reload();
  await his.waitState("Online");
  await his.waitUnread(ann, 3);
  await his.row(ann).getByRole("button").click();
  await his.waitBubbles(["one", "two", "three"]);
  await his.waitUnread(ann, 0);
  await his.page.reload();
  await his.waitState("Online");
  await his.waitBubbles(["one", "two", "three"]);
  await his.waitUnread(ann, 0);
}

export async function history_is_there_after_a_reload_page_by_page(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const hers = await Window.open(world, ann);
  const written = Array.from({ length: 70 }, (_, i) => `number ${i}`);
  for (const text of written) {
    await world.api("/message/private/publish.json", {
      fromUserId: bob,
      toUserId: ann,
      objectName: "RC:TxtMsg",
      content: JSON.stringify({ content: text }),
      isPersisted: 1,
      isCounted: 1,
    });
  }
  await hers.chatWith(bob);
  await hers.waitBubble("number 69");
  await hers.page.reload();
  await hers.waitBubble("number 69");
  check((await hers.bubbles()).length < written.length, "the first page is not everything");
  await until(async () => {
    await hers.page.locator("#scroll").evaluate((element) => (element.scrollTop = 0));
    return (await hers.bubbles()).length >= written.length;
  }, "all of the history");
  same(await hers.bubbles(), written, "history");
}

export async function own_windows_stay_in_step_and_the_newer_one_of_a_kind_wins(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const [his, first, phone] = await Promise.all([
    Window.open(world, bob),
    Window.open(world, ann),
    Window.open(world, ann, { device: "MiniProgram" }),
  ]);
  for (const window of [first, phone]) await window.chatWith(bob);
  await first.write("from the first");
  await phone.waitBubbles(["from the first"]);
  await phone.write("from the second");
  await first.waitBubbles(["from the first", "from the second"]);
  await his.waitUnread(ann, 2);
  const newer = await Window.open(world, ann);
  await first.page.getByText("You are signed in elsewhere.").waitFor();
  await first.page.getByRole("button", { name: "Use this window" }).click();
  await first.waitState("Online");
  await newer.waitState("Signed in elsewhere");
}

export async function the_page_recovers_when_the_gateway_is_killed(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const [hers, his] = await Promise.all([Window.open(world, ann), Window.open(world, bob)]);
  await hers.chatWith(bob);
  await his.chatWith(ann);
  await hers.write("before");
  await his.waitBubbles(["before"]);
  process.kill(world.processId("gateway"), "SIGKILL");
  await Promise.all([hers, his].map((window) => window.waitState("Connection lost, trying again…", 5_000)));
  await hers.write("too early");
  await hers.page.getByText("Not connected.").waitFor();
  await Promise.all([hers, his].map((window) => window.waitState("Online", 30_000)));
  await hers.page.getByRole("button", { name: "Try again" }).click();
  await his.waitBubbles(["before", "too early"]);
  await his.write("after");
  await hers.waitBubbles(["before", "too early", "after"]);
}

export async function a_phone_shows_the_list_or_the_conversation(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const hers = await Window.open(world, ann, PHONE);
  const list = hers.page.getByRole("navigation", { name: "Conversations" });
  check(await list.isVisible(), "the list is there first");
  await hers.chatWith(bob);
  check(!(await list.isVisible()), "the conversation takes its place");
  await hers.write("from a phone");
  await hers.waitBubbles(["from a phone"]);
  const width = await hers.page.evaluate(() => document.documentElement.scrollWidth);
  check(width <= PHONE.viewport.width, `nothing is wider than the screen (${width})`);
  await hers.page.getByRole("button", { name: "Back to conversations" }).click();
  await list.waitFor();
  same(await hers.row(bob).locator(".last").textContent(), "You: from a phone", "the list's last message");
}

export async function an_own_message_is_recalled_at_both_sides(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const [hers, his] = await Promise.all([Window.open(world, ann), Window.open(world, bob)]);
  await hers.chatWith(bob);
  await his.chatWith(ann);
  await hers.write("kept");
  await hers.write("a slip");
  await his.waitBubbles(["kept", "a slip"]);
  await hers.waitBubbles(["kept", "a slip"]);
  same(await his.page.locator("#messages .recall:visible").count(), 0, "buttons to recall what others wrote");
  const slip = hers.page.locator("#messages li", { hasText: "a slip" });
  await slip.getByRole("button", { name: "Recall message" }).press("Enter");
  for (const window of [hers, his]) {
    await window.waitBubble("Message recalled");
    same(await window.bubbles(), ["kept", "Message recalled"], `bubbles at ${window.user}`);
  }
  same(await his.row(ann).locator(".last").textContent(), "Message recalled", "the list's last message");
  await his.page.reload();
  await his.waitBubbles(["kept"]);
}

export async function a_second_tick_says_that_the_peer_has_read(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const [hers, his] = await Promise.all([Window.open(world, ann), Window.open(world, bob)]);
  await hers.chatWith(bob);
  await hers.write("a question");
  await his.waitUnread(ann, 1);
  const ticks = (label) => hers.page.getByRole("log").getByRole("img", { name: label, exact: true });
  same([await ticks("sent").count(), await ticks("read").count()], [1, 0], "ticks before it is opened");
  await his.row(ann).getByRole("button").click();
  await ticks("read").waitFor();
  await hers.page.reload();
  await ticks("read").waitFor();
  await hers.write("another");
  await until(async () => (await ticks("read").count()) === 2, "both are read while bob looks");
}
