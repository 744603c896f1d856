/**
 * The user's words keep their order: what goes to `ssh -G` and to a master leads where the user's own words
 * lead. A property test with the real ssh; another one, of another version, can be named in SSHS_OTHER_SSH.
 */
import assert from "node:assert/strict";
import { masterArguments } from "../lib/call/answer_text.ts";
import { directByWords } from "../lib/call/rules.ts";
import { parseSshArgs } from "../lib/ssh/arguments.ts";
import { parseConfigDump } from "../lib/ssh/config_dump.ts";
import { dumpArguments } from "../lib/ssh/configuration.ts";
import { connectionLines } from "../lib/ssh/connection_lines.ts";
import { needProgram } from "./support/programs.ts";

/** Options in all spellings, so that some are given twice and which one wins depends on their order. */
const OPTIONS: readonly (readonly string[])[] = [
  ...["-4", "-6", "-C", "-q", "-v", "-vvv", "-T", "-t", "-tt", "-n", "-a", "-A", "-x", "-X", "-4C"]
    .map((word) => [word]),
  ...[["-l", "ann"], ["-lbob"], ["-p", "22"], ["-p2200"], ["-4tp", "2201"], ["-tvl", "carl"]],
  ...[["-o", "User=dora"], ["-oUser emil"], ["-oPort = 2202"], ["-o", "HostName=other.example"]],
  ...[["-oHostName=third.example"], ["-qoPort=2203"], ["-i", "/nowhere/one"], ["-i/nowhere/two"]],
  ...[["-e", "none"], ["-e~"], ["-E", "/dev/null"], ["-J", "jump"], ["-J", "gate:2222,jump"]],
  ...[["-o", "SendEnv=X"], ["-o", "SetEnv=A=b"], ["-oConnectTimeout=5"], ["-b", "127.0.0.1"]],
  ...[["-o", "RemoteCommand=none"], ["-oRequestTTY=force"], ["-c", "aes128-ctr"], ["-vE/dev/null"]],
];

const DESTINATIONS = ["host", "frank@host", "ssh://gerd@host:2299", "ssh://host", "a@b@host"];
const COMMANDS = [[], ["true"], ["ls", "-l"], ["--", "-x"], ["-", "y"]];

/** A generator whose numbers are the same in every run: a linear congruence. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 1664525 + 1013904223) % 2 ** 32;
    return Math.floor(state / 2 ** 32 * below);
  };
}

function argvOf(next: (below: number) => number): string[] {
  const pick = <T>(list: readonly T[]) => list[next(list.length)];
  const some = (most: number) => Array.from({ length: next(most + 1) }, () => pick(OPTIONS)).flat();
  const before = some(4);
  const isTerminated = next(5) === 0;
  return [
    ...before,
    ...(isTerminated ? ["--"] : []),
    pick(DESTINATIONS),
    ...(isTerminated ? [] : some(3)),
    ...pick(COMMANDS),
  ];
}

const SSHES = [needProgram("ssh"), Deno.env.get("SSHS_OTHER_SSH")].filter((ssh) =>
  ssh !== undefined
);

/** Returns the lines that connect, as ssh prints them for these words; or that it refuses them. */
async function linesOf(ssh: string, argv: readonly string[]): Promise<string[] | "refused"> {
  const env = { SSH_AUTH_SOCK: "", HOME: "/nowhere" };
  const { code, stdout } = await new Deno.Command(ssh, { args: ["-G", ...argv], env }).output();
  return code === 0
    ? connectionLines(parseConfigDump(new TextDecoder().decode(stdout), ""))
    : "refused";
}

Deno.test("what ssh -G and a master get leads where the user's own words lead", async () => {
  const next = random(20261201);
  let shared = 0;
  for (const ssh of SSHES) {
    for (let i = 0; i < 150; i++) {
      const argv = argvOf(next);
      const call = parseSshArgs(argv);
      assert.ok(call.kind === "call", argv.join(" "));
      const [own, asked, master] = await Promise.all([
        linesOf(ssh, argv),
        linesOf(ssh, dumpArguments(call).slice(1)),
        linesOf(ssh, masterArguments({ call, record: { grace: 10 } }, "/l")!),
      ]);
      const note = JSON.stringify(argv);
      assert.deepEqual(asked, own, `ssh -G of ${note}`);
      assert.deepEqual(master, own, `master of ${note}`);
      if (own !== "refused") shared++;
    }
  }
  assert.ok(shared > 100, `${shared} calls that ssh takes`);
});

Deno.test("the call's command and its pieces stay what they are for ssh -G", () => {
  for (
    const [argv, expected] of [
      [["-tq", "host", "-vp", "22", "ls", "-q"], ["-t", "host", "-p", "22", "ls", "-q"]],
      [["-vq", "--", "host", "-q"], ["--", "host", "-q"]],
      [["-E", "log", "host", "--", "-q"], ["host", "--", "-q"]],
      [["-vl", "ann", "a@host"], ["-l", "ann", "a@host"]],
      [["-vlann", "host", "-yE", "log"], ["-lann", "host"]],
    ]
  ) {
    const call = parseSshArgs(argv);
    assert.ok(call.kind === "call");
    const [, , , , ...own] = dumpArguments(call);
    assert.deepEqual(own, expected, argv.join(" "));
  }
});

Deno.test("-P, which takes a value only since 9.4, goes direct in either reading", () => {
  for (const argv of [["a", "-P", "tag", "cmd"], ["host", "-P", "2222"], ["-Ptag", "host"]]) {
    const args = parseSshArgs(argv);
    assert.match(directByWords(args)?.reason ?? "shares", /^(-P|Cannot parse)/, argv.join(" "));
  }
});
