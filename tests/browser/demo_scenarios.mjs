/* The demo page, driven as people use it. */

import { check, same, until } from "./harness.mjs";

const PHONE = { viewport: { width: 390, height: 780 } };

async function forgetStore(route) {
  const { ossConfig, ...answer } = await (await route.fetch()).json();
  check(ossConfig, "there is a store to forget");
  await route.fulfill({ json: answer });
}

/** A window of the demo page. */
class Window {
  /** clock: the test may move the page's. withoutStore: navigation names no place for files. */
  static async open(world, user, { device = "", clock = false, withoutStore = false, ...options } = {}) {
    const page = await world.newPage(options);
    const window = new Window(page, user);
    if (clock) await page.clock.install();
    if (withoutStore) await page.route("**/v2/navi.json", forgetStore);
    await page.goto(`${world.config.url}/demo/`);
    await page.getByLabel("User name").fill(user);
    await page.getByLabel("This window is").selectOption(device);
    await page.getByRole("button", { name: "Sign in" }).click();
    await window.waitState("Online");
    return window;
  }

  constructor(page, user) {
    Object.assign(this, { page, user, sent: [] });
    page.on("websocket", (socket) => socket.on("framesent", ({ payload }) => this.sent.push(payload)));
  }

  /** How often the page has named a method of the protocol. */
  asked(method) {
    return this.sent.filter((frame) => frame.includes(method)).length;
  }

  waitState(text, ms) {
    return until(
      async () => (await this.page.locator("#connection-text").textContent()) === text,
      `“${text}” at ${this.user}`,
      ms,
    );
  }

  chatWith(peer) {
    return this.openNamed("Person", "User to chat with", peer);
  }

  joinGroup(group) {
    return this.openNamed("Group", "Group to join", group);
  }

  joinRoom(room) {
    return this.openNamed("Chatroom", "Chatroom to join", room);
  }

  async openNamed(type, label, id) {
    await this.page.getByLabel(type, { exact: true }).check();
    await this.page.getByLabel(label).fill(id);
    await this.page.keyboard.press("Enter");
    await this.page.getByRole("heading", { name: id }).waitFor();
  }

