/* The demo client's bytes, against frames that the published SDKs exchange. */

import { deepStrictEqual as same, strictEqual, throws } from "node:assert";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const source = readFileSync(new URL("../../imcloud/demo/static/demo/wire.js", import.meta.url));
const { Frame, acknowledgement, decode, encode, parse, ping, request } = await import(
  `data:text/javascript;base64,${source.toString("base64")}`
);

const bytes = (hex) =>
  Uint8Array.from(hex.replaceAll(" ", "").match(/../g) ?? [], (pair) => parseInt(pair, 16));
const buffer = (hex) => bytes(hex).buffer;
const hex = (array) => Buffer.from(array).toString("hex");

test("a published message is the SDK's frame byte for byte", () => {
  const body = encode({ 1: 3, 2: "RC:TxtMsg", 3: '{"content":"x"}', 4: undefined, 9: 0 });
  strictEqual(
    hex(request(Frame.PUBLISH, 2, "ppMsgP", "b_dbf6c8_2", body)),
    "320006" +
      "70704d736750" +
      "000a" +
      "625f6462663663385f32" +
      "0002" +
      "0803" +
      "120952433a5478744d7367" +
      "1a0f7b22636f6e74656e74223a2278227d" +
      "4800",
  );
});

test("a query, acknowledgements and a ping are the SDK's", () => {
  const body = encode({ 1: 0, 2: false, 4: true, 6: 0 });
  strictEqual(hex(request(Frame.QUERY, 1, "pullMsg", "u_7aee44_1", body)).slice(0, 2), "50");
  strictEqual(hex(body), "0800" + "1000" + "2001" + "3000");
  strictEqual(hex(acknowledgement(Frame.PUBACK, 0xfffe)), "40fffe");
  strictEqual(hex(acknowledgement(Frame.QUERYCON, 3)), "700003");
  strictEqual(hex(ping), "c0");
});

test("PUBACK tells uid and milliseconds", () => {
  const frame = parse(buffer("40 00a0 6b03cc13 0000 011e 0013 463432562d434c51502d4a4559372d55444557"));
  strictEqual(frame.type, Frame.PUBACK);
  same([frame.id, frame.time, frame.status, frame.uid], [160, 1795410963286, 0, "F42V-CLQP-JEY7-UDEW"]);
});

test("CONNACK tells who is connected, or only the status of a refusal", () => {
  const taken = parse(
    buffer("20 00 00 000b 615f3761656534345f3238 000c 323263326535656662333836 000001a206d6017a"),
  );
  same(
    [taken.status, taken.userId, taken.session, taken.time],
    [0, "a_7aee44_28", "22c2e5efb386", 1795411018106],
  );
  same(parse(buffer("20 00 04")).status, 4);
});

test("QUERYACK and notices carry protobuf", () => {
  const answer = parse(buffer("62 0001 6b03cc03 0000 1000 1801 2001"));
  same([answer.type, answer.id, answer.status, answer.wantsAck], [Frame.QUERYACK, 1, 0, true]);
  const page = decode(answer.body);
  same([page.all(1).length, page.number(2), page.number(3)], [0, 0, 1]);
  const notice = parse(
    buffer("31 6b03cc1a 0005 735f6e7466 000a 755f3761656534345f31 fffe 0801 10f28ed5b6a034"),
  );
  same([notice.topic, notice.id, notice.copy, notice.wantsAck], ["s_ntf", 0xfffe, false, false]);
  same([decode(notice.body).number(1), decode(notice.body).number(2)], [1, 1795410970482]);
});

test("a copy of what another own device sent is told from a push", () => {
  const push = {
    copy: parse(buffer("33 00000001 0001 78 0000 0001")).copy,
    mine: parse(buffer("3a 00000001 0001 78 0000 0001")).copy,
  };
  same(push, { copy: false, mine: true });
});

test("numbers beyond 32 bits, strings of every script and unknown wire types pass", () => {
  const fields = decode(encode({ 1: 2 ** 53 - 1, 2: "你好 😀", 500: "far" }));
  same(
    [fields.number(1), fields.string(2), fields.string(500), fields.string(3), fields.number(3)],
    [2 ** 53 - 1, "你好 😀", "far", "", 0],
  );
  same(decode(bytes("09 0000000000000000 15 00000000 1801")).number(3), 1);
});

test("what is cut short is an error, never a wrong value", () => {
  const whole = bytes("40 00a0 6b03cc13 0000 011e 0013 463432562d434c51502d4a4559372d55444557");
  for (let length = 0; length < whole.length; length++)
    throws(() => parse(whole.slice(0, length).buffer), RangeError);
  for (const bad of ["08", "0a05 61", "08 ffffffffffffffffffffff01", "0b"])
    throws(() => decode(bytes(bad)), RangeError);
  throws(() => parse(buffer("90")), RangeError);
});
