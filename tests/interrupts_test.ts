/**
 * What ends or stops a call before it has logged in, side by side with plain ssh: the status, the
 * terminal and what is left behind are the same.
 */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { eventually } from "./support/eventually.ts";
import { isStopped, signal } from "./support/processes.ts";
import type { Pty } from "./support/pty.ts";
import { lockKey, PASSPHRASE } from "./support/questions.ts";
import type { Scene, SceneOptions } from "./support/scene.ts";
import { type Ending, type Script, SideBySide } from "./support/side_by_side.ts";
import { canAskForCodes } from "./support/sshd.ts";

const CALL = ["host", "echo logged in; exit 3"];

/** A point at which a call waits for the user or the server. */
interface Stop {
  options: SceneOptions;
  prepare?: (scene: Scene) => Promise<unknown>;
  /** Resolves when the call waits there. */
  reached: Script;
  /** Lets the call go on to its login. */
  goOn(pty: Pty, scene: Scene): void;
  ignore?: boolean;
}

const STOPS: Readonly<Record<string, Stop>> = {
  "the password prompt": {
    options: { passwords: true },
    reached: (pty) => pty.waitFor("password: "),
    goOn: (pty, { user }) => pty.write(`${user.password}\r`),
    ignore: !canMakeAccounts,
  },
  "the passphrase prompt": {
    options: {},
    prepare: lockKey,
    reached: (pty) => pty.waitFor(/Enter passphrase for key .*: /),
    goOn: (pty) => pty.write(`${PASSPHRASE}\r`),
  },
  "the host key prompt": {
    options: { client: { hostKeyChecking: "ask" } },
    reached: (pty) => pty.waitFor(/\(yes\/no.*\)\? /),
    goOn: (pty) => pty.write("yes\r"),
  },
  "the verification code prompt": {
    options: { codes: ["12345678"] },
    reached: (pty) => pty.waitFor("Verification code: "),
    goOn: (pty) => pty.write("12345678\r"),
    ignore: !canAskForCodes,
  },
  "a silent server": {
    options: { relay: {} },
    prepare: ({ relay }) => Promise.resolve(relay.cut()),
    reached: (_pty, _scene, connected) => connected(),
    goOn: (_pty, { relay }) => relay.restore(),
  },
};

/** What ends a call. */
const ENDS: Readonly<Record<string, (pty: Pty) => void>> = {
  "Ctrl-C": (pty) => pty.write("\x03"),
  "Ctrl-C in the middle of an answer": (pty) => pty.write("half\x03"),
  "Ctrl-\\": (pty) => pty.write("\x1c"),
  SIGTERM: ({ pid }) => signal([pid], "SIGTERM"),
  SIGHUP: ({ pid }) => signal([pid], "SIGHUP"),
  "a closed terminal": (pty) => pty.hangup(),
  SIGKILL: ({ pid }) => signal([pid], "SIGKILL"),
};

const SHELL = ["bash", "--norc", "--noprofile", "-i"];

for (const [where, { options, prepare, reached, goOn, ignore }] of Object.entries(STOPS)) {
  for (const proxy of [false, true]) {
    const at = `${where}${proxy ? " through a ProxyCommand" : ""}`;
    const open = () => SideBySide.open({ ...options, proxy }, prepare);

    Deno.test({
      name: `each signal at ${at} ends a call as it ends plain ssh`,
      ignore,
      fn: async (test) => {
        await using sides = await open();
        for (const [what, end] of Object.entries(ENDS)) {
          await test.step(what, async () => {
            const { plain, ours } = await sides.onTerminal(CALL, async (pty, scene, connected) => {
              await reached(pty, scene, connected);
              end(pty);
            });
            assert.deepEqual(seen(ours, what), seen(plain, what));
            assert.deepEqual([plain.left, plain.logins], [[], 0]);
            assert.notEqual(plain.code, 0);
          });
        }
      },
    });

    // Plain ssh may miss Ctrl-Z at a prompt if its proxy is stopped first: its read is interrupted, but
    // restarts (SIGCHLD is caught with SA_RESTART, in misc.c).
    if (proxy && !options.relay) continue;
    Deno.test({
      name: `Ctrl-Z at ${at} stops a call, and fg continues it, as with plain ssh`,
      ignore,
      fn: async () => {
        await using sides = await open();
        const { plain, ours } = await sides.runOnTerminal(
          () => SHELL,
          async (pty, scene, connected) => {
            await pty.waitFor("$ ");
            pty.write(`ssh -F ${scene.config} host 'echo "logged" in; exit 3'\r`);
            await reached(pty, scene, connected);
            pty.write("\x1a");
            await pty.waitFor("Stopped");
            await pty.waitFor("$ ");
            // ssh, which is stopped last, still discards what is typed before.
            await eventually("all of the job is stopped", () => isStopped(pty.pid));
            pty.write("fg\r");
            await pty.waitFor("fg\r\n");
            // ssh asks again; a connection continues where it was.
            await reached(pty, scene, connected);
            goOn(pty, scene);
            await pty.waitFor("logged in\r\n");
            await pty.waitFor("$ ");
            pty.write('echo "=$?="; stty -a; exit\r');
          },
          { PS1: "$ " },
        );
        assert.deepEqual(withoutStop(ours), withoutStop(plain));
        assert.equal(plain.logins, 1);
        assert.match(plain.transcript, /\r=3=\r\n[^]*[^-]echo /);
      },
    });
  }
}

/** What must be the same on both sides. A terminal that was closed shows nothing more. */
function seen(ending: Ending, what: string): Partial<Ending> {
  const { transcript: _, modes: __, ...rest } = ending;
  // A killed plain ssh leaves the terminal without echo, which nobody needs.
  return what === "SIGKILL" || what === "a closed terminal" ? rest : ending;
}

/** Removes line ends and the shell's message about the stop: ssh or the shell may print first. */
function withoutStop(ending: Ending): Ending {
  const transcript = ending.transcript.replace(/\[1\]\+ +Stopped[^\r]*/, "").replaceAll("\r\n", "");
  return { ...ending, transcript };
}
