/** How our commands are parsed and what they print: pure functions. */
import assert from "node:assert/strict";
import { checkVersion } from "../lib/commands/doctor.ts";
import { type Command, parseCommand } from "../lib/commands/command.ts";
import { HELP } from "../lib/commands/help.ts";
import { listLines } from "../lib/commands/list.ts";
import { duration } from "../lib/commands/phrases.ts";
import type { Seen } from "../lib/commands/seen.ts";
import { isNamed } from "../lib/commands/stop.ts";
import { cell, table, width } from "../lib/commands/table.ts";
import { usageOf } from "../lib/commands/usage.ts";
import { parseHosts } from "../lib/commands/warm.ts";

const COMMANDS: [string, Command][] = [
  ["--list", { kind: "list", json: false }],
  ["--list --json", { kind: "list", json: true }],
  ["--list --watch", { kind: "watch" }],
  ["--stop --all", { kind: "stop", now: false }],
  ["--stop --all --now", { kind: "stop", now: true }],
  ["--stop web", { kind: "stop", argv: ["web"], now: false }],
  ["--stop=web", { kind: "stop", argv: ["web"], now: false }],
  ["--stop web --now", { kind: "stop", argv: ["web"], now: true }],
  ["--stop --now -p 22 web", { kind: "stop", argv: ["-p", "22", "web"], now: true }],
  ["--warm a b", { kind: "warm", options: [], hosts: ["a", "b"], json: false }],
  ["--warm -F c -4 a b", {
    kind: "warm",
    options: ["-F", "c", "-4"],
    hosts: ["a", "b"],
    json: false,
  }],
  ["--warm --json -4 -", { kind: "warm", options: ["-4"], hosts: ["-"], json: true }],
  ["--hold 1h30m web", { kind: "hold", seconds: 5400, argv: ["web"] }],
  ["--hold=0 -l me web", { kind: "hold", seconds: 0, argv: ["-l", "me", "web"] }],
  ["--hold forever web", { kind: "hold", seconds: Infinity, argv: ["web"] }],
  ["--fresh web git --json", { kind: "fresh", argv: ["web", "git", "--json"] }],
  ["--why -L 1:a:2 web", { kind: "why", argv: ["-L", "1:a:2", "web"], json: false }],
  ["--why --json web ls --now", { kind: "why", argv: ["web", "ls", "--now"], json: true }],
  ["--why -V", { kind: "why", argv: ["-V"], json: false }],
  ["--socket -p 22 web", { kind: "socket", argv: ["-p", "22", "web"] }],
  ["--install", { kind: "install" }],
  ["--install --prefix=/a", { kind: "install", prefix: "/a" }],
  ["--uninstall --now --prefix /a", { kind: "uninstall", prefix: "/a", now: true }],
  ["--doctor", { kind: "doctor", argv: [] }],
  ["--doctor -p 22 web", { kind: "doctor", argv: ["-p", "22", "web"] }],
  ["--help", { kind: "help" }],
  ["--version", { kind: "version" }],
];

for (const [line, command] of COMMANDS) {
  Deno.test(`parseCommand reads ${line}`, () => {
    assert.deepEqual(parseCommand(line.split(" ")), command);
  });
}

const [WARM, WHY, STOP, LIST, HOLD] = (["warm", "why", "stop", "list", "hold"] as const).map(
  usageOf,
);

