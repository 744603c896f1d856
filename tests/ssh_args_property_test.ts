/** Random command lines: the parser must agree with the real `ssh -G` on each. */
import assert from "node:assert/strict";
import { hostOf, parseSshArgs, type SshCall } from "../lib/ssh/arguments.ts";
import { parseConfigOption } from "../lib/ssh/config_text.ts";
import { needProgram, run } from "./support/programs.ts";

const SEED = 20240601;
const COUNT = 300;

// Flags that ssh accepts in any number and order.
const FLAGS = "246AaCgkKnqTtvxXY";
const VALUES: [letter: string, values: string[]][] = [
  ["l", ["ann", "bob", "a@b", "l"]],
  ["p", ["22", "2200", "022", "65535"]],
  ["i", ["/dev/null", "--", "-p", "-"]],
  ["b", ["127.0.0.1"]],
  ["B", ["lo", "-4"]],
  ["c", ["aes128-ctr"]],
  ["m", ["hmac-sha2-256"]],
  ["e", ["~", "none", "^]", "-"]],
  ["D", ["1080"]],
  ["L", ["1:a:2"]],
  ["R", ["1:a:2"]],
  ["S", ["none", "--"]],
  ["E", ["/dev/null"]],
  ["o", [
    "User=carol",
    "User dave",
    "user = 'erin'",
    '  USER="frank"',
    '"User" grace',
    "Port=2222",
    "Port 2223 # odd",
    'port\t"2224"',
    "HostName=%h.example",
    "Hostname other.example",
    "BatchMode=yes",
    "ProxyCommand = nc 'x' # %h",
    "ConnectTimeout 3",
  ]],
];
const DESTINATIONS = [
  "host",
  "HOST",
  "heidi@host",
  "a@b@host",
  "10.0.0.1",
  "::1",
  "ivan@fe80::1",
  "ssh://host",
  "ssh://judy@host",
  "ssh://judy@host:2300",
  "ssh://host:2300/",
  "ssh://ju%64y;x=y@host:",
];
const COMMANDS = [[], [], ["ls"], ["ls", "-l", "x"], ["cmd", "--", "-p", "1"], ["", "-z"], ["-p"]];
const REFUSED = ["-9", "-4d", "--help", "-:", "-z"];

/** mulberry32: numbers from 0 up to 1, the same ones for the same seed. */
function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), seed | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function commandLine(next: () => number): string[] {
  const pick = <T>(list: ArrayLike<T>): T => list[Math.floor(next() * list.length)];
  const option = (): string[] => {
    if (next() < 0.03) return [pick(REFUSED)];
    const group = Array.from({ length: Math.floor(next() * 3) }, () => pick(FLAGS)).join("");
    if (group && next() < 0.4) return [`-${group}`];
    const [letter, values] = pick(VALUES);
    const value = pick(values);
    return next() < 0.5 ? [`-${group}${letter}${value}`] : [`-${group}${letter}`, value];
  };
  const options = (most: number): string[] =>
    Array.from({ length: Math.floor(next() * (most + 1)) }, option).flat();
  const line = [...options(4), ...(next() < 0.1 ? ["--"] : []), pick(DESTINATIONS)];
  line.push(...options(2), ...(next() < 0.2 ? ["--"] : []), ...pick(COMMANDS));
  return line;
}

/** Resolves the host by ssh_config(5)'s rule: the first value wins. ssh_order_test.ts has the rest. */
function resolve(call: SshCall): string {
  const host = hostOf(call.destination);
  const names = call.options.map(({ letter, value = "" }) =>
    letter === "o" ? parseConfigOption(value) : { key: "", value }
  ).filter(({ key }) => key === "hostname");
  return (names[0]?.value ?? host).replace("%h", host).toLowerCase();
}

/** Returns how ssh resolves command lines, undefined where it refuses. One shell runs them all, for speed. */
async function ask(ssh: string, lines: string[][]): Promise<(string | undefined)[]> {
  const quote = (word: string) => `'${word.replaceAll("'", "'\\''")}'`;
  const script = lines.map((argv) =>
    `${[ssh, "-G", "-F", "none", ...argv].map(quote).join(" ")} 2>/dev/null; echo "exit $?"\n`
  ).join("");
  const answers = (await run("sh", ["-s"], script)).split(/^exit (\d+)\n/m);
  return lines.map((_, i) => answers[2 * i + 1] === "0" ? parse(answers[2 * i]) : undefined);
}

function parse(dump: string): string {
  return dump.match(/^hostname (.*)$/m)?.[1] ?? "";
}

Deno.test("parseSshArgs agrees with ssh -G on random command lines", async () => {
  const next = random(SEED);
  const lines = [["host"], ...Array.from({ length: COUNT }, () => commandLine(next))];
  const answers = await ask(needProgram("ssh"), lines);
  for (const [i, argv] of lines.entries()) {
    const args = parseSshArgs(argv);
    // Such a call goes direct.
    if (args.kind === "invalid" && args.reason.endsWith('the value "--"')) continue;
    const parsed = args.kind === "call" ? resolve(args) : undefined;
    assert.deepEqual(parsed, answers[i], JSON.stringify(argv));
  }
  const refused = answers.filter((answer) => answer === undefined).length;
  assert.ok(refused > COUNT / 50 && refused < COUNT / 2, `ssh refused ${refused} of ${COUNT}`);
});
