/* The published SDKs, unmodified, against imcloud. Each scenario runs once with v4 and once with v5. */

import { check, pause, same, until } from "./harness.mjs";

const SETTLE_MS = 300; // after what should not happen
const texts = (messages) => messages.map((message) => message.text);
const numbered = (count) => Array.from({ length: count }, (_, i) => `number ${i}`);

async function pair(world) {
  return Promise.all([world.newUser("ann"), world.newUser("bob")]);
}

export async function connects_with_a_token(world) {
  const ann = await world.online(await world.newUser("ann"));
  await ann.waitState("connected");
  same(await ann.seen("errors"), [], "errors on the page");
}

export async function is_told_that_a_token_is_bad(world) {
  const mallory = await world.device({ id: "mallory", token: "bm90LWEtdG9rZW4" });
  same(await mallory.call("connect", mallory.user.token), { code: 31004 }, "connect");
}

export async function messages_arrive_in_order_as_they_were_written(world) {
  const [ann, bob] = await Promise.all((await pair(world)).map((user) => world.online(user)));
  const written = [
    "plain",
    "two\nlines\tand a tab",
    "你好，世界",
    "emoji 😀👩‍👩‍👧🇨🇳",
    'quotes " \\ / <b>',
    ...numbered(30),
  ];
  const sent = await Promise.all(written.map((text) => ann.send(bob, text)));
  const received = await bob.waitTexts(ann, written.length);
  same(texts(received), written, "what bob was shown");
  same(
    received.map(({ uid, time }) => ({ uid, time })),
    sent,
    "uids and times of bob and of ann's acknowledgements",
  );
  check(
    sent.every(({ time }, i) => i === 0 || time > sent[i - 1].time),
    "times rise",
  );
  check(
    received.every(({ kind, target, direction }) => kind === 1 && target === ann.id && direction === 2),
    "conversation",
  );
  await bob.send(ann, "an answer 😀");
  same(texts(await ann.waitTexts(bob, 1)), ["an answer 😀"], "what ann was shown");
  same(await ann.texts(ann), [], "what ann was shown of her own");
}

export async function what_was_sent_while_offline_is_pulled_once(world) {
  const [ann, bob] = await pair(world);
  const sender = await world.online(ann);
  const written = numbered(120);
  await Promise.all(written.map((text) => sender.send(bob, text)));
  const receiver = await world.online(bob);
  await receiver.waitTexts(ann, written.length);
  await sender.send(bob, "live");
  await receiver.waitTexts(ann, written.length + 1);
  await pause(SETTLE_MS);
  same(texts(await receiver.texts(ann)), [...written, "live"], "what bob was shown");
}

export async function own_devices_stay_in_step(world) {
  const [ann, bob] = await pair(world);
  const [first, second, peer] = await Promise.all([
    world.online(ann),
    world.online(ann, { platform: "MiniProgram" }),
    world.online(bob),
  ]);
  const { uid } = await first.send(bob, "from the first device");
  same(
    (await second.waitTexts(ann, 1)).map((m) => [m.uid, m.target, m.direction]),
    [[uid, bob.id, 1]],
    "at the second device",
  );
  await second.send(bob, "from the second device");
  same(texts(await first.waitTexts(ann, 1)), ["from the second device"], "at the first device");
  await peer.waitTexts(ann, 2);
  await peer.send(ann, "to both");
  for (const device of [first, second])
    same(texts(await device.waitTexts(bob, 1)), ["to both"], "the answer");
  await pause(SETTLE_MS);
  same([(await first.texts(ann)).length, (await second.texts(ann)).length], [1, 1], "copies of own messages");
}

export async function a_second_sign_in_ends_the_first(world) {
  const [ann, bob] = await pair(world);
  const first = await world.online(ann);
  const second = await world.online(ann);
  await first.waitState("kicked");
  await (await world.online(bob)).send(ann, "to the one that stayed");
  await second.waitTexts(bob, 1);
}

export async function typing_is_shown_and_not_stored(world) {
  const [ann, bob] = await pair(world);
  const [typist, watcher] = await Promise.all([world.online(ann), world.online(bob)]);
  // People go on typing: v4 drops a status message that comes while it is still pulling after its connect.
  await until(async () => {
    await typist.call("type", bob.id);
    await pause(SETTLE_MS);
    return (await watcher.seen("typing")).includes(ann.id);
  }, "typing at bob");
  const late = await world.newUser("late");
  await typist.call("type", late.id);
  await typist.send(late, "stored");
  const device = await world.online(late);
  await device.waitTexts(ann, 1);
  await pause(SETTLE_MS);
  same(await device.seen("typing"), [], "typing at somebody who was offline");
}

export async function a_cut_connection_is_made_again_and_nothing_is_missing(world) {
  const [ann, bob] = await pair(world);
  const [sender, receiver] = await Promise.all([world.online(ann), world.online(bob)]);
  await sender.send(bob, "before");
  await receiver.waitTexts(ann, 1);
  await world.manage("sessions", "drop", bob.id, "--app-key", world.config.app_key);
  await sender.send(bob, "while away");
  await receiver.waitState("connected", 2);
  await sender.send(bob, "after");
  await receiver.waitTexts(ann, 3);
  await pause(SETTLE_MS);
  same(texts(await receiver.texts(ann)), ["before", "while away", "after"], "what bob was shown");
}
