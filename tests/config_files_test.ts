import assert from "node:assert/strict";
import {
  dependsOnMore,
  dependsOnSession,
  includedPaths,
  includePatterns,
} from "../lib/ssh/watches.ts";

Deno.test("dependsOnMore finds what makes the same argv resolve differently although no file changes", () => {
  for (
    const text of [
      'Match exec "test -d x"',
      "Match host a !exec b",
      "match host=a exec=b",
      "\tMatch = LocalNetwork 10.0.0.0/8",
      "Match command rsync*",
      "Match sessiontype shell",
      "CanonicalizeHostname yes",
      "Host *\n  CanonicalizeHostname=always",
      "CanonicalizePermittedCNAMEs *.a:*.b",
      "IdentityFile ${KEYS}/id",
      "ProxyCommand nc -x $PROXY %h %p",
      "IdentityAgent $AGENT",
      "Include %h.conf",
      "Include a/*/config",
      "Include ~ann/config",
    ]
  ) assert.equal(dependsOnMore(text), true, text);
  for (
    const text of [
      "",
      "# Match exec x, ${HOME}",
      "  # CanonicalizeHostname yes",
      "Host exec\n HostName exec.example\n User %u",
      "Match host a,b user c final",
      "Match all",
      "CanonicalizeHostname no",
      "CanonicalizePermittedCNAMEs none",
      "Include config.d/* ~/.ssh/x /etc/y",
      "ProxyJump jump\nIdentityFile ~/.ssh/%h",
    ]
  ) assert.equal(dependsOnMore(text), false, text);
});

Deno.test("dependsOnSession finds the criteria that may match differently for a master", () => {
  assert.equal(dependsOnSession("Host a\nMatch host a Command rsync*"), true);
  assert.equal(dependsOnSession("Match !sessiontype=subsystem"), true);
  assert.equal(dependsOnSession("Match exec x\nRemoteCommand y\n# Match command z"), false);
});

Deno.test("includePatterns lists the arguments of Include lines", () => {
  const text =
    'Include a "b c"/*\nHost x\n\tinclude=~/d\n# Include e\nIncluded f\nInclude "" # g\n';
  assert.deepEqual(includePatterns(text), ["a", "b c/*", "~/d", ""]);
});

Deno.test("includedPaths separates named files from the directories of globs", () => {
  const rows: [text: string, files: string[], directories: string[]][] = [
    ["", [], []],
    ["Include /etc/ssh/ssh_config.d/*.conf", [], ["/etc/ssh/ssh_config.d"]],
    ["Include /*", [], ["/"]],
    ["Include ~/.ssh/config.d/[ab]", [], ["/home/ann/.ssh/config.d"]],
    ["Include ~/c /x", ["/home/ann/c", "/x"], []],
    ["Include work", ["/home/ann/.ssh/work", "/etc/ssh/work"], []],
    ["Include w/?.conf w/x", ["/home/ann/.ssh/w/x", "/etc/ssh/w/x"], [
      "/home/ann/.ssh/w",
      "/etc/ssh/w",
    ]],
  ];
  for (const [text, files, directories] of rows) {
    const expected = { files, directories };
    assert.deepEqual(includedPaths("/etc/ssh/ssh_config", text, "/home/ann"), expected, text);
  }
});
