import assert from "node:assert/strict";
import {
  dependsOnMore,
  dependsOnSession,
  includePatterns,
  watchedPaths,
} from "../lib/ssh/config_files.ts";

Deno.test("dependsOnMore finds what makes the same argv resolve otherwise without a changed file", () => {
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

Deno.test("dependsOnSession finds the criteria that a master would answer otherwise", () => {
  assert.equal(dependsOnSession("Host a\nMatch host a Command rsync*"), true);
  assert.equal(dependsOnSession("Match !sessiontype=subsystem"), true);
  assert.equal(dependsOnSession("Match exec x\nRemoteCommand y\n# Match command z"), false);
});

Deno.test("includePatterns lists the arguments of Include lines", () => {
  const text =
    'Include a "b c"/*\nHost x\n\tinclude=~/d\n# Include e\nIncluded f\nInclude "" # g\n';
  assert.deepEqual(includePatterns(text), ["a", "b c/*", "~/d", ""]);
});

Deno.test("watchedPaths gives the directories in which an included file could appear", () => {
  const rows: [text: string, expected: string[]][] = [
    ["", []],
    ["Include /etc/ssh/ssh_config.d/*.conf", ["/etc/ssh/ssh_config.d"]],
    ["Include /x", ["/"]],
    ["Include ~/.ssh/config.d/*", ["/home/ann/.ssh/config.d"]],
    ["Include ~/c", ["/home/ann"]],
    ["Include work", ["/home/ann/.ssh", "/etc/ssh"]],
    ["Include work/*.conf", ["/home/ann/.ssh/work", "/etc/ssh/work"]],
    ["Include a b ~/.ssh/c", ["/home/ann/.ssh", "/etc/ssh"]],
  ];
  for (const [text, expected] of rows) {
    assert.deepEqual(watchedPaths("/etc/ssh/ssh_config", text, "/home/ann"), expected, text);
  }
});
