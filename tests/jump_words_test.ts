import assert from "node:assert/strict";
import { parseSshArgs, type SshCall, withoutOptions } from "../lib/ssh/arguments.ts";
import { parseConfigDump } from "../lib/ssh/config_dump.ts";
import { jumpCall, jumpCommand, proxyJump } from "../lib/ssh/jump.ts";
import { SHELLS } from "./support/shells.ts";

/** The words for every jump host. */
const OURS = ["-o", "ClearAllForwardings=yes", "-a", "-x", "-W", "[%h]:%p"];
const TAIL = [...OURS, "--"];

function callOf(...argv: string[]): SshCall {
  const args = parseSshArgs(argv);
  assert.ok(args.kind === "call", argv.join(" "));
  return args;
}

/** Returns the words for the jump host of a call for which `ssh -G` prints these values. */
function wordsFor(proxyjump: string, argv: string[] = ["target"], hostname = "target") {
  const dump = `hostname ${hostname}\nproxyjump ${proxyjump}\n`;
  return jumpCall(callOf(...argv), parseConfigDump(dump, ""));
}

Deno.test("jumpCall builds the same words as ssh.c", () => {
  const rows: [proxyjump: string, argv: string[], expected: string[]][] = [
    ["b", ["t"], [...TAIL, "b"]],
    ["ann@b:2222", ["t"], ["-l", "ann", "-p", "2222", ...TAIL, "b"]],
    ["a@b@c", ["t"], ["-l", "a@b", ...TAIL, "c"]],
    ["[10.0.0.1]", ["t"], [...TAIL, "10.0.0.1"]],
    ["ann@[fe80::1]:22", ["t"], ["-l", "ann", "-p", "22", ...TAIL, "fe80::1"]],
    ["a,ssh://x@b:1,c", ["t"], ["-J", "a,ssh://x@b:1", ...TAIL, "c"]],
    ["b", ["-F", "x", "-F", "cfg", "t"], ["-F", "cfg", ...TAIL, "b"]],
    ["b", ["-vv", "t", "-v", "id"], [...TAIL, "b"]],
    ["b", ["-i", "key", "-o", "User=x", "-4", "t"], [...TAIL, "b"]],
  ];
  for (const [proxyjump, argv, expected] of rows) {
    assert.deepEqual(wordsFor(proxyjump, argv), expected, proxyjump);
  }
  assert.equal(jumpCall(callOf("t"), parseConfigDump("hostname t\n", "")), undefined);
});

Deno.test("jumpCall leaves to ssh what ssh would refuse on its command line", () => {
  const hosts = [
    "-oProxyCommand=x",
    "a;b",
    "a'b",
    "a b",
    "a$b",
    "a|b",
    "a\x07",
    "a&b",
    "(a",
    "",
    "a:x",
  ];
  for (const host of hosts) assert.equal(wordsFor(host), undefined, host);
  for (const user of ["-l", "a;b", "a'b", "a -b", "a`b", "a\\", "a\x1b"]) {
    assert.equal(wordsFor(`${user}@b`), undefined, user);
  }
  for (const target of ["a'b", "-a", "a;b", ""]) {
    assert.equal(wordsFor("b", ["t"], target), undefined, target);
  }
  assert.ok(wordsFor("b", ["t"], "fe80::1%eth0"));
});

Deno.test("jumpCommand quotes words for any shell, or returns undefined", () => {
  const rows: [words: string[], expected: string | undefined][] = [
    [["/bin/ssh", "-W", "[%h]:%p", "--", "b"], "env SSHS_TASK=jump /bin/ssh -W '[%h]:%p' -- b"],
    [["/bin/ssh", "-J", "x@[::1]:22", "b"], "env SSHS_TASK=jump /bin/ssh -J 'x@[::1]:22' b"],
    [["/my dir/ssh", "b"], undefined],
    [["/it's/ssh", "b"], undefined],
    ...["", "a b", "~/x", "%h", "a%b", "=ls", "a*", "a?", "a!", "a^", "#", "a\\b", "é"]
      .map((word): [string[], undefined] => [["/bin/ssh", word], undefined]),
  ];
  for (const [[launcher, ...argv], expected] of rows) {
    assert.equal(jumpCommand(launcher, argv), expected, `${argv}`);
  }
});

