/** Every question that ssh asks, side by side with plain ssh: how it looks, and what an answer does. */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { Agent, useAgentAlone } from "./support/agent.ts";
import { isThere } from "./support/is_there.ts";
import { lockKey, PASSPHRASE } from "./support/questions.ts";
import { run } from "./support/programs.ts";
import type { Scene, SceneOptions } from "./support/scene.ts";
import { type Ending, SideBySide } from "./support/side_by_side.ts";
import { canAskForCodes } from "./support/sshd.ts";

const CALL = ["host", "echo logged in; exit 3"];

/** A question, and what the user does: a prompt, and the answer to it. */
interface Question {
  options?: SceneOptions;
  prepare?: (scene: Scene) => Promise<unknown>;
  dialogue: readonly (readonly [prompt: string | RegExp, answer: string])[];
  /** What the terminal has shown; by default that the call went on. */
  shows?: RegExp;
  /** What was typed in secret, beside the account's password. */
  secret?: string;
  refused?: boolean;
  can?: boolean;
}

const PASSWORD = /password: /i;
const WRONG = [PASSWORD, "wrong answer"] as const;
const RIGHT = [PASSWORD, "PASSWORD"] as const;
const LOCKED = /Enter passphrase for key .*: /;
const CODE = "Verification code: ";
const UNKNOWN = { client: { hostKeyChecking: "ask" } } as const;

