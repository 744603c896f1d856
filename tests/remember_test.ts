/** Which calls leave a plan for the launcher: none whose words could be answered otherwise next time. */
import assert from "node:assert/strict";
import { eventually } from "./support/eventually.ts";
import { needProgram } from "./support/programs.ts";
import { Sandbox } from "./support/sandbox.ts";
import { type ClientOptions, Sshd } from "./support/sshd.ts";

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
  "a jump host": { client: { aliases: ["inner"] }, words: THROUGH_HOST },
};

const NOT_KEPT: Record<string, Row> = {
  "Match exec": config("Match exec true", "ServerAliveCountMax 7", "Match all"),
  "Match exec that is not met": config("Match exec false", "ServerAliveCountMax 7", "Match all"),
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
  "an option after the host": { words: (config) => ["-F", config, "host", "-T", "echo hello"] },
  "a channel that is no session": {
    words: (config) => ["-F", config, "-W", "127.0.0.1:%p", "host"],
    says: /^SSH-2\.0-/,
  },
  "no linger": { env: { SSHS_LINGER: "0" } },
  "a script as the real ssh": { env: { SSHS_SSH: "a script" } },
  "no HOME": { env: { HOME: undefined } },
};

Deno.test("a call leaves a plan, unless it may be answered otherwise the next time", async () => {
  await using sshd = await Sshd.start();
  await using sandbox = await Sandbox.create();
  const script = await sandbox.addProgram("my-ssh", `exec '${needProgram("ssh")}' "$@"`);
  const plansOf = () => sandbox.files().filter((file) => /^plans\/./.test(file));

  /** Makes the call; resolves to whether it has left a plan. */
  async function leavesPlan(name: string, row: Row, path: string): Promise<boolean> {
    for (const plan of plansOf()) Deno.removeSync(`${sandbox.stateDir}/${plan}`);
    const { words = options().words!, says = /^hello\n$/, env } = row;
    const result = await sandbox.sshs(words(path).map((w) => w.replace("%p", `${sshd.port}`)), {
      env: { ...env, ...env?.SSHS_SSH && { SSHS_SSH: script } },
    });
    assert.match(result.stdout, says, `${name}: ${result.stderr}`);
    return plansOf().length > 0;
  }

  for (const [name, row] of Object.entries(KEPT)) {
    const path = await sshd.writeConfig(row.client);
    // More than one call, since a sleeper that was kept waiting forgets all plans.
    await eventually(`a plan for ${name}`, () => leavesPlan(name, row, path), { deadline: 20_000 });
  }
  for (const [name, row] of Object.entries(NOT_KEPT)) {
    assert.equal(await leavesPlan(name, row, await sshd.writeConfig(row.client)), false, name);
  }
});
