/** For each step between argv and exec: it fails, hangs or is killed, and the user has a working ssh. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { Scene } from "./support/scene.ts";

/** What comes of a call whose `ssh -G` or master goes wrong. */
interface Fault {
  name: string;
  option: "-G" | "-M";
  fault: string;
  /** What must be on stderr; nothing unless told. */
  stderr?: RegExp;
}

const KILL_MASTER = `
  "$ssh" "$@"
  kill -9 $("$ssh" -S "$5" -O check host 2>&1 | sed 's/[^0-9]//g')
  exit 0`;

const FAULTS: readonly Fault[] = [
  { name: "ssh -G fails", option: "-G", fault: "exit 255" },
  { name: "ssh -G is killed", option: "-G", fault: "kill -9 $$" },
  { name: "ssh -G says nothing", option: "-G", fault: "exit 0" },
  { name: "ssh -G leaves a child", option: "-G", fault: "sleep 5 &" },
  { name: "the master fails", option: "-M", fault: "exit 1", stderr: /^sshs: Not shared: .* 1\n$/ },
  {
    name: "the master is killed as it starts",
    option: "-M",
    fault: "kill -9 $$",
    stderr: /^sshs: Not shared: .* 137\n$/,
  },
  {
    name: "the master does not come up",
    option: "-M",
    fault: "exit 0",
    stderr: /^sshs: Not shared: the connection master does not answer .*\n$/,
  },
  {
    name: "the master has no socket",
    option: "-M",
    fault: 'shift; "$ssh" "$@"; exit 0',
    stderr: /^sshs: Not shared: the connection master does not answer .*\n$/,
  },
  {
    name: "the master is killed once it is up",
    option: "-M",
    fault: KILL_MASTER,
    stderr: /^sshs: Not shared: the connection master does not answer .*\n$/,
  },
];

for (const { name, option, fault, stderr = /^$/ } of FAULTS) {
  Deno.test(`a call works though ${name}`, async () => {
    await using scene = await Scene.create();
    await scene.breakSsh(option, fault);
    const result = await scene.call("echo hello; exit 3");
    assert.deepEqual([result.code, result.stdout], [3, "hello\n"], result.stderr);
    assert.match(result.stderr, stderr);
    await scene.assertClean();
  });
}

Deno.test("a refusal is ssh's own, said once, and its status is handed on", async () => {
  await using scene = await Scene.create();
  await scene.breakSsh("-M", 'echo "host: Permission denied (publickey)." >&2; exit 255');
  const result = await scene.call("true");
  assert.deepEqual(
    [result.code, result.stderr],
    [255, "host: Permission denied (publickey).\n"],
  );
  await scene.assertClean();
});