  /** Who is named above which bubble; the same name is not repeated. */
  senders() {
    return this.page.locator("#messages .sender:visible").allTextContents();
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

export async function an_own_message_is_recalled_at_the_peer_and_in_groups(world) {
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
  const group = world.newId("team");
  await Promise.all([hers.joinGroup(group), his.joinGroup(group)]);
  await hers.write("a slip");
  await his.waitBubbles(["a slip"]);
  await hers.page.getByRole("button", { name: "Recall message" }).press("Enter");
  for (const window of [hers, his]) await window.waitBubble("Message recalled");
  const last = await his.row(group).locator(".last").textContent();
  same(last, `${ann}: Message recalled`, "the list's last message of the group");
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

export async function members_of_a_group_see_each_others_messages_and_names(world) {
  const [ann, bob, eve] = [world.newId("ann"), world.newId("bob"), world.newId("eve")];
  const group = world.newId("team");
  const [hers, his, eves] = await Promise.all([ann, bob, eve].map((user) => Window.open(world, user)));
  await hers.joinGroup(group);
  await hers.write("before anybody came");
  await hers.waitBubbles(["before anybody came"]);
  await his.joinGroup(group);
  await hers.write("hello team");
  await his.waitBubbles(["hello team"]);
  await his.write("<b>hello</b> ann");
  await his.write("and again");
  const written = ["hello team", "<b>hello</b> ann", "and again"];
  await his.waitBubbles(written);
  await hers.waitBubbles(["before anybody came", ...written]);
  same(await hers.senders(), [bob], "names that ann sees");
  same(await his.senders(), [ann], "names that bob sees");
  same(await hers.row(group).locator(".last").textContent(), `${bob}: and again`, "the list's last message");
  await hers.page.locator("#messages li", { hasText: "hello team" }).hover();
  await until(async () => {
    await hers.page.locator("#messages li", { hasText: "hello team" }).getByText("Read by…").click();
    return hers.page.getByText(`Read by ${bob} (1 of 1)`).isVisible();
  }, "that bob has read it");
  // Somebody who only knows the group's address is told that he is not in it.
  await eves.page.goto(`${world.config.url}/demo/#group/${group}`);
  await eves.write("let me in");
  await eves.page.getByText("You are not in this group.").waitFor();
  same(await eves.bubbles(), [], "what eve sees");
  await his.page.getByRole("button", { name: "Leave" }).click();
  await until(async () => (await his.row(group).count()) === 0, "the group gone from bob's list");
  await hers.write("without bob");
  await hers.waitBubbles(["before anybody came", ...written, "without bob"]);
  await his.page.goto(`${world.config.url}/demo/#group/${group}`);
  await his.waitBubbles(written);
}

export async function a_chatroom_shows_what_was_said_before_and_is_left(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const room = world.newId("room");
  const [hers, his] = await Promise.all([Window.open(world, ann), Window.open(world, bob)]);
  await hers.joinRoom(room);
  await hers.write("one");
  await hers.write("two");
  await hers.waitBubbles(["one", "two"]);
  await his.joinRoom(room);
  await his.waitBubbles(["one", "two"]);
  await his.write("three");
  await hers.waitBubbles(["one", "two", "three"]);
  same(await hers.senders(), [bob], "names that ann sees");
  await hers.write("four");
  await his.waitBubbles(["one", "two", "three", "four"]);
  // Whoever loads the page anew is in it again; what he has seen is not unread, and is shown once.
  await his.chatWith(ann);
  await his.page.reload();
  await his.waitState("Online");
  await hers.write("five");
  await his.row(room).getByText(`${ann}: five`).waitFor();
  // Said before the page was in the room, that is not unread; by now it is there.
  await hers.write("six");
  await his.row(room).getByText(`${ann}: six`).waitFor();
  const unread = await his.row(room).locator(".unread").textContent();
  check(["1", "2"].includes(unread), `unread of the room: ${unread}`);
  await his.row(room).getByRole("button").click();
  await his.waitBubbles(["one", "two", "three", "four", "five", "six"]);
  await his.page.getByRole("button", { name: "Leave" }).click();
  await until(async () => (await his.row(room).count()) === 0, "the room gone from bob's list");
  await hers.write("seven");
  await hers.waitBubbles(["one", "two", "three", "four", "five", "six", "seven"]);
  await hers.chatWith(bob);
  await hers.write("are you gone?");
  await his.waitUnread(ann, 1);
  same(await his.row(room).count(), 0, "rows of the room that bob has left");
}

export async function typing_is_shown_until_the_message_comes_or_nothing_more_does(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const group = world.newId("team");
  const [hers, his] = [await Window.open(world, ann), await Window.open(world, bob, { clock: true })];
  const shown = his.page.locator("#typing");
  const isShown = async (text) => (await shown.textContent()) === text;
  const box = hers.page.getByLabel("Message", { exact: true });
  // A notice is stored nowhere: where one is lost, the next one of who types on is shown.
  const typeUntilShown = (text) =>
    until(async () => {
      await box.fill("");
      await box.pressSequentially(text);
      return isShown(`${ann} is typing…`);
    }, `“${ann} is typing…” at bob`);
  await hers.chatWith(bob);
  await his.chatWith(ann);
  await typeUntilShown("hi");
  await hers.page.keyboard.press("Enter");
  await his.waitBubbles(["hi"]);
  same(await shown.textContent(), "", "who is typing when the message has come");
  await typeUntilShown("hm");
  await his.page.clock.fastForward(4_000);
  same(await shown.textContent(), `${ann} is typing…`, "a pause to think");
  await his.page.clock.fastForward(2_000);
  await until(() => isShown(""), "nobody is typing at bob");
  await Promise.all([hers.joinGroup(group), his.joinGroup(group)]);
  await typeUntilShown("hi all");
}

export async function scrolling_up_brings_each_earlier_message_once_and_keeps_the_place(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const hers = await Window.open(world, ann);
  const written = Array.from({ length: 40 }, (_, i) => `number ${i}`);
  for (const text of written) {
    await world.api("/message/private/publish.json", {
      fromUserId: bob,
      toUserId: ann,
      objectName: "RC:TxtMsg",
      content: JSON.stringify({ content: text }),
    });
  }
  await hers.waitUnread(bob, written.length);
  await hers.row(bob).getByRole("button").click();
  await hers.waitBubble("number 39");
  await hers.page.reload();
  await hers.waitBubble("number 39");
  same(await hers.bubbles(), written.slice(-30), "the newest page");
  const topOf = (text, scrollTo) =>
    hers.page.locator("#scroll").evaluate(
      (scroll, [text, top]) => {
        if (top !== undefined) scroll.scrollTop = top;
        const bubbles = [...scroll.querySelectorAll(".bubble")];
        return bubbles.find((bubble) => bubble.textContent === text).getBoundingClientRect().top;
      },
      [text, scrollTo],
    );
  const opened = hers.asked("qryPMsg");
  const [first] = await hers.bubbles();
  const before = await topOf(first, 0);
  await until(async () => (await hers.bubbles()).length >= written.length, "the earlier page");
  same(await hers.bubbles(), written, "everything");
  const after = await topOf(first);
  check(Math.abs(after - before) <= 1, `what is being read stays where it is: ${before}, then ${after}`);
  await hers.page.getByText("The conversation begins here.").waitFor();
  await topOf("number 0", 0);
  await hers.write("the newest");
  await hers.waitBubbles([...written, "the newest"]);
  await topOf("number 0", 0);
  await hers.chatWith(world.newId("somebody else"));
  await hers.page.getByText("No messages yet.").waitFor();
  same(hers.asked("qryPMsg") - opened, 2, "the earlier page and the other conversation's first one");
}

export async function a_picture_is_uploaded_shown_small_and_opened_large(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const [hers, his] = await Promise.all([Window.open(world, ann), Window.open(world, bob)]);
  await hers.chatWith(bob);
  await his.chatWith(ann);
  const [choosing] = await Promise.all([
    hers.page.waitForEvent("filechooser"),
    hers.page.getByRole("button", { name: "Send a picture" }).click(),
  ]);
  await choosing.setFiles({ name: "red.png", mimeType: "image/png", buffer: await picture(hers.page) });
  for (const window of [hers, his]) {
    const small = window.page.locator("#messages li:not(.pending)").getByRole("img", { name: "Picture" });
    await small.waitFor();
    same(await small.evaluate((image) => [image.naturalWidth, image.naturalHeight]), [240, 120], "thumbnail");
  }
  same(await his.row(ann).locator(".last").textContent(), "Picture", "the list's last message");
  await his.page.getByRole("button", { name: "Open picture" }).click();
  const large = his.page.getByRole("dialog").getByRole("img");
  await until(() => large.evaluate((image) => image.naturalWidth === 480), "the picture from the store");
  await his.page.keyboard.press("Escape");
  check(await his.page.getByRole("heading", { name: ann }).isVisible(), "the conversation is still open");
}

/** A PNG of 480 by 240 pixels. */
async function picture(page) {
  const url = await page.evaluate(() => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 480, height: 240 });
    canvas.getContext("2d").fillRect(10, 10, 200, 100);
    return canvas.toDataURL("image/png");
  });
  return Buffer.from(url.split(",")[1], "base64");
}

