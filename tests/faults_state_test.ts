/** The state directory is full, read-only, gone or strange, and the user has a working ssh. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { isAlive } from "./support/processes.ts";
import { run } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

/** A line of ours, and no more than one. */
const ONE_LINE = /^(sshs: Not shared: [^\n]*\n)?$/;

async function assertWorks(scene: Scene, what: string): Promise<void> {
  const { code, stdout, stderr } = await scene.call("echo hello; exit 3");
  assert.deepEqual([code, stdout], [3, "hello\n"], `${what}: ${stderr}`);
  assert.match(stderr, ONE_LINE, what);
}

/** A file system of its own for the state directory; `undefined` where none can be mounted. */
async function mountStateDir(scene: Scene, options: string): Promise<AsyncDisposable | undefined> {
  const { stateDir } = scene.sandbox;
  await Deno.mkdir(stateDir, { mode: 0o700 });
  try {
    await run("mount", ["-t", "tmpfs", "-o", `mode=700,${options}`, "sshs-test", stateDir]);
  } catch {
    return undefined;
  }
  return {
    async [Symbol.asyncDispose]() {
      await run("umount", ["--lazy", stateDir]);
    },
  };
}

Deno.test("a full state directory ends in plain ssh, and in sharing once there is room", async () => {
  await using scene = await Scene.create();
  await using mount = await mountStateDir(scene, "size=64k");
  if (!mount) return;
  const { stateDir } = scene.sandbox;
  const fill = async () => {
    using file = await Deno.open(`${stateDir}/fill`, { write: true, create: true });
    try {
      for (;;) file.writeSync(new Uint8Array(512));
    } catch { /* full */ }
  };
  await fill();
  await assertWorks(scene, "full from the start");
  await Deno.remove(`${stateDir}/fill`);
  await assertWorks(scene, "room");
  assert.equal(scene.sandbox.masters().length, 1);
  await fill();
  await assertWorks(scene, "full with a lane");
  await Deno.remove(`${stateDir}/fill`);
  await assertWorks(scene, "room again");
  await scene.assertClean();
});

Deno.test("a state directory without inodes ends in plain ssh", async () => {
  await using scene = await Scene.create();
  for (let inodes = 2; inodes < 16; inodes++) {
    await using mount = await mountStateDir(scene, `nr_inodes=${inodes}`);
    if (!mount) return;
    await assertWorks(scene, `${inodes} inodes`);
    await eventually("processes gone", () => scene.sandbox.processes().length === 0, {deadline: 20000});
    console.log(inodes, scene.sandbox.files());
    await mount[Symbol.asyncDispose]();
    await Deno.remove(scene.sandbox.stateDir);
  }
});
Deno.test("a read-only state directory", async () => {
  await using scene = await Scene.create();
  await using mount = await mountStateDir(scene, `size=1m`);
  if (!mount) return;
  const { stateDir } = scene.sandbox;
  await run("mount", ["-o", "remount,ro", stateDir]);
  await assertWorks(scene, "ro");
  await run("mount", ["-o", "remount,rw", stateDir]);
  await assertWorks(scene, "rw");
  await run("mount", ["-o", "remount,ro", stateDir]);
  await assertWorks(scene, "ro with a lane");
  await run("mount", ["-o", "remount,rw", stateDir]);
  await assertWorks(scene, "rw again");
  await scene.assertClean();
});
Deno.test("removed mid-call", async () => {
  await using scene = await Scene.create();
  await scene.breakSsh("-M", `rm -r ${scene.sandbox.stateDir}`);
  await assertWorks(scene, "before start");
  await scene.assertClean();
  await scene.breakSsh("-M", `"$ssh" "$@"; rm -r ${scene.sandbox.stateDir}; exit 0`);
  await assertWorks(scene, "after start");
  await scene.assertClean();
  await scene.breakSsh("-G", `rm -rf ${scene.sandbox.stateDir}`);
  await assertWorks(scene, "G");
  await assertWorks(scene, "G again");
  await scene.assertClean();
});
Deno.test("removed while lane", async () => {
  await using scene = await Scene.create();
  await assertWorks(scene, "1");
  await Deno.remove(scene.sandbox.stateDir, {recursive: true});
  await assertWorks(scene, "2");
  await scene.assertClean();
});
const FOREIGN: Record<string, (path: string) => Promise<unknown>> = {
    nothing: (p) => Deno.remove(p, {recursive: true}),
    junk: async (p) => { await Deno.remove(p, {recursive: true}); await Deno.writeTextFile(p, "\0{ junk \n") },
    empty: async (p) => { await Deno.remove(p, {recursive: true}); await Deno.writeTextFile(p, "") },
    directory: async (p) => { await Deno.remove(p, {recursive: true}); await Deno.mkdir(p, {mode: 0o700}) },
    "full directory": async (p) => { await Deno.remove(p, {recursive: true}); await Deno.mkdir(p+"/x/y", {recursive: true, mode: 0o700}) },
    dangling: async (p) => { await Deno.remove(p, {recursive: true}); await Deno.symlink("/nonexistent/x", p) },
    loop: async (p) => { await Deno.remove(p, {recursive: true}); await Deno.symlink(p, p) },
    "link to file": async (p) => { await Deno.remove(p, {recursive: true}); await Deno.symlink("/etc/passwd", p) },
    fifo: async (p) => { await Deno.remove(p, {recursive: true}); await run("mkfifo", [p]) },
};
const PATHS = [".sock", ".lane", ".log", ".verified", ".leases", "/lock", "/identity", "/sleeper", "plans", "/sleeper.log", "dir"];
for (const path of PATHS) for (const [kind, put] of Object.entries(FOREIGN)) Deno.test(`foreign ${path} ${kind}`, async () => {
  const passwd = await Deno.readTextFile("/etc/passwd");
  await using scene = await Scene.create();
  await assertWorks(scene, "1");
  if (path === "dir") await put(scene.identities()[0]); else await put(scene.fileOf(path));
  await assertWorks(scene, "2");
  await assertWorks(scene, "3");
  assert.equal(await Deno.readTextFile("/etc/passwd"), passwd);
  await scene.assertClean();
});
