/**
 * What ends or stops a call before it has logged in, side by side with plain ssh: the status, the
 * terminal and what is left behind are the same.
 */
import assert from "node:assert/strict";
import { canMakeAccounts } from "./support/account.ts";
import { lockKey, PASSPHRASE } from "./support/questions.ts";
import type { Scene, SceneOptions } from "./support/scene.ts";
import { type Ending, SideBySide, type Terminal } from "./support/side_by_side.ts";
import { canAskForCodes } from "./support/sshd.ts";

const CALL = ["host", "echo logged in; exit 3"];

/** A point at which a call waits for the user or the server. */
interface Stop {
  options: SceneOptions;
  prepare?: (scene: Scene) => Promise<unknown>;
  /** Resolves when the call waits there. */
  reached(terminal: Terminal): Promise<void>;
  /** Lets the call go on to its login. */
  goOn(terminal: Terminal): void;
  ignore?: boolean;
}

const STOPS: Readonly<Record<string, Stop>> = {
  "the password prompt": {
    options: { passwords: true },
    reached: (terminal) => terminal.expect("password: "),
    goOn: (terminal) => terminal.type(`${terminal.user.password}\r`),
    ignore: !canMakeAccounts,
  },
  "the passphrase prompt": {
    options: {},
    prepare: lockKey,
    reached: (terminal) => terminal.expect(/Enter passphrase for key .*: /),
    goOn: (terminal) => terminal.type(`${PASSPHRASE}\r`),
  },
  "the host key prompt": {
    options: { client: { hostKeyChecking: "ask" } },
    reached: (terminal) => terminal.expect(/\(yes\/no.*\)\? /),
    goOn: (terminal) => terminal.type("yes\r"),
  },
  "the verification code prompt": {
    options: { codes: ["12345678"] },
    reached: (terminal) => terminal.expect("Verification code: "),
    goOn: (terminal) => terminal.type("12345678\r"),
    ignore: !canAskForCodes,
  },
  "a silent server": {
    options: { relay: {} },
    prepare: ({ relay }) => Promise.resolve(relay.cut()),
    reached: (terminal) => terminal.connected(),
    goOn: ({ scene }) => scene.relay.restore(),
  },
};

/** What ends a call. */
const ENDS: Readonly<Record<string, (terminal: Terminal) => void>> = {
  "Ctrl-C": (terminal) => terminal.type("\x03"),
  "Ctrl-C in the middle of an answer": (terminal) => terminal.type("half\x03"),
  "Ctrl-\\": (terminal) => terminal.type("\x1c"),
  SIGTERM: (terminal) => terminal.signal("SIGTERM"),
  SIGHUP: (terminal) => terminal.signal("SIGHUP"),
  "a closed terminal": (terminal) => terminal.hangUp(),
  SIGKILL: (terminal) => terminal.signal("SIGKILL"),
};

for (const [where, stop] of Object.entries(STOPS)) {
  for (const proxy of [false, true]) {
    const through = proxy ? " through a ProxyCommand" : "";

    Deno.test({
      name: `each signal at ${where}${through} ends a call as it ends plain ssh`,
      ignore: stop.ignore,
      fn: async (test) => {
        await using sides = await SideBySide.open({ ...stop.options, proxy }, stop.prepare);
        for (const [what, end] of Object.entries(ENDS)) {
          await test.step(what, async () => {
            const { plain, ours } = await sides.onTerminal(CALL, async (terminal) => {
              await stop.reached(terminal);
              end(terminal);
            });
            assert.deepEqual(seen(ours, what), seen(plain, what));
            assert.deepEqual([plain.left, plain.logins], [[], 0]);
            assert.notEqual(plain.code, 0);
          });
        }
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

const SHELL = ["bash", "--norc", "--noprofile", "-i"];

for (const [where, stop] of Object.entries(STOPS)) {
  // Plain ssh may miss Ctrl-Z at a prompt if its proxy is stopped first: its read is interrupted, but
  // restarts (SIGCHLD is caught with SA_RESTART, in misc.c).
  for (const proxy of stop.options.relay ? [false, true] : [false]) {
    const through = proxy ? " through a ProxyCommand" : "";

    Deno.test({
      name: `Ctrl-Z at ${where}${through} stops a call, and fg continues it, as with plain ssh`,
      ignore: stop.ignore,
      fn: async () => {
        await using sides = await SideBySide.open({ ...stop.options, proxy }, stop.prepare);
        const { plain, ours } = await sides.runOnTerminal(() => SHELL, async (terminal) => {
          await terminal.expect("$ ");
          terminal.type(`ssh -F ${terminal.scene.config} host 'echo "logged" in; exit 3'\r`);
          await stop.reached(terminal);
          terminal.type("\x1a");
          await terminal.expect("Stopped");
          await terminal.expect("$ ");
          terminal.type("fg\r");
          await terminal.expect("fg\r\n");
          // ssh asks again; a connection continues where it was.
          await stop.reached(terminal);
          stop.goOn(terminal);
          await terminal.expect("logged in\r\n");
          await terminal.expect("$ ");
          terminal.type('echo "=$?="; stty -a; exit\r');
        }, { PS1: "$ " });
        assert.deepEqual(withoutStop(ours), withoutStop(plain));
        assert.equal(plain.logins, 1);
        assert.match(plain.transcript, /\r=3=\r\n[^]*[^-]echo /);
      },
    });
  }
}

/** Removes line ends and the shell's message about the stop: ssh or the shell may print first. */
function withoutStop(ending: Ending): Ending {
  const transcript = ending.transcript.replace(/\[1\]\+ +Stopped[^\r]*/, "").replaceAll("\r\n", "");
  return { ...ending, transcript };
}
