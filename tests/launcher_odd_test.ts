/** Unusual calls: long, not UTF-8, with a configuration from a pipe, in an odd environment. */
import assert from "node:assert/strict";
import { needProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

/** Runs a script in bash, where `ssh` is the installed one and $1 is the configuration. */
async function bash(
  scene: Scene,
  script: string,
  env: Record<string, string> = {},
): Promise<[code: number, stdout: string, stderr: string]> {
  const argv = [needProgram("bash"), "-c", script, "bash", scene.config];
  const { code, stdout, stderr } = await scene.run(argv, { env });
  return [code, stdout, stderr];
}

const NAMES = ["SSHS_TEST_A", "SSHS_TEST_B", "SSHS_TEST_C"];

Deno.test("a session that sends 300 kB of variables gets them all, with or without a lane and a plan", async () => {
  await using scene = await Scene.open({
    config: ["AcceptEnv SSHS_TEST_*"],
    client: { config: [`SendEnv ${NAMES.join(" ")}`] },
  });
  const env = Object.fromEntries(NAMES.map((name) => [name, "x".repeat(100_000)]));
  const count = "awk '/^SSHS_TEST_/ && length == 100012' | wc -l";
  const command = `tr '\\0' '\\n' </proc/$$/environ | ${count}; exit 3`;
  const call = (env = {}) => scene.ssh(["host", command], { env });
  for (let i = 0; i < 2; i++) {
    const { code, stdout, stderr } = await call(env);
    assert.deepEqual([code, stdout, stderr], [3, "3\n", ""]);
    assert.equal(scene.sandbox.masters().length, 0, "they are too long to share");
  }
  const logins = scene.logins();
  for (let i = 0; i < 2; i++) assert.equal((await call()).stdout, "0\n");
  assert.equal(scene.logins(), logins + 1, "without them it shares");
  assert.equal((await call(env)).stdout, "3\n");
  assert.equal(scene.logins(), logins + 2);
});

Deno.test("a long command ends as under plain ssh, and does not keep a shorter one from sharing", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  for (const length of [100_000, 300_000]) {
    // A word has 128 kB at most, and on the server the command is one word.
    const words = ["host", "echo", ...new Array(length / 5_000).fill("x".repeat(4_999)), "| wc -c"];
    const plain = await scene.plainSsh(words);
    assert.equal(plain.stdout, length > 128_000 ? "" : `${length}\n`);
    for (let i = 0; i < 2; i++) {
      assert.deepEqual(await scene.ssh(words), plain);
      assert.equal((await scene.ssh(["host", "echo hello"])).stdout, "hello\n");
    }
  }
  // Two of plain ssh, a shared one, and two of the longer command.
  assert.equal(scene.logins(), 2 + 1 + 2);
});

Deno.test("words that are not UTF-8 arrive unchanged, with or without a lane", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  const script = `ssh -F "$1" host printf %s $'a\\377\\303b' $'\\xe9' | od -An -tx1`;
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(await bash(scene, script), [0, " 61 ff c3 62 e9\n", ""]);
  }
  assert.equal(scene.logins(), 1);
  // In an option they would make the program ask ssh -G something else.
  const option = `ssh -F "$1" -o SetEnv=SSHS_X=$'\\377' host echo hello`;
  assert.deepEqual(await bash(scene, option), [0, "hello\n", ""]);
  assert.equal(scene.logins(), 2);
});

Deno.test("a configuration that is not a file is read only by ssh, or not at all", async () => {
  await using scene = await Scene.open();
  // ssh closes all descriptors but three, so it can read only the first of these.
  for (const file of ['/dev/stdin < <(cat "$1")', '<(cat "$1")', '/dev/fd/7 7<"$1"']) {
    const script = (ssh: string) => `${ssh} -F ${file} host 'echo hello; exit 3'`;
    const plain = await bash(scene, script(needProgram("ssh")));
    assert.equal(plain[0], file.includes("stdin") ? 3 : 255);
    const [code, stdout, stderr] = await bash(scene, script("ssh"));
    assert.deepEqual([code, stdout, stderr.replace(/63|62/, "63")], plain, file);
  }
});

Deno.test("what the caller's shell exports does not affect the launcher", async () => {
  await using scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  const env = {
    SHELLOPTS: "errexit:noglob:noclobber:nounset:xtrace",
    IFS: "/s0",
    ENV: `${scene.sandbox.home}/startup`,
    BASH_ENV: `${scene.sandbox.home}/startup`,
    PS4: "$(echo traced >&2)",
    POSIXLY_CORRECT: "1",
    OPTIND: "5",
    OPTERR: "1",
    CDPATH: "/:/tmp",
    TMOUT: "1",
    "BASH_FUNC_sshs_plain%%": "() { echo taken; exit 9; }",
    ...Object.fromEntries(
      ["kill", "read", "sleep"].map((
        name,
      ) => [`BASH_FUNC_${name}%%`, "() { echo taken; exit 9; }"]),
    ),
    sshs_task: "open",
    sshs_claim: "/nowhere",
    sshs_mine: "7",
    sshs_ssh: "/bin/false",
    sshs_found: "/bin/false",
  };
  await Deno.writeTextFile(`${scene.sandbox.home}/startup`, "echo from the startup file\n");
  // /bin/sh may be bash.
  const text = await Deno.readTextFile(`${scene.bin}/ssh`);
  for (const shell of ["/bin/sh", needProgram("bash")]) {
    await Deno.writeTextFile(`${scene.bin}/ssh`, text.replace("#!/bin/sh", `#!${shell}`));
    for (const what of ["first", "with a lane"]) {
      const set = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      const call = ["env", ...set, "ssh", ...scene.args("echo hello; exit 3")];
      const { code, stdout, stderr } = await scene.run(call);
      const words = stderr.split("\n").filter((line) => !/^\++ |^traced$|^$/.test(line));
      assert.deepEqual([code, stdout, words], [3, "hello\n", []], `${shell}, ${what}`);
    }
  }
});
