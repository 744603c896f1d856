/** How the launcher ends when its shell cannot go on, and what it then leaves to other calls. */
import assert from "node:assert/strict";
import { outputOf, testInShells } from "./support/launcher_functions.ts";
import { needProgram } from "./support/programs.ts";

const PLAIN = `sshs_plain() { trap - EXIT; echo "plain $*"; exit 0; }`;

testInShells("a call becomes plain ssh where the shell would exit", async (shell) => {
  // Other shells go on, or end in another way.
  const expected = /dash|busybox/.test(shell[0]) ? "plain a b  c\n" : "";
  for (
    const fault of [
      "set -- other; . /nowhere", // an error of the shell itself, like a fork that fails
      "sshs_status=$((1 /* 2))",
    ]
  ) {
    const script = `${PLAIN}; call() { { eval "$fault"; } 2>/dev/null; exit 3; }
      sshs_claim='' sshs_mine='' fault='${fault}'; trap 'sshs_rescue "$@"' EXIT; call`;
    const noise = `exec 2>/dev/null; ${script}`;
    assert.equal(await outputOf(shell, noise, { args: ["a", "b  c"] }), expected, fault);
  }
});

testInShells("a rescued call ends its own login, and records the failure", async (shell) => {
  const dir = await Deno.makeTempDir();
  try {
    const script = `${PLAIN}; sshs_home=$1 sshs_mine=1 sshs_claim=$1/claim; shift
      sleep 60 >/dev/null 2>&1 & sshs_child=$!
      (trap 'sshs_rescue x' EXIT; exit 7); echo "$?"
      (trap 'sshs_rescue x' EXIT; exit 2); wait "$sshs_child" 2>/dev/null; echo "$?"
      cat "$sshs_home/starter.1"`;
    const expected = "7\nplain x\n143\nfailed\n";
    assert.equal(await outputOf(shell, script, { args: [dir] }), expected);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

testInShells(
  "a claim that is not given up is removed after the longest possible decision",
  async (shell) => {
    const dir = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(`${dir}/claim`, `${Deno.pid}\n`);
      const script = `sshs_claim=$1/claim sshs_waited=9900; sshs_read() { return 1; }
      sshs_wait_for_plan || [ -e "$sshs_claim" ] || echo removed`;
      assert.equal(await outputOf(shell, script, { args: [dir] }), "removed\n");
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
);

testInShells("a shell that ends still finds ssh", async (shell) => {
  const script = `trap 'sshs_find ssh && echo "$sshs_found"' EXIT; exit 254`;
  const env = { SSHS_SSH: needProgram("ssh") };
  assert.equal(await outputOf(shell, script, { env }), `${needProgram("ssh")}\n`);
});
