/** `sshs --with`: a job's calls share connections of their own, and nothing outlives it. */
import assert from "node:assert/strict";
import { isJobDir, makeJobDir, openStateDir, StateDirError } from "../lib/lane/state_dir.ts";
import { canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { install } from "./support/installed.ts";
import { signal } from "./support/processes.ts";
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

/** Asserts that nothing is left, once the job's sleeper has seen its end. */
async function assertNothingLeft(scene: Scene): Promise<void> {
  await eventually("its directory is gone", () => jobs(scene).length === 0, DEADLINE);
  await eventually("no process is left", () => scene.processes().length === 0, DEADLINE);
}

/** Returns the argv of an sh script, in which CALL calls the server. */
function script(scene: Scene, text: string): string[] {
  return ["sh", "-c", text.replaceAll("CALL", `ssh -F ${scene.config} host`)];
}

/** Succeeds if a connection of the job has one session. */
const SESSIONS = "sshs --list --json | grep -c '\"sessions\": 1'";

Deno.test("a job's directory is beside the state directory, and is not made again", async () => {
  // Short: beside a long one there is no room for a socket.
  const base = await Deno.makeTempDir({ dir: "/tmp", prefix: "j-" });
  const job = makeJobDir({ stateDir: `${base}/s` }, { uid: Deno.uid });
  assert.match(job.slice(base.length), /^\/sshs-job-[0-9a-f]{1,16}$/);
  assert.equal(Deno.statSync(job).mode! & 0o777, 0o700);
  assert.ok(isJobDir(job) && !isJobDir(base));
  assert.equal(openStateDir({ stateDir: job }, { uid: Deno.uid }), job);
  Deno.removeSync(job);
  assert.throws(() => openStateDir({ stateDir: job }, { uid: Deno.uid }), StateDirError);
  const long = makeJobDir({ stateDir: `${base}/${"x".repeat(40)}/s` }, { uid: Deno.uid });
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

Deno.test("--with logs in to the hosts, and the command's calls share the logins; without a login nothing runs", async () => {
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

  const failed = await scene.sshs([
    ...["--with", "-F", scene.config, "-o", "BatchMode=yes"],
    ...["host", "localhost", "--", "echo", "never"],
  ]);
  assert.deepEqual([failed.code, failed.stdout], [255, ""]);
  assert.match(failed.stderr, /^sshs: localhost: .*Connection refused/);
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
  await eventually("the job's connection is gone", () => {
    return jobs(scene).length === 0 && scene.sandbox.masters().length === 1;
  }, DEADLINE);
});

Deno.test("--with of an installed sshs finds the installed launchers", async () => {
  await using sandbox = await Sandbox.create();
  await install(sandbox);
  const prefix = `${sandbox.dir}/prefix`;
  const PATH = `${sandbox.env.PATH.replace(`${prefix}/bin:`, "")}:${prefix}/bin`;
  const words = ["sshs", "--with", "--", "sh", "-c", "command -v ssh; command -v scp"];
  const { stdout } = await sandbox.run(words, { env: { PATH } });
  const bin = `${prefix}/lib/sshs/bin`;
  assert.equal(stdout, `${bin}/ssh\n${bin}/scp\n`);
});

Deno.test("--with ends as the command does, and a signal to it is the command's", async () => {
  await using scene = await Scene.open(LINGERING);
  for (const name of ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"] as const) {
    const { signal } = await scene.sshs(["--with", "--", "sh", "-c", `kill -${name.slice(3)} $$`]);
    assert.equal(signal, name);
  }
  const missing = await scene.sshs(["--with", "--", "no-such-program"]);
  assert.deepEqual([missing.code, missing.stdout], [127, ""]);
  assert.match(missing.stderr, /^sshs: cannot run no-such-program: /);
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
  const left = "CALL sleep 1000 >/dev/null 2>&1 & CALL true";
  const job = script(scene, `${left}; until ${SESSIONS}; do sleep 0.1; done`);
  const { code } = await scene.sshs(["--with", "--", ...job]);
  assert.equal(code, 0);
  await eventually("the session ends", () => scene.processes().length === 0);
  await assertNothingLeft(scene);
});

Deno.test("a call that outlives its job is plain, and makes no directory", async () => {
  await using scene = await Scene.open(LINGERING);
  const late = "(sleep 3; CALL 'echo late; sleep 2; echo end') & CALL echo first";
  const child = scene.sandbox.spawn(["sshs", "--with", "--", ...script(scene, late)]);
  const { code, stdout } = await child.output();
  assert.deepEqual([code, new TextDecoder().decode(stdout)], [0, "first\nlate\nend\n"]);
  assert.equal(scene.logins(), 2);
  await assertNothingLeft(scene);
});

for (const isAlone of [true, false]) {
  const others = isAlone ? "" : " together with its sleeper";
  Deno.test(`a job that is killed${others} leaves no process`, async () => {
    await using scene = await Scene.open(LINGERING);
    const job = ["sh", "-c", `ssh -F ${scene.config} host "$1"; exit`, "sh"];
    await using session = await Session.open(scene, ["sshs", "--with", "--", ...job]);
    const sleepers = await eventually("its sleeper is awake", () => {
      const found = scene.sandbox.sleepers();
      return found.length > 0 && found;
    }, DEADLINE);
    // The sleeper first: it would see the end of the job.
    signal([...(isAlone ? [] : sleepers.map(({ pid }) => pid)), session.pid], "SIGKILL");
    // What only the sleeper would end.
    if (!isAlone) await session.kill();
    await eventually("nothing is left", () => scene.processes().length === 0, DEADLINE);
    if (isAlone) await assertNothingLeft(scene);
  });
}

Deno.test("--with leaves the command its pid, environment and limits", async () => {
  await using scene = await Scene.open(LINGERING);
  const show = "echo pid $$; env; ulimit -S -n";
  const text = `ulimit -S -n 900; ${show}; exec sshs --with -- sh -c '${show}'`;
  const { stdout } = await scene.run(["sh", "-c", text], {
    env: { NODE_OPTIONS: "--no-warnings" },
  });
  const others = /^(_|SHLVL|OLDPWD|SSHS_DIR|PATH)=/;
  const [before, after] = stdout.split(/^(?=pid )/m)
    .map((part) => part.trim().split("\n").filter((line) => !others.test(line)).sort());
  assert.deepEqual(after, before);
  assert.ok(after.includes("NODE_OPTIONS=--no-warnings") && after.includes("900"), stdout);
  await assertNothingLeft(scene);
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
    const words = ["sshs", "--with", "-F", scene.config, "host", "other", "--"];
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
