/** The state directory is full, read-only, gone or strange, or the clock is set, and ssh still works. */
import assert from "node:assert/strict";
import { dirname } from "@std/path/posix/dirname";
import { isSystemError, removePath } from "../lib/os/files.ts";
import { eventually } from "./support/eventually.ts";
import { canMount, canUseFuse } from "./support/mounts.ts";
import { findProgram, run } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

/** Our message that says why, or nothing if the call was shared after all. */
const NOT_SHARED = /^(sshs: not shared: [^\n]*\n(sshs: hint: [^\n]*\n)?)?$/;
const MAYBE = { noise: NOT_SHARED };

/** Messages about what cannot be made there: ours, and ssh's own about the socket. */
const UNUSABLE = new RegExp(
  `${NOT_SHARED.source}|^(unix_listener|muxserver_listen): [^\\n]*\\n$`,
);

/** Gives the state directory a file system of its own. */
async function mount({ sandbox }: Scene, options: string): Promise<AsyncDisposable> {
  const { stateDir } = sandbox;
  await Deno.mkdir(stateDir, { mode: 0o700, recursive: true });
  await run("mount", ["-t", "tmpfs", "-o", `mode=700,${options}`, "sshs-test", stateDir]);
  return { [Symbol.asyncDispose]: () => unmount(stateDir) };
}

async function unmount(dir: string): Promise<void> {
  // An sshfs that has ended has unmounted it.
  await run("umount", ["--lazy", dir]).catch((error) => assert.match(`${error}`, /not mounted/));
}

/** Limits in pages, and in files: each stops the call at another step. */
const LIMITS = [
  ...[1, 2, 3, 4, 6, 8].map((pages) => `size=${pages * 4}k`),
  ...[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20].map((n) => `nr_inodes=${n}`),
  "ro",
];

Deno.test({
  name: "a call works in a state directory that is read-only, or full at any point",
  ignore: !canMount,
  fn: async (test) => {
    await using scene = await Scene.open();
    let shared = 0;
    for (const limit of LIMITS) {
      await test.step(limit, async () => {
        await using _mounted = await mount(scene, limit);
        await scene.assertWorks("first", { noise: UNUSABLE });
        await scene.assertWorks("second", { noise: UNUSABLE });
        const shares = scene.lanes().some(({ open }) => open);
        if (shares) shared++;
        else assert.deepEqual(scene.strays(), []);
      });
    }
    assert.ok(shared > 0 && shared < LIMITS.length - 10, `${shared} limits leave room`);
    // What a sleeper leaves whose file system is taken away is for the next one to clear.
    await scene.assertWorks("without a limit");
    await scene.assertClean();
  },
});

Deno.test({
  name: "a full state directory leads to plain ssh, and to sharing once there is room",
  ignore: !canMount,
  fn: async () => {
    await using scene = await Scene.open();
    await using _mounted = await mount(scene, "size=64k");
    const filler = `${scene.sandbox.stateDir}/filler`;
    for (const what of ["from the start", "with a lane"]) {
      fill(filler);
      await scene.assertWorks(`full ${what}`, MAYBE);
      await Deno.remove(filler);
      await scene.assertWorks("there is room");
      assert.equal(scene.sandbox.masters().length, 1);
    }
    await scene.assertClean();
  },
});

function fill(path: string): void {
  using file = Deno.openSync(path, { write: true, create: true });
  assert.throws(() => {
    for (;;) file.writeSync(new Uint8Array(512));
  }, /No space left/);
}

Deno.test({
  name:
    "a state directory without hard links leads to plain ssh, and to no master that nobody can reach",
  ignore: !canMount || findProgram("sshfs") === undefined || !canUseFuse,
  fn: async () => {
    await using scene = await Scene.open({ asRoot: true }); // So that the files have one owner on both sides.
    const { sandbox, sshd } = scene;
    for (const dir of [sandbox.stateDir, `${sshd.dir}/far`]) await Deno.mkdir(dir, { mode: 0o700 });
    const options = ["-F", sshd.config, "-o", "disable_hardlink"];
    await run("sshfs", [...options, `host:${sshd.dir}/far`, sandbox.stateDir]);
    try {
      for (const time of ["once", "twice"]) {
        await scene.assertWorks(time, {
          noise:
            /^sshs: not shared: no control socket can be made in [^\n]*\nsshs: hint: [^\n]*\n$/,
        });
      }
      assert.deepEqual(sandbox.masters(), []);
    } finally {
      await unmount(sandbox.stateDir);
    }
    await scene.assertClean();
  },
});

Deno.test("a state directory that is removed during a call is created again by the next", async () => {
  await using scene = await Scene.open();
  const { stateDir } = scene.sandbox;
  // In one step, so that the sleeper puts nothing into it meanwhile.
  const remove = `mv ${stateDir} ${stateDir}.$$`;
  // ssh prints a message if there is no place for its socket.
  await scene.breakSsh("-M", remove);
  await scene.assertWorks("before the master starts", { noise: /^unix_listener: [^\n]*\n$/ });
  await scene.breakSsh("-M", `"$ssh" "$@"; ${remove}; exit 0`);
  await scene.assertWorks("after the master has started");
  await scene.breakSsh("-G", `[ ! -e ${stateDir} ] || ${remove}`);
  await scene.assertWorks("while the program decides");
  await scene.breakSsh("-S", remove);
  await scene.assertWorks("just before the session");
  delete scene.sandbox.env.SSHS_SSH;
  await scene.assertWorks("the next call");
  await Deno.rename(stateDir, `${stateDir}.gone`);
  await scene.assertWorks("between two calls");
  await scene.assertClean();
});

