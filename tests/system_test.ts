/** What ps(1) is asked on macOS and BSD, where Linux has /proc. ps is simulated here. */
import assert from "node:assert/strict";
import {
  birthsFromPs,
  commandLineFromPs,
  isInForeground,
  type Output,
  type RunOptions,
} from "../lib/os/system.ts";

/** Returns a system whose `run` gives one output, and records what it was asked. */
function played(output: Partial<Output> | Error) {
  const asked: { argv: string[]; env: Record<string, string> }[] = [];
  const run = (path: string, args: readonly string[], { env = {} }: RunOptions = {}) => {
    asked.push({ argv: [path, ...args], env });
    if (output instanceof Error) return Promise.reject(output);
    return Promise.resolve({ code: 0, stdout: "", stderr: "", ...output });
  };
  return { pid: 501, run, asked };
}

/** What Deno throws where fork(2) fails. */
const NO_PROCESS = Object.assign(new Error("Resource temporarily unavailable"), { code: "EAGAIN" });

Deno.test("isInForeground compares the two process groups that ps names", async () => {
  for (
    const [stdout, expected] of [
      ["  501   501\n", true],
      ["  501   733\n", false],
      ["  501    -1\n", false],
      ["  501     0\n", false],
    ] as const
  ) {
    const system = played({ stdout });
    assert.equal(await isInForeground(system, "darwin"), expected, stdout);
    assert.deepEqual(system.asked[0].argv, ["ps", "-o", "pgid=,tpgid=", "-p", "501"]);
  }
});

Deno.test("isInForeground assumes the foreground if nothing tells", async () => {
  assert.equal(await isInForeground(played(NO_PROCESS), "freebsd"), true);
});

Deno.test("birthsFromPs reads the start of each process, in one time zone", async () => {
  const stdout = [
    "  501 Wed Nov 25 22:57:01 2026    ",
    " 7002 Thu Nov 26 01:00:00 2026",
    "",
  ].join("\n");
  const system = played({ stdout });
  const births = await birthsFromPs([501, 7002, 7003], system);
  assert.deepEqual([...births], [
    [501, "Wed Nov 25 22:57:01 2026"],
    [7002, "Thu Nov 26 01:00:00 2026"],
  ]);
  assert.equal(system.asked[0].argv.at(-1), "501,7002,7003");
  assert.deepEqual(system.asked[0].env, { LC_ALL: "C", TZ: "UTC" });
});

Deno.test("birthsFromPs returns none if ps cannot be started, or there is nothing to ask", async () => {
  assert.deepEqual([...await birthsFromPs([501], played(NO_PROCESS))], []);
  const idle = played({ stdout: "" });
  assert.deepEqual([...await birthsFromPs([], idle)], []);
  assert.deepEqual(idle.asked, []);
});

Deno.test("commandLineFromPs is undefined for a process that is gone", async () => {
  const there = played({ stdout: "ssh -S /s/1.sock -M -N -f host\n" });
  assert.equal(await commandLineFromPs(7002, there), "ssh -S /s/1.sock -M -N -f host ");
  assert.deepEqual(there.asked[0].env, { COLUMNS: "100000" });
  assert.equal(await commandLineFromPs(7002, played({ code: 1 })), undefined);
});
