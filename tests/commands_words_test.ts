/** What our commands are read from and printed as: pure. */
import assert from "node:assert/strict";
import { checkVersion } from "../lib/commands/check_programs.ts";
import { type Command, parseCommand } from "../lib/commands/command.ts";
import { HELP } from "../lib/commands/help.ts";
import { laneJson, laneTable } from "../lib/commands/list.ts";
import { nearest } from "../lib/commands/nearest.ts";
import type { SeenLane } from "../lib/commands/seen_lane.ts";
import { isNamed } from "../lib/commands/select.ts";
import { cell, duration, table, width } from "../lib/commands/table.ts";
import { laneAt } from "../lib/lane/lane.ts";

const COMMANDS: [string, Command][] = [
  ["--list", { kind: "list", json: false }],
  ["--list --json", { kind: "list", json: true }],
  ["--stop --all", { kind: "stop", now: false }],
  ["--stop --all --now", { kind: "stop", now: true }],
  ["--stop web", { kind: "stop", argv: ["web"], now: false }],
  ["--stop=web", { kind: "stop", argv: ["web"], now: false }],
  ["--stop web --now", { kind: "stop", argv: ["web"], now: true }],
  ["--stop --now -p 22 web", { kind: "stop", argv: ["-p", "22", "web"], now: true }],
  ["--warm a b", { kind: "warm", calls: [["a"], ["b"]] }],
  ["--warm -F c -4 a b", { kind: "warm", calls: [["-F", "c", "-4", "a"], ["-F", "c", "-4", "b"]] }],
  ["--hold 1h30m web", { kind: "hold", seconds: 5400, argv: ["web"] }],
  ["--hold=0 -l me web", { kind: "hold", seconds: 0, argv: ["-l", "me", "web"] }],
  ["--hold forever web", { kind: "hold", seconds: Infinity, argv: ["web"] }],
  ["--fresh web git --json", { kind: "fresh", argv: ["web", "git", "--json"] }],
  ["--why -L 1:a:2 web", { kind: "why", argv: ["-L", "1:a:2", "web"], json: false }],
  ["--why --json web ls --now", { kind: "why", argv: ["web", "ls", "--now"], json: true }],
  ["--why -V", { kind: "why", argv: ["-V"], json: false }],
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

const MISUSES: [string, string][] = [
  ["--lst", "sshs --list"],
  ["--lst --json", "sshs --list --json"],
  ["--warn a b", "sshs --warm a b"],
  ["--stopp=web", "sshs --stop"],
  ["--ver", "sshs --version"],
  ["--nonsense", "sshs --help"],
  ["--=x", "sshs --help"],
  ["--list web", "sshs --list [--json]"],
  ["--list --jsn", "sshs --list [--json]"],
  ["--stop", "sshs --stop HOST|--all [--now]"],
  ["--stop --all web", "sshs --stop HOST|--all [--now]"],
  ["--stop a b", "sshs --stop HOST|--all [--now]"],
  ["--stop -z web", "sshs --stop HOST|--all [--now]"],
  ["--warm", "sshs --warm [OPTIONS] HOST..."],
  ["--warm a -p 22 b", "sshs --warm [OPTIONS] HOST..."],
  ["--hold web", "sshs --hold DURATION [OPTIONS] HOST"],
  ["--hold 1h", "sshs --hold DURATION [OPTIONS] HOST"],
  ["--hold 1h web ls", "sshs --hold DURATION [OPTIONS] HOST"],
  ["--fresh", "sshs --fresh [OPTIONS] HOST [COMMAND...]"],
  ["--why", "sshs --why [--json] [OPTIONS] HOST [COMMAND...]"],
  ["--why --all web", "sshs --why [--json] [OPTIONS] HOST [COMMAND...]"],
  ["--help me", "sshs --help"],
];

for (const [line, hint] of MISUSES) {
  Deno.test(`parseCommand refuses ${line} with a hint`, () => {
    const command = parseCommand(line.split(" "));
    assert.equal(command.kind, "misuse");
    assert.equal(command.kind === "misuse" && command.hint, hint);
  });
}

Deno.test("nearest guesses only what is near", () => {
  const names = ["list", "stop", "warm", "why", "fresh"];
  assert.equal(nearest("lsit", names), "list");
  assert.equal(nearest("LIST", names), "list");
  assert.equal(nearest("fr", names), "fresh");
  assert.equal(nearest("w", names), undefined);
  assert.equal(nearest("", names), undefined);
  assert.equal(nearest("status", names), undefined);
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

Deno.test("cell shows control characters and cuts by columns, not by letters", () => {
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

function seenLane(destination: string, more: Partial<SeenLane> = {}): SeenLane {
  return {
    lane: laneAt("/run/sshs/0123456789abcdef", "ab12"),
    record: {
      pid: 4194303,
      destination,
      resolved: `user@${destination}.example.com:22`,
      started: 0,
      linger: 600,
      maxSessions: 10,
      forwards: false,
    },
    state: "open",
    sessions: 0,
    age: 86_399,
    idle: 3599,
    goesIn: 3599,
    roundTrip: 1234.5,
    ...more,
  };
}

Deno.test("laneTable keeps to 80 columns and stays aligned", () => {
  const hosts = ["a", "日本語サーバーの長い名前ですね", "x".repeat(100), "esc\x1b[2J\nend"];
  const lanes = hosts.map((host) => seenLane(host, { state: "unverified" }));
  // Without colours, on a terminal too.
  const lines = laneTable(lanes).map((line) =>
    line.replaceAll("\x1b", "").replaceAll(/\[\d+m/g, "")
  );
  for (const line of lines) assert.ok(width(line) <= 80, line);
  const columns = lines.filter((line) => line.includes("unverified"))
    .map((line) => width(line.slice(0, line.indexOf("unverified"))));
  assert.equal(new Set(columns).size, 1, lines.join("\n"));
  for (const line of lines) assert.ok(!line.includes("\x1b") && !line.includes("\n"), line);
});

Deno.test("laneJson has null for what does not end or is not known", () => {
  const json = laneJson(
    seenLane("web", { idle: undefined, goesIn: Infinity, roundTrip: undefined }),
    0,
  );
  assert.deepEqual(json, {
    destination: "web",
    resolved: "user@web.example.com:22",
    identity: "0123456789abcdef",
    lane: "ab12",
    socket: "/run/sshs/0123456789abcdef/ab12.sock",
    pid: 4194303,
    state: "open",
    sessions: 0,
    maxSessions: 10,
    age: 86_399,
    idle: null,
    linger: 600,
    goesIn: null,
    held: false,
    roundTrip: null,
  });
});

Deno.test("isNamed knows a lane by what was typed and by what ssh made of it", () => {
  const { record } = seenLane("web");
  for (const name of ["web", "web.example.com", "user@web.example.com", record.resolved]) {
    assert.equal(isNamed(record, name), true, name);
  }
  for (const name of ["we", "user", "example.com", "22", ""]) {
    assert.equal(isNamed(record, name), false, name);
  }
  const six = { ...record, resolved: "me@::1:2222" };
  assert.equal(isNamed(six, "::1"), true);
});

Deno.test("checkVersion warns of the versions that do not share well", () => {
  const warns = (version: string) => !checkVersion("/usr/bin/ssh", version)[0].ok;
  assert.equal(warns("OpenSSH_10.1p1, OpenSSL 3.6.0"), true);
  assert.equal(warns("OpenSSH_8.3p1, OpenSSL 1.1.1"), true);
  assert.equal(warns("Dropbear v2022.83"), true);
  for (
    const fine of ["OpenSSH_8.4p1", "OpenSSH_9.2p1 Debian-2", "OpenSSH_10.0p2", "OpenSSH_10.2p1"]
  ) {
    assert.equal(warns(fine), false, fine);
  }
});

Deno.test("HELP is 80 columns wide at most", () => {
  for (const line of HELP.split("\n")) assert.ok(width(line) <= 80, line);
});
