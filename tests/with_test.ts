/** `sshs --with`: a job's calls share connections of their own, and nothing outlives it. */
import assert from "node:assert/strict";
import { parseCommand, USAGE } from "../lib/commands/command.ts";
import { isJobDir, makeJobDir, openStateDir, StateDirError } from "../lib/lane/state_dir.ts";
import { canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { install } from "./support/installed.ts";
import { isAlive, signal } from "./support/processes.ts";
import { Sandbox } from "./support/sandbox.ts";
import { Scene } from "./support/scene.ts";
import { Session } from "./support/session.ts";

const DEADLINE = { deadline: 30_000 };
/** So long that what is gone was ended. */
const LINGERING = { env: { SSHS_LINGER: "600" } };

/** Returns the directories of jobs. */
function jobs({ sandbox }: Scene): string[] {
  return [...Deno.readDirSync(sandbox.dir)].map(({ name }) => name)
    .filter((name) => name.startsWith("sshs-job-"));
}

/** Asserts that nothing is left, once a sleeper that has just started finds nothing to do. */
async function assertNothingLeft(scene: Scene): Promise<void> {
  assert.deepEqual(jobs(scene), []);
  await eventually("no process is left", () => scene.processes().length === 0, DEADLINE);
}

/** Returns the argv of an sh script, in which CALL calls the server. */
function script(scene: Scene, text: string): string[] {
  return ["sh", "-c", text.replaceAll("CALL", `ssh -F ${scene.config} host`)];
}

/** Succeeds if a connection of the job has one session. */
const SESSIONS = "sshs --list --json | grep -c '\"sessions\": 1'";

Deno.test("parseCommand reads --with: options, hosts, and the command after --", () => {
  for (
    const [line, options, hosts, argv] of [
      ["--with a b -- make x", [], ["a", "b"], ["make", "x"]],
      ["--with -p 22 a -- make", ["-p", "22"], ["a"], ["make"]],
      ["--with=a -- ssh a -- ls --json", [], ["a"], ["ssh", "a", "--", "ls", "--json"]],
      ["--with -- make", [], [], ["make"]],
    ] as const
  ) {
    const command = { kind: "with", options, hosts, argv };
    assert.deepEqual(parseCommand(line.split(" ")), command, line);
  }
  for (
    const line of ["--with", "--with a", "--with a --", "--with -p 22 -- x", "--with a -4 -- x"]
  ) {
    const command = parseCommand(line.split(" "));
    assert.deepEqual(command.kind === "misuse" && command.hint, USAGE.with, line);
  }
});

Deno.test("a job's directory is beside the state directory, and is not made again", async () => {
  // Short: beside a long one there is no room for a socket.
  const base = await Deno.makeTempDir({ dir: "/tmp", prefix: "j-" });
  const uid = { uid: Deno.uid };
  const job = makeJobDir({ stateDir: `${base}/s` }, uid);
  assert.match(job.slice(base.length), /^\/sshs-job-[0-9a-f]{1,16}$/);
  assert.equal(Deno.statSync(job).mode! & 0o777, 0o700);
  assert.ok(isJobDir(job) && !isJobDir(base));
  assert.equal(openStateDir({ stateDir: job }, uid), job);
  Deno.removeSync(job);
  assert.throws(() => openStateDir({ stateDir: job }, uid), StateDirError);
  const long = makeJobDir({ stateDir: `${base}/${"x".repeat(40)}/s` }, uid);
  assert.match(long, /^\/tmp\/sshs-job-/);
  Deno.removeSync(long);
  Deno.removeSync(base);
});

Deno.test("a command of --with under nohup outlives SIGHUP", async () => {
  await using scene = await Scene.open(LINGERING);
  const call = ["sh", "-c", `trap '' HUP; exec sshs --with -- sh -c "$1"`, "sh"];
  await using session = await Session.open(scene, call);
  signal([session.pid], "SIGHUP");
  await session.finish();
  await assertNothingLeft(scene);
});

Deno.test("--with logs in to the hosts, and the command's calls share the logins", async () => {
  await using scene = await Scene.open(LINGERING);
  const { code, stdout, stderr } = await scene.sshs([
    ...["--with", "-F", scene.config, "host", "--"],
    ...script(scene, `echo $SSHS_DIR; cat; CALL echo one; CALL echo two; exit 3`),
  ], { stdin: "input\n" });
  const [dir, ...lines] = stdout.split("\n");
  assert.match(dir, /\/sshs-job-[0-9a-f]{1,16}$/);
  assert.deepEqual([lines, code, stderr], [["input", "one", "two", ""], 3, ""]);
  assert.equal(scene.logins(), 1);
  await assertNothingLeft(scene);
});

Deno.test("--with without hosts shares what the job opens, but with nobody else", async () => {
  await using scene = await Scene.open(LINGERING);
  await scene.assertWorks("a call before");
  const [before] = scene.lanes();
  const job = script(
    scene,
    `CALL true; CALL true; ls -d $SSHS_DIR/*/*.sock; scp -F ${scene.config} host:/etc/hostname .`,
  );
  const { code, stdout, stderr } = await scene.sshs(["--with", "--", ...job]);
  assert.deepEqual([code, stderr], [0, ""]);
  assert.match(stdout, /^\S+sock\n$/);
  assert.equal(scene.logins(), 2);
  assert.deepEqual(scene.lanes().map(({ socket }) => socket), [before.socket]);
  assert.deepEqual(jobs(scene), []);
  assert.equal(scene.sandbox.masters().length, 1);
});

Deno.test("--with of an installed sshs finds the installed launchers", async () => {
  await using sandbox = await Sandbox.create();
  await install(sandbox);
  const { stdout } = await sandbox.run([
    "sshs",
    "--with",
    "--",
    "sh",
    "-c",
    "command -v ssh; command -v scp",
  ], {
    env: {
      PATH: sandbox.env.PATH.replace(`${sandbox.dir}/prefix/bin:`, "") +
        `:${sandbox.dir}/prefix/bin`,
    },
  });
  assert.equal(stdout, `${sandbox.dir}/prefix/bin/ssh\n${sandbox.dir}/prefix/bin/scp\n`);
});

Deno.test("--with ends as the command does", async () => {
  await using scene = await Scene.open(LINGERING);
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"] as const) {
    const { signal } = await scene.sshs(["--with", "--", "sh", "-c", `kill -${name.slice(3)} $$`]);
    assert.equal(signal, name);
  }
  const missing = await scene.sshs(["--with", "--", "no-such-program"]);
  assert.deepEqual([missing.code, missing.stdout], [127, ""]);
  assert.match(missing.stderr, /^sshs: cannot run no-such-program: /);
  await assertNothingLeft(scene);
});