const PROXIES: readonly [command: string, expected: string[] | undefined][] = [
  ["ssh -W %h:%p b", [...OURS, "b"]],
  ["ssh b -W '[%h]:%p'", [...OURS, "b"]],
  ["exec /usr/bin/ssh -W[%h]:%p b", undefined],
  ["exec /usr/bin/ssh -W [%h]:%p b", [...OURS, "b"]],
  ["  ssh  -q\t-W %h:%p ann@b ", [...OURS, "-q", "ann@b"]],
  ['ssh -qp2222 -l ann -W "%h:%p" -- b', [...OURS, "-qp2222", "-l", "ann", "--", "b"]],
  ["ssh -i ~/.ssh/k -W %h:%p b", [...OURS, "-i", "/home/ann/.ssh/k", "b"]],
  [`ssh -F '/c~' -o "User=x" -W %h:%p b`, [...OURS, "-F", "/c~", "-o", "User=x", "b"]],
  // The launcher's own ProxyCommand could not quote such words.
  ["ssh -F '/my cfg' -W %h:%p b", undefined],
  ["ssh -J a,c -oBatchMode=yes -W %h:%p b", [...OURS, "-J", "a,c", "-oBatchMode=yes", "b"]],
  // Which user it is depends on the order.
  ["ssh ann@b -W %h:%p -l bob", [...OURS, "ann@b", "-l", "bob"]],
  // What -W implies, and what only affects a session.
  ["ssh -NTnaAx -W %h:%p b", [...OURS, "b"]],
  ...[
    "nc %h %p",
    "/opt/ssh -W %h:%p b",
    "./ssh -W %h:%p b",
    "sshpass -p x ssh -W %h:%p b",
    "SSH_AUTH_SOCK=x ssh -W %h:%p b",
    "ssh b",
    "ssh b nc %h %p",
    "ssh -W %h:22 b",
    "ssh -W other:%p b",
    "ssh -W %h:%p -W %h:%p b",
    "ssh -W %h:%p b nc",
    "ssh -W %h:%p",
    "ssh -v -W %h:%p b",
    "ssh -E log -W %h:%p b",
    "ssh -S x -W %h:%p b",
    "ssh -M -W %h:%p b",
    "ssh -f -W %h:%p b",
    "ssh -L 1:a:2 -W %h:%p b",
    "ssh -! -W %h:%p b",
    "ssh -W %h:%p %r@b",
    "ssh -W %h:%p -o HostKeyAlias=%h b",
    "ssh -W %h:%p b%%",
    "ssh -W %h:%p b 2>/dev/null",
    "ssh -W %h:%p b; true",
    "ssh -W %h:%p b & true",
    "ssh -W %h:%p b | cat",
    "ssh -W %h:%p $HOST",
    'ssh -W %h:%p "$HOST"',
    "ssh -W %h:%p `hostname`",
    "ssh -W %h:%p b\ntrue",
    "ssh -W %h:%p b # x",
    "ssh -W %h:%p b\\ c",
    "ssh -W %h:%p b*",
    "ssh -W %h:%p b[1]",
    "ssh -W %h:%p {a,b}",
    "ssh -W %h:%p !b",
    "ssh -W %h:%p 'b",
    "ssh -i ~bob/k -W %h:%p b",
    "ssh -o IdentityFile=~/k -W %h:%p b",
    "(ssh -W %h:%p b)",
    "none",
    "",
  ].map((command): [string, undefined] => [command, undefined]),
];

Deno.test("proxyJump treats a ProxyCommand that is only another ssh as a jump host", () => {
  for (const [command, expected] of PROXIES) {
    assert.deepEqual(proxyJump(command, "/usr/bin/ssh", "/home/ann"), expected, command);
  }
  assert.equal(proxyJump("ssh -i ~/k -W %h:%p b", "/usr/bin/ssh"), undefined);
});

for (const [shell, argv] of SHELLS) {
  Deno.test(`proxyJump splits a command as ${shell} does`, async () => {
    for (const [command, expected] of PROXIES) {
      if (!expected) continue;
      // As ssh passes it to the shell, with another program in place of ssh.
      const expanded = command.replaceAll("%h", "host").replaceAll("%p", "22")
        .replace(/(exec\s+)?(\/usr\/bin\/)?ssh\s/, "printf '%s\\0' ");
      const { stdout } = await new Deno.Command(argv[0], {
        args: [...argv.slice(1), "-c", expanded],
        env: { HOME: "/home/ann" },
      }).output();
      const words = new TextDecoder().decode(stdout).split("\0").slice(0, -1);
      const call = parseSshArgs(words);
      assert.ok(call.kind === "call", command);
      const left = withoutOptions(call, ({ letter }) => "WNTntaAx".includes(letter));
      assert.deepEqual([...OURS, ...left], expected, command);
    }
  });
}