const MISUSES: [string, string, string][] = [
  ["--lst", "unknown command --lst", "did you mean --list?"],
  ["--stopp=web", "unknown command --stopp", "did you mean --stop, --socket?"],
  ["--nonsense", "unknown command --nonsense", "sshs --help"],
  ["--=x", "unknown command --", "sshs --help"],
  ["--list web", "--list takes no host: web", LIST],
  ["--list --jsn", "--list has no option --jsn", LIST],
  ["--list --watch --json", "--list takes --watch or --json, not both", LIST],
  ["--stop", "--stop takes a host", STOP],
  ["--stop --all web", "--stop takes a host or --all, not both", STOP],
  ["--stop a b", "--stop takes one host and no command: b", STOP],
  ["--stop -z web", 'Cannot parse option "-z"', STOP],
  ["--warm", "--warm takes a host", WARM],
  ["--warm a -p 22 b", "options go before the hosts: -p", WARM],
  ["--hold web", "not a duration: web", `${HOLD}, with 30m, 1h30m, 2d, forever, or 0 to release`],
  ["--hold 1h", "--hold takes a host", HOLD],
  ["--hold 1h web ls", "--hold takes one host and no command: ls", HOLD],
  ["--fresh", "--fresh takes a host", "sshs --fresh [OPTIONS] HOST [COMMAND...]"],
  ["--why", "--why takes the arguments of an ssh call", WHY],
  ["--why --all web", "--why has no option --all", WHY],
  ["--socket", "--socket takes a host", "sshs --socket [OPTIONS] HOST"],
  ["--socket web ls", "--socket takes one host and no command: ls", "sshs --socket [OPTIONS] HOST"],
  ["--help me", "--help takes no arguments", "sshs --help"],
];

for (const [line, reason, hint] of MISUSES) {
  Deno.test(`parseCommand refuses ${line} with a hint`, () => {
    assert.deepEqual(parseCommand(line.split(" ")), { kind: "misuse", reason, hint });
  });
}

Deno.test("parseHosts takes one host a line, and no options", () => {
  assert.deepEqual(parseHosts("# all\r\nweb1\n\n me@web2 # ours\nssh://web3:22\n"), [
    "web1",
    "me@web2",
    "ssh://web3:22",
  ]);
  assert.deepEqual(parseHosts(""), []);
  assert.deepEqual(parseHosts("a\n-p 22 b\n"), { line: 2, text: "-p 22 b" });
  assert.deepEqual(parseHosts("a b\n"), { line: 1, text: "a b" });
});

const WIDTHS: [string, number][] = [
  ["", 0],
  ["web1", 4],
  ["日本語", 6],
  ["サーバー", 8],
  ["ｻｰﾊﾞｰ", 5],
  ["한글", 4],
  ["e\u0301", 1],
  ["a\u200bb", 2],
  ["👩‍👩‍👧", 2],
  ["🇩🇪", 2],
  ["❤️", 2],
  ["ｗｅｂ", 6],
  ["–é·", 3],
];

for (const [text, columns] of WIDTHS) {
  Deno.test(`width gives ${JSON.stringify(text)} ${columns} columns`, () => {
    assert.equal(width(text), columns);
  });
}

Deno.test("cell shows control characters and cuts by columns, not by characters", () => {
  assert.equal(cell("a\x1b[31mb\nc"), "a^[[31mb c");
  assert.equal(cell("日本語サーバー", 8), "日本語…");
  assert.equal(cell("exactly8", 8), "exactly8");
  assert.equal(cell("more than 8", 8), "more th…");
});

Deno.test("table aligns columns with wide characters", () => {
  assert.deepEqual(table([["HOST", "PID"], ["日本語", "1"], ["a", "22"]]), [
    "HOST    PID",
    "日本語  1",
    "a       22",
  ]);
});

const DURATIONS: [number, string][] = [
  [0, "0s"],
  [-3, "0s"],
  [59.4, "59s"],
  [59.6, "1m"],
  [61, "1m1s"],
  [3600, "1h"],
  [5400, "1h30m"],
  [86_399, "23h59m"],
  [864_000, "1w3d"],
  [Infinity, "never"],
];

for (const [seconds, text] of DURATIONS) {
  Deno.test(`duration writes ${seconds} s as ${text}`, () => {
    assert.equal(duration(seconds), text);
  });
}

function seenLane(destination: string, more: Partial<Seen> = {}): Seen {
  return {
    destination,
    resolved: `user@${destination}.example.com:22`,
    identity: "0123456789abcdef",
    lane: "12",
    socket: "/run/sshs/0123456789abcdef/12.sock",
    pid: 4194303,
    state: "open",
    sessions: 0,
    maxSessions: 10,
    forwards: [],
    age: 86_399,
    idle: 3599,
    linger: 600,
    maxAge: 28_800,
    goesIn: 3599,
    held: false,
    roundTrip: 1234.5,
    note: null,
    ...more,
  };
}

