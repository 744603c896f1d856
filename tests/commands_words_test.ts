/** How our commands are read and what they print: pure functions. */
import assert from "node:assert/strict";
import stringWidth from "string-width";
import { type Here, readWords } from "../lib/commands/command.ts";
import { HELP, USAGE } from "../lib/commands/help.ts";
import { listLines } from "../lib/commands/list.ts";
import { run } from "../lib/commands/mod.ts";
import { duration } from "../lib/commands/phrases.ts";
import type { Seen } from "../lib/commands/seen.ts";
import { isNamed } from "../lib/commands/stop.ts";
import { cell } from "../lib/commands/table.ts";
import { parseHosts } from "../lib/commands/warm.ts";

Deno.test("a command's own options are taken out of its words, but not out of the remote command", () => {
  const rows: [line: string, options: Record<string, string>, argv: string][] = [
    ["stop --now -p 22 web", { now: "" }, "-p 22 web"],
    ["stop web --now", { now: "" }, "web"],
    ["warm --json -4 -", { json: "" }, "-4 -"],
    ["fresh web git --json", {}, "web git --json"],
    ["why --json web ls --now", { json: "" }, "web ls --now"],
    ["with a -- ssh b -- ls --json", {}, "a -- ssh b -- ls --json"],
    ["install --prefix=/a", { prefix: "/a" }, ""],
    ["uninstall --now --prefix /a", { now: "", prefix: "/a" }, ""],
  ];
  for (const [line, options, argv] of rows) {
    const [name, ...words] = line.split(" ");
    const read = readWords(name, USAGE.get(name)!, words);
    assert.deepEqual([read.options, read.argv.join(" ")], [options, argv], line);
  }
});

Deno.test("wrong use is refused before anything is done, with a hint", async () => {
  const rows: [line: string, message: string, hint?: string][] = [
    ["--lst", "unknown command --lst", "did you mean --list?"],
    ["--stopp=web", "unknown command --stopp", "did you mean --stop, --socket?"],
    ["--nonsense", "unknown command --nonsense", "sshs --help"],
    ["--=x", "unknown command --", "sshs --help"],
    ["--fresh=web", "unknown command --fresh", "did you mean --fresh?"],
    ["--list web", "--list does not take web"],
    ["--list --jsn", "--list has no option --jsn"],
    ["--list --watch --json", "--list takes --watch or --json, not both"],
    ["--stop", "--stop takes a host"],
    ["--stop --all web", "--stop takes a host or --all, not both"],
    ["--stop a b", "--stop takes one host and no command: b"],
    ["--stop -z web", 'Cannot parse option "-z"'],
    ["--warm", "--warm takes a host"],
    ["--warm a -p 22 b", "options go before the hosts: -p"],
    ["--hold", "--hold takes a duration and a host"],
    ["--hold web", "not a duration (30m, 1h30m, 2d, forever, or 0 to release): web"],
    ["--hold 1h", "--hold takes a host"],
    ["--hold=1h web ls", "--hold takes one host and no command: ls"],
    ["--with a --", "--with takes a command after --"],
    ["--with -p 22 -- x", "--with takes a host"],
    ["--with a -4 -- x", "options go before the hosts: -4"],
    ["--fresh", "--fresh takes a host"],
    ["--why", "--why takes the arguments of an ssh call"],
    ["--why --all web", "--why has no option --all"],
    ["--socket web ls", "--socket takes one host and no command: ls"],
    ["--install --prefix", "--prefix takes a directory"],
    ["--uninstall dir", "--uninstall does not take dir"],
    ["--completions csh", "--completions takes the name of a shell"],
    ["--help me", "--help does not take me"],
  ];
  for (const [line, message, hint] of rows) {
    const usage = USAGE.get(/^--(\w+)/.exec(line)?.[1] ?? "");
    await assert.rejects(run(line.split(" "), {} as Here), { message, hint: hint ?? usage });
  }
});

Deno.test("parseHosts takes one host a line, and no options", () => {
  const hosts = ["web1", "me@web2", "ssh://web3:22"];
  assert.deepEqual(parseHosts("# all\r\nweb1\n\n me@web2 # ours\nssh://web3:22\n"), hosts);
  assert.throws(() => parseHosts("a\n-p 22 b\n"), { message: "line 2 is not a host: -p 22 b" });
  assert.throws(() => parseHosts("a b\n"), { message: "line 1 is not a host: a b" });
});