/** What is put at one of our paths instead. */
const FOREIGN: Readonly<Record<string, (path: string, precious: string) => Promise<unknown>>> = {
  "a file with other content": (path) => Deno.writeTextFile(path, "\0{ other words \n"),
  "an empty file": (path) => Deno.writeTextFile(path, ""),
  "a directory": (path) => Deno.mkdir(`${path}/in/it`, { recursive: true, mode: 0o700 }),
  "a named pipe": (path) => run("mkfifo", [path]),
  "a link to itself": (path) => Deno.symlink(path, path),
  "a link to a file": (path, precious) => Deno.symlink(precious, path),
};

const LANE_FILES = [".sock", ".lane", ".verified", ".leases", ".master", ".keep", ".agent"];
const IDENTITY_FILES = ["/about", "/direct", "/ended-early", "/starter.1", ""];
const STATE_FILES = ["sleeper", "sleeper.start", "sleeper.log", "plans", "stamps", "used"];

for (const [what, put] of Object.entries(FOREIGN)) {
  Deno.test(`${what} at any of our paths keeps no call from working`, async () => {
    await using scene = await Scene.open();
    const { dir, stateDir } = scene.sandbox;
    const precious = `${dir}/precious`;
    await Deno.writeTextFile(precious, "precious\n");
    await scene.assertWorks("the first call");
    const identity = scene.fileOf("/about").replace(/\/about$/, "");
    for (const file of [...LANE_FILES, ...IDENTITY_FILES, ...STATE_FILES]) {
      // sh writes through a link and waits at a pipe, but nobody else can make one there.
      if (file === "used" && ["a link to a file", "a named pipe"].includes(what)) continue;
      const path = LANE_FILES.includes(file)
        ? await openLane(scene) + file
        : IDENTITY_FILES.includes(file)
        ? identity + file
        : `${stateDir}/${file}`;
      // A sleeper may create it again in between.
      await eventually(`${what} at ${path}`, () => replace(path, () => put(path, precious)));
      await scene.assertWorks(`${what} at ${path}`, MAYBE);
      // A plan that holds is not made again because of it.
      if (file === "") await eventually(`${path} is removed`, () => replace(path, () => {}));
    }
    await scene.assertWorks("the last call");
    assert.equal(await Deno.readTextFile(precious), "precious\n");
    assert.deepEqual(scene.strays(), []);
  });
}

/** Replaces a file with something else. Returns false if another process was faster. */
async function replace(path: string, put: () => unknown): Promise<boolean> {
  try {
    removePath(path);
    await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await put();
    return true;
  } catch (error) {
    if (isSystemError(error) && FASTER.includes(error.code)) return false;
    throw error;
  }
}

/** Another process has made what we make, or something else, or puts files into what we remove. */
const FASTER = ["EEXIST", "ENOTDIR", "ENOTEMPTY"];

/** Returns the path prefix of the files of an open lane. */
async function openLane(scene: Scene): Promise<string> {
  const lane = await eventually("an open lane", async () => {
    const open = scene.lanes().find(({ open }) => open);
    if (open === undefined) await scene.assertWorks("a call that opens a lane", MAYBE);
    return open;
  });
  return `${scene.sandbox.stateDir}/${lane!.identity}/${lane!.name}`;
}

const HOUR = 3600_000;

/**
 * Makes all files of the state directory look as if the clock had been set by `ms`. No test sets the
 * machine's clock: the times are moved the other way instead.
 */
function setClock(scene: Scene, ms: number): void {
  for (const file of scene.sandbox.files()) {
    const path = `${scene.sandbox.stateDir}/${file}`;
    try {
      const time = new Date(Deno.lstatSync(path).mtime!.getTime() - ms);
      Deno.utimeSync(path, time, time);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // The sleeper has removed it.
    }
  }
}

for (const [what, ms] of [["back an hour", -HOUR], ["forward a day", 24 * HOUR]] as const) {
  Deno.test(`calls still share after the clock is set ${what}`, async () => {
    // Long enough that the connection stays open on a slow machine.
    await using scene = await Scene.open({ env: { SSHS_LINGER: "20" } });
    await scene.assertWorks("before");
    setClock(scene, ms);
    await scene.assertWorks("after");
    await scene.assertWorks("and again");
    assert.equal(scene.logins(), 1);
    // A sleeper that was not awake yet may have been taken for dead: then one of two exits.
    await eventually("one sleeper", () => scene.sandbox.sleepers().length === 1);
  });
}

Deno.test("a failure noted before the clock was set back does not prevent sharing", async () => {
  await using scene = await Scene.open();
  await scene.breakSsh("-M", "exit 1");
  await scene.assertWorks("the failure");
  setClock(scene, -HOUR);
  await scene.breakSsh("-M", "");
  await scene.assertWorks("after");
  assert.equal(scene.sandbox.masters().length, 1);
  await scene.assertClean();
});
