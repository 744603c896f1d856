/** What ps(1) is asked on macOS and BSD, where Linux has /proc. ps is simulated here. */
import assert from "node:assert/strict";
import { birthsFromPs, commandLinesFromPs, localAddress } from "../lib/os/processes.ts";
import { unlessGone } from "../lib/os/files.ts";
import type { Output, RunOptions } from "../lib/os/system.ts";

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

/** Returns the words that ps was given, through a shell. */
function psOf({ asked }: ReturnType<typeof played>): string {
  const [, , script, , ...words] = asked[0].argv;
  return [script.slice("exec ps ".length, -5), ...words].join(" ");
}

/** What Deno throws where fork(2) fails. */
const NO_PROCESS = Object.assign(new Error("Resource temporarily unavailable"), { code: "EAGAIN" });

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
  assert.equal(psOf(system), "-o pid= -o lstart= -p 501,7002,7003");
  assert.deepEqual(system.asked[0].env, { LC_ALL: "C", TZ: "UTC", COLUMNS: "100000" });
});

Deno.test("birthsFromPs returns none if ps cannot be started, or there is nothing to ask", async () => {
  assert.deepEqual([...await birthsFromPs([501], played(NO_PROCESS))], []);
  const idle = played({ stdout: "" });
  assert.deepEqual([...await birthsFromPs([], idle)], []);
  assert.deepEqual(idle.asked, []);
});

Deno.test("commandLinesFromPs lists all processes", async () => {
  const system = played({ stdout: " 7002 ssh -S /s/1.sock -M -N -f host\n    1 init\n" });
  assert.deepEqual([...await commandLinesFromPs(system)], [
    [7002, "ssh -S /s/1.sock -M -N -f host "],
    [1, "init "],
  ]);
  assert.equal(psOf(system), "-o pid= -A -o args=");
});

Deno.test("localAddress is that of a process's first TCP connection", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  for (const hostname of ["127.0.0.1", "::1"]) {
    using listener = Deno.listen({ hostname, port: 0 });
    const child = new Deno.Command("bash", {
      args: ["-c", `exec 3<>/dev/tcp/${hostname}/${listener.addr.port}; echo; read -r line`],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    assert.equal(localAddress(child.pid), hostname);
    await child.stdin.close();
    while (!(await reader.read()).done);
    await child.status;
  }
  const other = new Deno.Command("sleep", { args: ["100"] }).spawn();
  assert.equal(localAddress(other.pid), undefined);
  other.kill();
  await other.status;
});

Deno.test("a process that ends while it is looked at is gone, and no fault", () => {
  // As Deno has it for /proc: an error without a code.
  const esrch = new Error("No such process (os error 3): readfile '/proc/1/stat'");
  const fails = (error: Error) => () => {
    throw error;
  };
  assert.equal(unlessGone(fails(esrch)), undefined);
  assert.throws(() => unlessGone(fails(new Error("a fault of ours"))));
});
