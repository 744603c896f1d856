/** `"share": "always"`: tools that bring a ControlPath of their own share anyway. */
import assert from "node:assert/strict";
import { findProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";

/** What tools put before the host. */
const TOOLS: readonly [string, readonly string[]][] = [
  ["git-lfs", ["-oControlMaster=auto", "-oControlPath=/tmp/git-lfs/sock-%C"]],
  ["kitty", [
    ...["-o", "ControlMaster=auto", "-o", "ControlPath=/tmp/kssh-1-%C"],
    ...["-o", "ControlPersist=yes", "-o", "ServerAliveInterval=60"],
  ]],
  ["ansible", [
    ...["-C", "-o", "ControlMaster=auto", "-o", "ControlPersist=60s"],
    ...["-o", "ConnectTimeout=10", "-o", 'ControlPath="/tmp/cp/0123456789"'],
  ]],
];

/** Opens a scene whose user has these settings. */
async function sceneWith(settings: unknown): Promise<Scene> {
  const scene = await Scene.open({ env: { SSHS_LINGER: "60" } });
  await Deno.mkdir(`${scene.sandbox.home}/.config/sshs`, { recursive: true });
  const path = `${scene.sandbox.home}/.config/sshs/config.json`;
  await Deno.writeTextFile(path, JSON.stringify(settings));
  const old = new Date(Date.now() - 60_000);
  await Deno.utime(path, old, old);
  return scene;
}

for (const [tool, words] of TOOLS) {
  Deno.test(`with "share": "always" ${tool} shares, and its socket is not made`, async () => {
    await using scene = await sceneWith({ hosts: [{ host: "host", share: "always" }] });
    for (let i = 0; i < 3; i++) {
      const { stdout, stderr } = await scene.ssh([...words, "host", `echo ${i}`]);
      assert.deepEqual([stdout, stderr], [`${i}\n`, ""]);
    }
    assert.equal(scene.logins(), 1);
    const [{ linger }] = JSON.parse((await scene.sshs(["--list", "--json"])).stdout);
    assert.equal(linger, 60, "the tool's ControlPersist is put aside too");
    const decisions = scene.starts().filter((start) => start.includes(" --decide "));
    assert.equal(decisions.length, 1, "all words are plain enough for a plan");
  });

  Deno.test(`without it ${tool} has a master of its own, and --why names the setting`, async () => {
    await using scene = await sceneWith({ share: true });
    const socket = `${scene.sandbox.dir}/own`;
    const own = words.map((word) => word.replace(/(ControlPath="?)[^"]*/, `$1${socket}`));
    const { code } = await scene.ssh([...own, "host", "true"]);
    assert.deepEqual([code, scene.lanes()], [0, []]);
    const why = await scene.sshs(["--why", "--json", "-F", scene.config, ...own, "host"]);
    const { decision, remedy } = JSON.parse(why.stdout);
    assert.deepEqual([decision, remedy], [
      "direct",
      'set "share" to "always" for this host in config.json',
    ]);
    await scene.plainSsh(["-o", `ControlPath=${socket}`, "-O", "exit", "host"]);
  });
}

Deno.test('a call that asks for no master at all goes direct, even with "share": "always"', async () => {
  await using scene = await sceneWith({ share: "always" });
  for (const words of [["-o", "ControlPath=none"], ["-S", "none"]]) {
    assert.equal((await scene.ssh([...words, "host", "true"])).code, 0);
    assert.deepEqual(scene.lanes(), [], words.join(" "));
  }
});

Deno.test('"share": "always" ignores nothing else: the other words count, in their places', async () => {
  await using scene = await sceneWith({ share: "always" });
  const words = ["host", "-oControlPath=/tmp/x-%C", "-l", "nobody", "-oControlMaster=yes", "-4"];
  const why = await scene.sshs(["--why", "--json", "-F", scene.config, ...words, "ls"]);
  const { decision, resolved, command } = JSON.parse(why.stdout);
  assert.deepEqual([decision, resolved.split("@")[0]], ["share", "nobody"]);
  assert.deepEqual(command.slice(-7), [...words, "ls"]);
});

const PLAYBOOK = `
- hosts: host
  gather_facts: false
  tasks:
    - ping:
    - raw: echo between
    - meta: reset_connection
    - raw: echo after
`;

for (
  const [name, settings, args] of [
    ['as delivered, with "share": "always"', { share: "always" }, undefined],
    ["as README says", {}, ""],
  ] as const
) {
  Deno.test({
    name: `ansible shares ${name}, and reset_connection logs in anew`,
    ignore: !findProgram("ansible-playbook"),
    fn: async () => {
      await using scene = await sceneWith(settings);
      const { home } = scene.sandbox;
      await Deno.writeTextFile(
        `${home}/hosts`,
        // The account on the server can run only the system's python3.
        `host ansible_ssh_common_args='-F ${scene.config}' ansible_ssh_executable=${scene.bin}/ssh ` +
          `ansible_python_interpreter=${findProgram("python3", "/usr/bin:/usr/local/bin")}\n`,
      );
      await Deno.writeTextFile(`${home}/play.yml`, PLAYBOOK);
      const env = { ANSIBLE_HOME: `${home}/ansible`, ANSIBLE_SSH_ARGS: args, LC_ALL: "C.UTF-8" };
      const run = ["ansible-playbook", "-i", "hosts", "play.yml"];
      const { code, stdout, stderr } = await scene.run(run, { env, timeout: 90_000 });
      assert.deepEqual([code, stderr.includes("Failed to reset")], [0, false], stdout + stderr);
      assert.equal(scene.logins(), 2);
    },
  });
}