const SYSTEM = { isAlive: () => false, now: () => 0 };

Deno.test("listLines fits the width of a terminal, and stays aligned", () => {
  const hosts = ["a", "日本語サーバーの長い名前ですね", "x".repeat(100), "esc\x1b[2J\nend"];
  const lanes = hosts.map((host) => seenLane(host, { state: "unverified" }));
  const shown = listLines(lanes, SYSTEM, 80);
  const lines = shown.slice(0, shown.indexOf("")).map(withoutColours);
  for (const line of lines) assert.ok(width(line) <= 80, line);
  const columns = lines.filter((line) => line.includes("unverified"))
    .map((line) => width(line.slice(0, line.indexOf("unverified"))));
  assert.equal(new Set(columns).size, 1, lines.join("\n"));
  for (const line of lines) assert.ok(!line.includes("\x1b") && !line.includes("\n"), line);
  assert.ok(lines.some((line) => /^esc\^\[\[2J end +unverified/.test(line)), lines.join("\n"));
});

/** Removes the colours that a line has if the tests run on a terminal, and no other escape. */
function withoutColours(line: string): string {
  // deno-lint-ignore no-control-regex
  return line.replaceAll(/\x1b\[(?:0|1|2|3[123])m/g, "");
}

Deno.test("listLines cuts nothing in a pipe, and also lists logins and direct hosts", () => {
  const long = "x".repeat(100);
  const other = { destination: null, resolved: "me@web:22", maxSessions: null, idle: null };
  const lines = listLines([
    seenLane(long, { goesIn: null }),
    seenLane("", { ...other, state: "logging-in", pid: 77, age: 4 }),
    seenLane("", { ...other, state: "direct", note: "not shared until tomorrow: one session" }),
  ], SYSTEM);
  assert.match(lines[1], new RegExp(`^${long}  open .* never `));
  assert.match(lines[2], /^ {2}\S+ \(at most 8h old\)$/);
  assert.match(lines[3], /^\S+ +logging in +77 +- +4s /);
  assert.match(lines[4], /^\S+ +direct /);
  assert.equal(lines[5], "  not shared until tomorrow: one session");
});

Deno.test("isNamed matches a lane by the name that was typed and by what ssh resolved it to", () => {
  const record = { destination: "web", resolved: "user@web.example.com:22" };
  for (const name of ["web", "web.example.com", "user@web.example.com", record.resolved]) {
    assert.equal(isNamed(record, name), true, name);
  }
  for (const name of ["we", "user", "example.com", "22", ""]) {
    assert.equal(isNamed(record, name), false, name);
  }
  const long = { ...record, destination: `${"x".repeat(50)}\x1b` };
  for (const name of [`${"x".repeat(50)}^[`, `${"x".repeat(20)}…`]) {
    assert.equal(isNamed(long, name), true, name);
  }
  for (const name of ["…", "y…"]) assert.equal(isNamed(long, name), false, name);
  const six = { ...record, resolved: "me@::1:2222" };
  assert.equal(isNamed(six, "::1"), true);
});

Deno.test("checkVersion warns about versions that do not share well", () => {
  const warns = (version: string) => checkVersion("/usr/bin/ssh", version).hint !== undefined;
  assert.equal(warns("OpenSSH_10.1p1, OpenSSL 3.6.0"), true);
  assert.equal(warns("Dropbear v2022.83"), true);
  for (
    const fine of ["OpenSSH_8.4p1", "OpenSSH_9.2p1 Debian-2", "OpenSSH_10.0p2", "OpenSSH_10.2p1"]
  ) {
    assert.equal(warns(fine), false, fine);
  }
});

Deno.test("HELP is at most 80 columns wide", () => {
  for (const line of HELP.split("\n")) assert.ok(width(line) <= 80, line);
});
