/** Faults of Deno, the disk or the system: the session still runs, and nothing is printed. */
import assert from "node:assert/strict";
import { account, canMakeAccounts } from "./support/account.ts";
import { fillBin } from "./support/home.ts";
import { canMount } from "./support/mounts.ts";
import { findProgram, needProgram, run } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";
import type { RunOptions } from "./support/sandbox.ts";

const BYTES = Uint8Array.from({ length: 100_000 }, (_, i) => i * 7);

/** Asserts that a session has the right bytes both ways and the right status, and nothing on stderr. */
async function assertWorks(
  scene: Scene,
  what: string,
  { before = [], noise = /^$/, ...options }: RunOptions & { before?: string[]; noise?: RegExp } =
    {},
): Promise<void> {
  const words = ["ssh", ...scene.args("cat; exit 3")];
  const { code, stdoutBytes, stderr } = await scene.run([...before, ...words], {
    stdin: BYTES,
    ...options,
  });
  assert.equal(code, 3, `${what}: ${stderr}`);
  assert.match(stderr, noise, what);
  assert.equal(new Uint8Array(stdoutBytes).toHex(), BYTES.toHex(), what);
}

/** Likewise, and asserts that the call was plain ssh and left no process and no claim on a plan. */
async function assertWorksPlain(
  scene: Scene,
  what: string,
  options: Parameters<typeof assertWorks>[2] = {},
): Promise<void> {
  const before = scene.logins();
  await assertWorks(scene, what, options);
  assert.equal(scene.logins(), before + 1, what);
  assert.deepEqual(scene.processes().map(({ args }) => args.join(" ")), [], what);
  assert.deepEqual(scene.sandbox.files().filter((file) => file.includes("#")), [], what);
}

/** What may be in Deno's place: a script, or bytes. */
const DENOS: Readonly<Record<string, string | Uint8Array>> = {
  "of another architecture": new TextEncoder().encode("\x7fELF\x01\x01\x01 of another machine\0"),
  "that is not a program": new TextEncoder().encode("\0\0"),
  "that panics": "echo 'Deno has panicked.' >&2; exit 101",
  "that prints nothing": "exit 0",
  "that gives half an answer": 'echo "sshs_ssh=\'/bin/false\'"; echo "sshs_max=\'"; exit 0',
  "that answers and fails": "printf '%s\\n' \"sshs_ssh='/bin/false'\" \"sshs_kind=share\"; exit 1",
  "that prints no plan": "printf '%s\\n' 'Usage: deno' 'sshs_kind' '(' ; exit 0",
  "that is killed": "kill -9 $$",
  "that is stopped": "kill -STOP $$",
  "that hangs": "exec sleep 600",
};

Deno.test("a call is plain ssh with any kind of broken Deno", async (test) => {
  await using scene = await Scene.open();
  const deno = `${scene.sandbox.bin}/deno`;
  for (const [what, text] of Object.entries(DENOS)) {
    await test.step(`a Deno ${what}`, async () => {
      await Deno.remove(deno);
      if (typeof text === "string") await scene.sandbox.addProgram("deno", text);
      else await Deno.writeFile(deno, text, { mode: 0o755 });
      await assertWorksPlain(scene, what);
    });
  }
});

Deno.test("a call is plain ssh without Deno, and shares with one in PATH", async () => {
  await using scene = await Scene.open();
  await Deno.remove(`${scene.sandbox.bin}/deno`);
  const programs = "sh env sleep rm mkdir mv ps cat timeout readlink ssh ssh-add";
  const tools = `${scene.sandbox.dir}/tools`;
  fillBin(tools, programs, {});
  const PATH = `${scene.bin}:${tools}`;
  await assertWorksPlain(scene, "missing", { env: { PATH } });
  await Deno.symlink(Deno.execPath(), `${tools}/deno`);
  await assertWorks(scene, "one in PATH", { env: { PATH } });
  await assertWorks(scene, "once more", { env: { PATH } });
  assert.equal(scene.logins(), 2);
});

Deno.test("without the program an open lane is used, and no new one is started", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  await assertWorks(scene, "first");
  const text = await Deno.readTextFile(`${scene.bin}/ssh`);
  const without = text.replace(/^sshs_program=.*$/m, "sshs_program='/nowhere'");
  await Deno.writeTextFile(`${scene.bin}/ssh`, without);
  await assertWorks(scene, "over the lane");
  assert.equal(scene.logins(), 1);
  await Deno.remove(scene.fileOf("!host"));
  await assertWorks(scene, "plain");
  assert.equal(scene.logins(), 2);
});

/** Limits under which Deno does not start, or works badly. Fewer descriptors are too few for dash itself. */
const LIMITS = [
  "-v 300000",
  "-v 3000000",
  "-d 20000",
  "-d 200000",
  "-n 14",
  "-n 30",
  "-s 200",
  "-f 0",
];