export async function a_picture_of_a_stranger_loads_nothing_and_runs_nothing(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const his = await Window.open(world, bob);
  await his.chatWith(ann);
  const contents = [
    { content: '"><script>document.title=1</script>', imageUri: "javascript:alert(1)" },
    { content: "data:image/svg+xml;base64,PHN2Zy8+", imageUri: "data:text/html,<script>alert(1)</script>" },
    { content: 7, imageUri: ["https://tracker.example/"] },
    { content: "", imageUri: `${world.config.url}/static/demo/icon.svg?from=stranger` },
  ];
  let loaded = 0;
  his.page.on("request", (request) => (loaded += request.url().includes("from=stranger") ? 1 : 0));
  for (const content of contents) {
    await world.api("/message/private/publish.json", {
      fromUserId: ann,
      toUserId: bob,
      objectName: "RC:ImgMsg",
      content: JSON.stringify(content),
    });
  }
  await his.waitBubbles(["Picture", "Picture", "Picture", "Picture"]);
  const log = his.page.getByRole("log");
  same(await log.getByRole("button", { name: "Picture" }).count(), 1, "pictures that can be opened");
  same(await log.locator("img").count(), 0, "images made of what is none");
  same(loaded, 0, "requests before anybody asked for one");
  await log.getByRole("button", { name: "Picture" }).click();
  await his.page.getByRole("dialog").getByRole("link").waitFor();
  check(!(await his.page.title()).startsWith("1"), "nothing ran");
}

export async function without_a_store_the_page_says_why_no_picture_can_be_sent(world) {
  const [ann, bob] = [world.newId("ann"), world.newId("bob")];
  const hers = await Window.open(world, ann, { withoutStore: true });
  await hers.chatWith(bob);
  const button = hers.page.getByRole("button", { name: "Send a picture" });
  same(await button.getAttribute("aria-disabled"), "true", "the button's state");
  await button.click({ force: true }); // playwright does not click what says that it is disabled
  await hers.page.getByText("no store for files").waitFor();
}
