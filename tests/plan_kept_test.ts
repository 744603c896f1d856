/** Which calls leave a plan: only those whose words must get the same answer next time. */
import assert from "node:assert/strict";
import { needProgram } from "./support/programs.ts";
import { Scene } from "./support/scene.ts";
import type { ClientOptions } from "./support/sshd.ts";

/** How a call differs from `ssh -F CONFIG host 'echo hello'`. */
interface Row {
  client?: ClientOptions;
  words?: (config: string) => string[];
  says?: RegExp;
  env?: Record<string, string | undefined>;
}

function config(...lines: string[]): Row {
  return { client: { config: lines } };
}

function options(...words: string[]): Row {
  return { words: (config) => [...words, "-F", config, "host", "echo hello"] };
}

const THROUGH_HOST: Row["words"] = (config) => ["-F", config, "-J", "host", "inner", "echo hello"];

const KEPT: Record<string, Row> = {
  "an ordinary call": {},
  "options before the host": options("-T", "-4"),
  "an absolute IdentityFile": config("IdentityFile /nowhere/key"),
  // ssh looks it up in ~/.ssh, wherever it is started.
  "a relative Include": config("Include nowhere"),
  "an option after the host": { words: (config) => ["-F", config, "host", "-T", "echo hello"] },
  "a channel that is not a session": {
    words: (config) => ["-F", config, "-W", "127.0.0.1:%p", "host"],
    says: /^SSH-2\.0-/,
  },
  "no linger": { env: { SSHS_LINGER: "0" } },
  "a jump host": { client: { aliases: ["inner"] }, words: THROUGH_HOST },
  // ssh looks for its files in the home that passwd(5) names.
  "no HOME": { env: { HOME: undefined } },
};

const NOT_KEPT: Record<string, Row> = {
  "Match exec": config("Match exec true", "ServerAliveCountMax 7", "Match all"),
  "Match exec without a match": config("Match exec false", "ServerAliveCountMax 7", "Match all"),
  "an Include of many directories": config("Include /nowhere/*/config"),
  "CanonicalizeHostname among the options": options("-oCanonicalizeHostname=yes"),
  "a relative IdentityFile": config("IdentityFile key"),
  "a relative IdentityFile of the jump host": {
    client: {
      aliases: ["inner"],
      config: ["Match originalhost host", "IdentityFile key", "Match all"],
    },
    words: THROUGH_HOST,
  },
  "a relative -F": {
    words: (config) => ["-F", `${"../".repeat(20)}${config.slice(1)}`, "host", "echo hello"],
  },
  "a script as the real ssh": { env: { SSHS_SSH: "a script" } },
};

/** Makes the call; resolves to whether it left a plan. */
async function leavesPlan(name: string, row: Row): Promise<boolean> {
  await using scene = await Scene.open({ client: row.client, env: { SSHS_LINGER: "60" } });
  const { sandbox, config, port } = scene;
  const script = await sandbox.addProgram("my-ssh", `exec '${needProgram("ssh")}' "$@"`);
  const { words = options().words!, says = /^hello\n$/, env } = row;
  const args = words(config).map((word) => word.replace("%p", `${port}`));
  const result = await scene.run(["ssh", ...args], {
    env: { ...env, ...(env?.SSHS_SSH && { SSHS_SSH: script }) },
  });
  assert.match(result.stdout, says, `${name}: ${result.stderr}`);
  const plans = sandbox.files().filter((file) => /^plans\/[^#]+$/.test(file))
    .map((file) => Deno.readTextFileSync(`${sandbox.stateDir}/${file}`));
  // A temporary plan names the call that asked for it.
  return plans.some((plan) => !plan.includes("sshs_asked"));
}

for (const [isKept, rows] of [[true, KEPT], [false, NOT_KEPT]] as const) {
  for (const [name, row] of Object.entries(rows)) {
    Deno.test(`${name}: a plan is ${isKept ? "kept" : "not kept"}`, async () => {
      assert.equal(await leavesPlan(name, row), isKept);
    });
  }
}

Deno.test("a plan that goes direct because of a slow Match exec lapses after an hour or two", async () => {
  const slow = ['Match exec "sleep 0.5"', "ServerAliveCountMax 7", "Match all"];
  await using scene = await Scene.open({ client: { config: slow } });
  const decisions = async () => {
    const before = scene.starts().length;
    assert.equal((await scene.ssh(["host", "echo hello"])).stdout, "hello\n");
    return scene.starts().length - before;
  };
  assert.deepEqual([await decisions(), await decisions()], [1, 0]);
  const [until] = scene.sandbox.files().filter((file) => /^stamps\/until\./.test(file));
  const path = `${scene.sandbox.stateDir}/${until}`;
  const left = Deno.statSync(path).mtime!.getTime() - Date.now();
  assert.ok(left > 0 && left <= 2 * 3600_000, `${left} ms`);
  Deno.utimeSync(path, new Date(), new Date(Date.now() - 1000));
  assert.deepEqual([await decisions(), await decisions()], [1, 0]);
});