Deno.test("cell shows control characters, and cuts by columns, not by characters", () => {
  assert.equal(cell("a\x1b[31mb\nc"), "a^[[31mb c");
  assert.equal(cell("日本語サーバー", 8), "日本語…");
  assert.equal(cell("more than 8", 8), "more th…");
  const widths = {
    web1: 4,
    サーバー: 8,
    ｻｰﾊﾞｰ: 5,
    한글: 4,
    "xe\u0301": 2,
    "👩‍👩‍👧": 2,
    "🇩🇪": 2,
    "❤️": 2,
    "–é·": 3,
  };
  for (const [text, columns] of Object.entries(widths)) {
    assert.equal(cell(text, columns), text);
    assert.notEqual(cell(text, columns - 1), text);
  }
});

Deno.test("duration has the two largest units", () => {
  const rows: [number, string][] = [
    ...[[0, "0s"], [-3, "0s"], [59.4, "59s"], [59.6, "1m"], [61, "1m1s"], [3600, "1h"]] as const,
    ...[[5400, "1h30m"], [86_399, "23h59m"], [864_000, "1w3d"], [Infinity, "never"]] as const,
  ].map(([seconds, text]) => [seconds, text]);
  for (const [seconds, text] of rows) assert.equal(duration(seconds), text);
});

function seenLane(destination: string | null, more: Partial<Seen> = {}): Seen {
  return {
    ...{
      destination,
      resolved: `user@${destination}.example.com:22`,
      identity: "0123456789abcdef",
    },
    ...{ lane: "12", socket: "/run/sshs/0123456789abcdef/12.sock", pid: 4194303, state: "open" },
    ...{ sessions: 0, maxSessions: 10, forwards: [], age: 86_399, idle: 3599, linger: 600 },
    ...{ maxAge: 28_800, goesIn: 3599, held: false, roundTrip: 1234.5, note: null },
    ...more,
  };
}

Deno.test("listLines fits the width of a terminal, and stays aligned", () => {
  const hosts = ["a", "日本語サーバーの長い名前ですね", "x".repeat(100), "esc\x1b[2J\nend"];
  const shown = listLines(hosts.map((host) => seenLane(host, { state: "unverified" })), 80);
  // deno-lint-ignore no-control-regex
  const colours = /\x1b\[(?:0|1|2|3[123])m/g; // If the tests run on a terminal.
  const lines = shown.map((line) => line.replaceAll(colours, ""));
  for (const line of lines) assert.equal(cell(line, 80), line);
  const starts = lines.flatMap((line) => /^.*(?= unverified)/.exec(line)?.[0] ?? []);
  assert.deepEqual(new Set(starts.map((start) => stringWidth(start))).size, 1, lines.join("\n"));
  assert.ok(lines.some((line) => /^esc\^\[\[2J end +unverified/.test(line)), lines.join("\n"));
});

Deno.test("listLines cuts nothing in a pipe, and also lists logins and direct hosts", () => {
  const long = "x".repeat(100);
  const other = { resolved: "me@web:22", maxSessions: null, idle: null };
  const lines = listLines([
    seenLane(long, { goesIn: null }),
    seenLane(null, { ...other, state: "logging-in", pid: 77, age: 4 }),
    seenLane(null, { ...other, state: "direct", note: "not shared until tomorrow: one session" }),
  ]);
  assert.match(lines[1], new RegExp(`^${long}  open .* never `));
  assert.match(lines[2], /^ {2}\S+ \(at most 8h old\)$/);
  assert.match(lines[3], /^me@web:22 +logging in +77 +- +4s /);
  assert.match(lines[4], /^me@web:22 +direct /);
  assert.equal(lines[5], "  not shared until tomorrow: one session");
});

Deno.test("isNamed matches a lane by the name that was typed and by what ssh resolved it to", () => {
  const web = { destination: "web", resolved: "user@web.example.com:22" };
  const long = { ...web, destination: `${"x".repeat(50)}\x1b` };
  const rows: [lane: typeof web, names: string[], is: boolean][] = [
    [web, ["web", "web.example.com", "user@web.example.com", web.resolved], true],
    [web, ["we", "user", "example.com", "22", ""], false],
    [long, [`${"x".repeat(50)}^[`, `${"x".repeat(20)}…`], true],
    [long, ["…", "y…"], false],
    [{ ...web, resolved: "me@::1:2222" }, ["::1"], true],
  ];
  for (const [lane, names, is] of rows) {
    for (const name of names) {
      assert.equal(isNamed(name, lane.destination, lane.resolved), is, name);
    }
  }
});

Deno.test("HELP is at most 80 columns wide", () => {
  for (const line of HELP.split("\n")) assert.ok(line.length <= 80, line);
});