Deno.test("a first call and a call that finds a lane work under each limit", async (test) => {
  for (const limit of LIMITS) {
    await test.step(`ulimit ${limit}`, async () => {
      await using scene = await Scene.open();
      const before = ["sh", "-c", `ulimit ${limit}; exec "$@"`, "sh"];
      await assertWorks(scene, "first", { before });
      await assertWorks(scene, "a lane is opened");
      await assertWorks(scene, "with a lane", { before });
    });
  }
});

Deno.test({
  name: "a user who may not start more processes still has plain ssh",
  ignore: !canMakeAccounts || findProgram("prlimit") === undefined,
  fn: async () => {
    await using scene = await Scene.open();
    const { name, home } = await account();
    // The user can read only what is in a directory of theirs.
    const dir = `${home}/limited`;
    const script = `
      mkdir -m 700 "$0" && cp -r "$1" "$0/bin" && cp "$2" "$0/key" &&
      sed "s|^IdentityFile .*|IdentityFile $0/key|; s|^UserKnownHostsFile .*|UserKnownHostsFile $0/known|" "$3" >"$0/config" &&
      cp "$3.known_hosts" "$0/known" && chown -R "$4:" "$0" && chmod 600 "$0/key"`;
    const files = [dir, scene.bin, `${scene.sshd.dir}/user_key`, scene.config];
    await run("sh", ["-ec", script, ...files, name]);
    try {
      const user = [needProgram("setpriv"), `--reuid=${name}`, `--regid=${name}`, "--clear-groups"];
      const env = {
        HOME: dir,
        SSHS_DIR: `${dir}/s`,
        PATH: `${dir}/bin:/usr/bin:/bin`,
        DENO_DIR: undefined,
      };
      const limited = [needProgram("prlimit"), "--nproc=0"];
      const { code, stdout, stderr } = await scene.run(
        [
          ...user,
          ...limited,
          `${dir}/bin/ssh`,
          "-F",
          `${dir}/config`,
          "host",
          "echo hello; exit 3",
        ],
        { env, cwd: "/" },
      );
      assert.deepEqual([code, stdout, stderr], [3, "hello\n", ""]);
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});

/** Messages about an unusable state directory: ours, and ssh's own about the socket. */
const UNUSABLE =
  /^(sshs: not shared: [^\n]*\n(sshs: hint: [^\n]*\n)?|(unix_listener|muxserver_listen): [^\n]*\n)?$/;

/** Returns the words that run a call with a tmpfs mounted over a directory. */
function over(dir: string, options: string): string[] {
  const script = `mount -t tmpfs ${options} sshs-test ${dir} && exec "$@"`;
  return ["unshare", "--mount", "sh", "-c", script, "sh"];
}

Deno.test({
  name: "a first call and a call that finds a lane work without /proc",
  ignore: !canMount,
  fn: async () => {
    await using scene = await Scene.open();
    const before = over("/proc", "");
    await assertWorks(scene, "first", { before });
    await assertWorks(scene, "a lane is opened");
    await assertWorks(scene, "with a lane", { before });
  },
});

Deno.test("a first call and a call that finds a lane work in a removed directory", async () => {
  await using scene = await Scene.open();
  const cwd = `${scene.sandbox.dir}/removed`;
  const there = async (...argv: string[]) => {
    await Deno.mkdir(cwd);
    return ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", ...argv];
  };
  // A shell may report this as it starts, which cannot be avoided.
  const { stderr } = await scene.run(await there("sh", "-c", ":"), { cwd });
  const noise = new RegExp(`^${RegExp.escape(stderr)}$`);
  await assertWorks(scene, "first", { before: await there(), cwd, noise });
  await assertWorks(scene, "a lane is opened");
  await assertWorks(scene, "with a lane", { before: await there(), cwd, noise });
});

Deno.test({
  name: "a call works on a disk that is read-only, or full at any point",
  ignore: !canMount,
  fn: async (test) => {
    // Limits in pages, and in files: each stops the call at another place.
    const sizes = [0, 1, 2, 3, 4, 6, 8].map((pages) => `size=${pages * 4 || 1}k`);
    const counts = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12].map((files) => `nr_inodes=${files}`);
    for (const limit of [...sizes, ...counts, "ro"]) {
      await test.step(limit, async () => {
        await using scene = await Scene.open();
        const { stateDir } = scene.sandbox;
        await Deno.mkdir(stateDir, { mode: 0o700 });
        await run("mount", ["-t", "tmpfs", "-o", `mode=700,${limit}`, "sshs-test", stateDir]);
        try {
          if (limit === "size=1k") await fill(`${stateDir}/filler`);
          await assertWorks(scene, "first", { noise: UNUSABLE });
          await assertWorks(scene, "second", { noise: UNUSABLE });
        } finally {
          await run("umount", ["--lazy", stateDir]);
        }
      });
    }
  },
});

async function fill(path: string): Promise<void> {
  using file = await Deno.open(path, { write: true, create: true });
  await assert.rejects(async () => {
    for (;;) await file.write(new Uint8Array(4096));
  }, /No space left/);
}