Deno.test("--with passes on the signal that ends it, and waits for the command", async () => {
  await using scene = await Scene.open(LINGERING);
  const text = "trap 'echo caught; exit 7' TERM; echo up; while :; do sleep 0.1; done";
  const child = scene.sandbox.spawn(["sshs", "--with", "--", "sh", "-c", text]);
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  assert.equal((await reader.read()).value, "up\n");
  child.kill("SIGTERM");
  assert.equal((await reader.read()).value, "caught\n");
  assert.equal((await child.status).code, 7);
  await assertNothingLeft(scene);
});

Deno.test("--with cuts off what the job left in the background", async () => {
  await using scene = await Scene.open(LINGERING);
  const job = script(
    scene,
    "CALL sleep 1000 >/dev/null 2>&1 & CALL true; until SESSIONS; do sleep 0.1; done"
      .replace("SESSIONS", SESSIONS),
  );
  const { code } = await scene.sshs(["--with", "--", ...job]);
  assert.equal(code, 0);
  await eventually("the session ends", () => scene.processes().length === 0);
  await assertNothingLeft(scene);
});

Deno.test("--with runs nothing if a login fails, and says why", async () => {
  await using scene = await Scene.open(LINGERING);
  const { code, stdout, stderr } = await scene.sshs([
    ...["--with", "-F", scene.config, "-o", "BatchMode=yes"],
    ...["host", "localhost", "--", "echo", "never"],
  ]);
  assert.deepEqual([code, stdout], [255, ""]);
  assert.match(stderr, /^sshs: localhost: .*Connection refused/);
  await assertNothingLeft(scene);
});

/** Starts a job with an open session; resolves to its process, its output and its sleeper. */
async function startJob(scene: Scene) {
  const job = script(scene, "CALL 'echo up; exec cat'; sleep 2; CALL echo plain");
  const child = scene.sandbox.spawn(["sshs", "--with", "--", ...job]);
  const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  assert.equal((await output.read()).value, "up\n");
  assert.equal(jobs(scene).length, 1, "its directory is in the sandbox");
  const [sleeper] = await eventually("its sleeper is awake", () => {
    const sleepers = scene.sandbox.sleepers();
    return sleepers.length > 0 && sleepers;
  }, DEADLINE);
  return { child, output, sleeper };
}

Deno.test("a job whose --with is killed leaves nothing, and its calls are plain from then on", async () => {
  await using scene = await Scene.open(LINGERING);
  const { child, output } = await startJob(scene);
  child.kill("SIGKILL");
  await eventually("its directory is gone", () => jobs(scene).length === 0, DEADLINE);
  assert.equal((await output.read()).value, "plain\n");
  await eventually("nothing is left", () => scene.processes().length === 0, DEADLINE);
  await assertNothingLeft(scene);
});

Deno.test("a job that is killed together with its sleeper leaves no process after the grace", async () => {
  await using scene = await Scene.open(LINGERING);
  const { child, output, sleeper } = await startJob(scene);
  const pids = scene.processes().map(({ pid }) => pid);
  // The sleeper first: it would see the end of the job.
  signal([sleeper.pid, child.pid], "SIGKILL");
  const masters = scene.processes().filter(({ args }) => args.includes("-M"));
  signal(pids.filter((pid) => !masters.some((master) => master.pid === pid)), "SIGKILL");
  await output.cancel();
  assert.equal(masters.length, 1);
  assert.ok(isAlive(masters[0].pid));
  await eventually("nothing is left", () => scene.processes().length === 0, DEADLINE);
});

Deno.test({
  name: "on a terminal --with asks one question at a time, and Ctrl-C goes to the command",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using scene = await Scene.open({
      passwords: true,
      client: {
        aliases: ["other"],
        config: ["Match originalhost other", "Compression yes", "Match all"],
      },
    });
    const words = [
      "sshs",
      "--with",
      "-F",
      scene.config,
      "host",
      "other",
      "--",
    ];
    const job = "trap 'echo caught; exit 5' INT; CALL 'echo up'; sleep 1000 & wait";
    await using pty = await scene.pty([...words, ...script(scene, job)]);
    for (let i = 0; i < 2; i++) {
      await pty.waitFor("password: ", DEADLINE);
      pty.write(`${scene.user.password}\r`);
    }
    await pty.waitFor("up", DEADLINE);
    pty.write("\x03");
    await pty.waitFor("caught", DEADLINE);
    assert.equal((await pty.status).code, 5);
    assert.equal(scene.logins(), 2);
  },
});
