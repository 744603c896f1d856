/** Which words go direct, and the name of their plan: the program and the launcher agree. */
import assert from "node:assert/strict";
import { planKey } from "../lib/call/plan.ts";
import { directByWords } from "../lib/call/rules.ts";
import { parseSshArgs } from "../lib/ssh/arguments.ts";
import { outputOf, testInShells } from "./support/launcher_functions.ts";

/** Verdicts of the program and the launcher: on these two they agree, on the others they differ as noted. */
const DIRECT = "direct";
const OPEN = "open";
/** Only the program says "direct": the launcher asks it. */
const ASKS = "asks";
/** Only the launcher says "direct", which costs a shared connection and nothing else. */
const WRONG = "wrong";
/** A settings file may make them share: if there is one, the launcher asks the program. */
const RULED = "ruled";

const WORDS: readonly (readonly [verdict: string, ...words: string[]])[] = [
  [OPEN, "host"],
  [OPEN, "user@host", "ls", "-N", "-L", "x"],
  [OPEN, "-4tp", "22", "host"],
  [OPEN, "-tp22", "host"],
  [OPEN, "host", "-p", "22", "-v", "--", "-N"],
  [OPEN, "host", "-T", "ls", "-N"],
  [OPEN, "--", "host", "-N"],
  [OPEN, "-p", "22", "--", "host", "-N"],
  // ssh.c looks at the word before the destination, whatever it was.
  [OPEN, "-l", "--", "host", "-N"],
  [DIRECT, "-l--", "host", "-N"],
  [OPEN, "-W", "a:1", "host"],
  [OPEN, "-s", "host", "sftp"],
  [OPEN, "-J", "jump", "host"],
  [OPEN, "-", "-p", "22"],
  [OPEN, "-o", "ControlMaster=no", "host"],
  [OPEN, "-oControlMaster=NO", "host"],
  [OPEN, "-o", "ControlMaster no", "host"],
  [OPEN, "-oControlPersist=60", "host"],
  [OPEN, "-o", 'SetEnv="A=it\'s  B"', "host"],
  [OPEN, "-o", "  User = a b", "-i", "a key's file", "host"],
  [OPEN, "-oProxyCommand=nc %h %p", "host"],
  ...["M", "N", "G", "f"].map((letter) => [DIRECT, `-${letter}`, "host"] as const),
  [DIRECT, "-4tN", "host"],
  [DIRECT, "host", "-N"],
  [DIRECT, "host", "-p", "22", "-fN"],
  [DIRECT, "-S", "none", "host"],
  [DIRECT, "-Snone", "host"],
  [DIRECT, "-w", "0:0", "host"],
  [DIRECT, "-Q", "cipher"],
  [DIRECT, "-V"],
  [DIRECT],
  [DIRECT, "-v"],
  [DIRECT, "--"],
  [DIRECT, "-o", "ControlPersist"],
  [DIRECT, "-p"],
  [DIRECT, "-z", "host"],
  [DIRECT, "--bogus", "host"],
  [DIRECT, "host", "-z"],
  [DIRECT, "host", "-p"],
  // -O may reach the shared master.
  [ASKS, "-O", "check", "host"],
  [ASKS, "-P", "tag", "-ttP", "tag", "-O", "exit", "host"],
  // What is attached to -P is flags or a value, depending on ssh's version.
  [ASKS, "-Ptag", "host"],
  [RULED, "-o", "ControlPath=none", "host"],
  [RULED, "-oControlPath=/a/b", "host"],
  [RULED, "-ocontrolpath /a/b", "host"],
  [RULED, "-o", "CONTROLPATH\t=\t/a", "host"],
  [RULED, "-o", ' ControlPath = "/a b"', "host"],
  [RULED, "-to", "ControlPath=/a", "host"],
  [RULED, "host", "-oControlPath=/a"],
  [RULED, "-o", "ControlMaster=auto", "host"],
  [RULED, "-o", "controlmaster yes", "host"],
  [RULED, "-oControlMaster", "host"],
  [RULED, "-oControlMaster=ask", "host"],
  [RULED, "-L", "1:h:2", "host"],
  [RULED, "-D1080", "host"],
  [RULED, "-tR", "0", "host"],
  [RULED, "host", "-L1:h:2"],
  [WRONG, "-oProxyCommand=ssh -oControlPath=none -W %h:%p jump", "host"],
  [WRONG, "-o", "SetEnv=A=ControlPath", "host"],
];

