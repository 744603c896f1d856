/** What the system says of processes: in /proc, and through ps(1) as on macOS and BSD. */
import assert from "node:assert/strict";
import { unlessGone } from "../lib/os/files.ts";
import { askPs, localAddress } from "../lib/os/processes.ts";

/** Calls `look` with an environment that differs from this process's. */
async function having<T>(env: Record<string, string>, look: () => Promise<T>): Promise<T> {
  const before = Object.keys(env).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
  try {
    return await look();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
  }
}

Deno.test("askPs finds this process, the same in each time zone, language and width", async () => {
  const env = ["UTC", "Asia/Tokyo"].map((TZ, i) => ({
    TZ,
    LC_ALL: "C.UTF-8",
    COLUMNS: `${i + 20}`,
  }));
  const [utc, tokyo] = [await having(env[0], askPs), await having(env[1], askPs)];
  assert.match(utc.get(Deno.pid)?.words ?? "", /deno.* test /);
  assert.equal(tokyo.get(Deno.pid)?.birth, utc.get(Deno.pid)!.birth);
});

Deno.test("askPs reads what ps prints on macOS; nothing if ps cannot be run", async () => {
  const dir = await Deno.makeTempDir();
  try {
    assert.equal((await having({ PATH: dir }, askPs)).size, 0);
    const lines = [
      "  501 Wed Nov 25 22:57:01 2026     ssh -S /s/1.sock -M -N -f host ",
      " 7002 Thu Nov  5 01:00:00 2026     (sshd)",
    ];
    const script = `#!/bin/sh\ncat <<END\n${lines.join("\n")}\nEND\n`;
    await Deno.writeTextFile(`${dir}/ps`, script, { mode: 0o755 });
    assert.deepEqual(
      [...await having({ PATH: `${dir}:${Deno.env.get("PATH")}` }, askPs)],
      [
        [501, { birth: "Wed Nov 25 22:57:01 2026", words: "ssh -S /s/1.sock -M -N -f host" }],
        [7002, { birth: "Thu Nov  5 01:00:00 2026", words: "(sshd)" }],
      ],
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
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