/** PASSWORD and FINGERPRINT in an answer stand for the account's and the server's. */
const QUESTIONS: Readonly<Record<string, Question>> = {
  "a password, again after a wrong one": {
    options: { passwords: true },
    dialogue: [WRONG, RIGHT],
    secret: "wrong answer",
    can: canMakeAccounts,
  },
  "a password by keyboard-interactive, again after a wrong one": {
    options: { keyboardInteractive: true },
    dialogue: [WRONG, RIGHT],
    secret: "wrong answer",
    can: canMakeAccounts,
  },
  "a password, answered wrongly three times": {
    options: { keyboardInteractive: true },
    dialogue: [WRONG, WRONG, WRONG],
    shows: /Permission denied \(/,
    refused: true,
    can: canMakeAccounts,
  },
  "a key's passphrase, again after a wrong one": {
    prepare: lockKey,
    dialogue: [[LOCKED, "wrong answer"], [LOCKED, PASSPHRASE]],
    secret: PASSPHRASE,
  },
  "a code, with echo, again after a wrong one": {
    options: { codes: ["12345678"] },
    dialogue: [[CODE, "00000000"], [CODE, "12345678"]],
    shows: /Verification code: 00000000\r\n[^]*code: 12345678\r\n/,
    can: canAskForCodes,
  },
  "whether to trust a host key, answered yes after another word": {
    options: UNKNOWN,
    dialogue: [
      [/authenticity of host [^]*\(yes\/no.*\)\? /, "what"],
      ["Please type 'yes', 'no' or the fingerprint: ", "yes"],
    ],
    shows: /yes\r\nWarning: Permanently added [^\n]*\nlogged in\r\n$/,
  },
  "whether to trust a host key, answered by its fingerprint": {
    options: UNKNOWN,
    dialogue: [["(yes/no", "FINGERPRINT"]],
  },
  "whether to trust a host key, answered no": {
    options: UNKNOWN,
    dialogue: [["(yes/no", "no"]],
    shows: /Host key verification failed\.\r+\n$/,
    refused: true,
  },
};

for (const [what, question] of Object.entries(QUESTIONS)) {
  const { options, prepare, dialogue, shows = /./, secret, refused, can = true } = question;
  Deno.test({
    name: `ssh asks for ${what}, as plain ssh does, and secrets are not shown`,
    ignore: !can,
    fn: async () => {
      await using sides = await SideBySide.open(options, prepare);
      const ending = await sides.assertSame(CALL, async (pty, scene) => {
        for (const [prompt, answer] of dialogue) {
          await pty.waitFor(prompt);
          const text = answer.replace("PASSWORD", `${scene.user.password}`)
            .replace("FINGERPRINT", await fingerprintOf(scene));
          pty.write(`${text}\r`);
        }
      });
      if (refused) assert.equal(ending.code, 255);
      else assertLoggedIn(ending);
      assert.match(ending.transcript, shows);
      for (const text of [secret, sides.ours.user.password]) {
        assert.ok(!text || !ending.transcript.includes(text), ending.transcript);
      }
    },
  });
}

function assertLoggedIn({ transcript, code, left, logins }: Ending): void {
  assert.match(transcript, /(^|\n)logged in\r\n$/);
  assert.deepEqual({ code, left, logins }, { code: 3, left: [], logins: 1 });
}

async function fingerprintOf({ sshd }: Scene): Promise<string> {
  return (await run("ssh-keygen", ["-l", "-f", `${sshd.dir}/host_key`])).split(" ")[1];
}

Deno.test("a question reaches the terminal even if no stream of the call is one", async () => {
  await using sides = await SideBySide.open(UNKNOWN);
  const script = 'echo input | ssh -F "$0" host cat 2>err | cat >out; cat out err';
  const { plain, ours } = await sides.runOnTerminal(
    (scene) => ["sh", "-c", script, scene.config],
    async (pty) => {
      await pty.waitFor("(yes/no");
      pty.write("yes\r");
    },
  );
  assert.deepEqual(ours, plain);
  assert.match(plain.transcript, /input\r\nWarning: Permanently added [^\n]*\n$/);
});

for (const answer of ["yes", "no"]) {
  Deno.test(`${answer} to an agent that asks for confirmation has the same effect as under plain ssh`, async () => {
    await using sides = await SideBySide.open();
    await using _plain = await startAskingAgent(sides.plain, answer);
    await using _ours = await startAskingAgent(sides.ours, answer);
    const ending = await sides.assertSame(CALL, async () => {});
    if (answer === "yes") assertLoggedIn(ending);
    else assert.match(ending.transcript, /agent refused operation[^]*Permission denied/);
    for (const { sandbox } of [sides.plain, sides.ours]) {
      assert.match(Deno.readTextFileSync(`${sandbox.dir}/asked`), /^Allow use of key .*\?$/m);
    }
  });
}

/** Starts an agent that asks a program before each use of the key; the client has the key only from there. */
async function startAskingAgent(scene: Scene, answer: string): Promise<Agent> {
  const { sandbox, sshd } = scene;
  const status = answer === "yes" ? 0 : 1;
  const askpass = await sandbox.addProgram(
    "agent-askpass",
    `echo "$1" >>${sandbox.dir}/asked; echo ${answer}; exit ${status}`,
  );
  const env = { SSH_ASKPASS: askpass, SSH_ASKPASS_REQUIRE: "force", DISPLAY: ":99" };
  const agent = await Agent.start(sandbox, env);
  const key = `${sandbox.dir}/agent_key`;
  await Deno.copyFile(`${sshd.dir}/user_key`, key);
  await agent.add("-c", key);
  await Deno.remove(key);
  await useAgentAlone(scene);
  return agent;
}

/** Whether ssh asks the terminal, if it has one, or the user's own program (ssh(1)). */
const ASKPASS: readonly [env: Record<string, string>, asksTerminal: boolean][] = [
  [{}, true],
  [{ SSH_ASKPASS_REQUIRE: "never" }, true],
  [{ SSH_ASKPASS_REQUIRE: "prefer" }, false],
  [{ SSH_ASKPASS_REQUIRE: "prefer", DISPLAY: "" }, true],
  [{ SSH_ASKPASS_REQUIRE: "force" }, false],
  [{ SSH_ASKPASS_REQUIRE: "force", DISPLAY: "" }, false],
];

/** Adds an askpass that answers with the password and records what it was asked. */
async function addAskpass({ sandbox, user }: Scene): Promise<void> {
  const script = `echo "$1" >>${sandbox.dir}/asked; echo '${user.password}'`;
  sandbox.env.SSH_ASKPASS = await sandbox.addProgram("own-askpass", script);
  sandbox.env.DISPLAY = ":99";
}

function askedBy({ sandbox }: Scene): string {
  const path = `${sandbox.dir}/asked`;
  return isThere(path) ? Deno.readTextFileSync(path) : "";
}

for (const [env, asksTerminal] of ASKPASS) {
  const setting = JSON.stringify(env).replaceAll('"', "");
  Deno.test({
    name: `with ${setting} ${asksTerminal ? "the terminal" : "the user's askpass"} is asked`,
    ignore: !canMakeAccounts,
    fn: async () => {
      await using sides = await SideBySide.open({ passwords: true }, addAskpass);
      const ending = await sides.assertSame(CALL, async (pty, { user }) => {
        if (!asksTerminal) return;
        await pty.waitFor("password: ");
        pty.write(`${user.password}\r`);
      }, env);
      assertLoggedIn(ending);
      for (const scene of [sides.plain, sides.ours]) {
        assert.equal(askedBy(scene) !== "", !asksTerminal);
      }
    },
  });
}

Deno.test({
  name: "without a terminal the user's askpass is asked, whatever SSH_ASKPASS_REQUIRE says",
  ignore: !canMakeAccounts,
  fn: async () => {
    for (const env of [{}, { SSH_ASKPASS_REQUIRE: "prefer" }, { SSH_ASKPASS_REQUIRE: "force" }]) {
      await using sides = await SideBySide.open({ passwords: true }, addAskpass);
      const { code, stdout } = await sides.assertSameWithout(CALL, { env });
      assert.deepEqual([code, stdout], [3, "logged in\n"]);
      assert.equal(askedBy(sides.ours), askedBy(sides.plain));
    }
  },
});

Deno.test({
  name: "without a terminal or an askpass a call that would have to ask fails as ssh does",
  ignore: !canMakeAccounts,
  fn: async () => {
    const servers = [{ passwords: true }, { keyboardInteractive: true }, UNKNOWN];
    for (const options of servers) {
      await using sides = await SideBySide.open(options);
      const { code, stderr } = await sides.assertSameWithout(CALL);
      assert.equal(code, 255);
      assert.match(stderr, /Permission denied|Host key verification failed/);
    }
    await using sides = await SideBySide.open({}, lockKey);
    assert.equal((await sides.assertSameWithout(CALL)).code, 255);
  },
});

Deno.test({
  name: "BatchMode asks nothing, not even on a terminal",
  ignore: !canMakeAccounts,
  fn: async () => {
    await using sides = await SideBySide.open({ passwords: true });
    const ending = await sides.assertSame(["-oBatchMode=yes", ...CALL], async () => {});
    assert.equal(ending.code, 255);
    assert.match(ending.transcript, /Permission denied/);
  },
});