testInShells("the launcher and directByWords agree on which words go direct", async (shell) => {
  const script = `sshs_settings=$SETTINGS; sshs_words "$@" &&
    { [ -z "$sshs_forwards" ] || [ -n "$sshs_settings" ]; } && echo open || echo direct`;
  for (const [verdict, ...args] of WORDS) {
    const row = JSON.stringify(args);
    const program = directByWords(parseSshArgs(args)) ? DIRECT : OPEN;
    assert.equal(program, verdict === DIRECT || verdict === ASKS ? DIRECT : OPEN, row);
    const launcher = (await outputOf(shell, script, { args })).trim();
    assert.equal(launcher, verdict === OPEN || verdict === ASKS ? OPEN : DIRECT, row);
    if (verdict !== RULED) continue;
    const env = { SETTINGS: "yes" };
    assert.equal((await outputOf(shell, script, { args, env })).trim(), OPEN, row);
  }
});

const KEYS: readonly (readonly string[])[] = [
  ["host"],
  ["host", "ls", "-l"],
  ["user@host", "-p", "22", "ls"],
  ["host", "-T", "--", "ls"],
  ["-p", "22", "--", "host", "-T"],
  ["-l", "--", "host", "-T"],
  ["-i", "/a/b//c/", "host"],
  ["-F", "/a", "-oA=b c", "h-1.x_y", "ls"],
  ["::1"],
  ["[::1]"],
  ["-o", "a%h+~,.:=", "host"],
  ["-l", "", "host"],
  ["h\u00e9"],
  ["a!b"],
  ["a^b"],
  ["a\nb"],
  ["a'b"],
  ["a*"],
  ["."],
  [".."],
  ["...", "ls"],
  ["-o", "a\tb", "host"],
  ["x".repeat(200)],
  ["x".repeat(201)],
  ["-i", "x".repeat(150), "-l", "y".repeat(43), "h"],
  ["-i", "x".repeat(150), "-l", "y".repeat(44), "h"],
  ["host", ..."x".repeat(300)],
];

testInShells("a plan has the key that planKey returns", async (shell) => {
  for (const args of KEYS) {
    for (const LC_ALL of ["C", "C.UTF-8"]) {
      const call = parseSshArgs(args);
      assert.equal(call.kind, "call");
      const { command } = call as Extract<typeof call, { kind: "call" }>;
      const key = planKey(args.slice(0, args.length - command.length)) ?? "";
      const script = 'sshs_words "$@"; sshs_name "$@"; printf %s "$sshs_key"';
      assert.equal(await outputOf(shell, script, { args, env: { LC_ALL } }), key, `${args}`);
    }
  }
});

Deno.test("planKey keeps apart words that joining could mix up", () => {
  const lists = [["a", "b"], ["a b"], ["ab"], ["a/b"], ["a", "/b"], ["a/", "b"], ["A", "b"]];
  assert.equal(new Set(lists.map(planKey)).size, lists.length);
  assert.equal(planKey([]), undefined);
  // They name directories, and whatever is at the path of a plan that cannot be written is removed.
  assert.equal(planKey(["."]), undefined);
  assert.equal(planKey([".."]), undefined);
});

testInShells("a command that may be too long for a master has no plan", async (shell) => {
  const script = 'sshs_words "$@"; sshs_name "$@"; printf %s "$sshs_key"';
  const words = new Array(60).fill("x".repeat(1000));
  assert.equal(await outputOf(shell, script, { args: ["host", ...words.slice(20)] }), "host");
  assert.equal(await outputOf(shell, script, { args: ["host", ...words] }), "");
});
