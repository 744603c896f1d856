/**
 * A control command (`-O check|exit|stop|forward|...`) to the lanes of an identity, from a caller that
 * names no control socket. Tools that control a connection master (ansible's reset_connection, deploy
 * scripts) thus work as with a ControlPath. ssh itself talks to the newest lane, so messages and exit
 * statuses are its own; `exit` and `stop` apply to all lanes of the identity.
 */
import { closeLane } from "../lane/closing.ts";
import { isOpen, retire } from "../lane/lane.ts";
import { identityDir, type Lane, lanesOf } from "../lane/layout.ts";
import { createText, exists } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { parseSshArgs, type SshOption, withoutOptions } from "../ssh/arguments.ts";
import { parseConfigOption } from "../ssh/config_text.ts";
import { readConfig } from "../ssh/configuration.ts";
import { decide, type DecideSystem } from "./decide.ts";
import { putMasterAside } from "./rules.ts";
import { readSettingsFile, settingsOf } from "./settings.ts";

export interface Control {
  readonly command: string;
  /** The lane that ssh talks to: the newest open one. */
  readonly lane: Lane;
  /** All others, open or retired. */
  readonly others: readonly Lane[];
}

/** The commands in mux.c and ssh.c, up to 10.5. */
const COMMANDS = ["check", "exit", "stop", "forward", "cancel", "proxy", "conninfo", "channels"];

/** The options that say what the master must do, but not which master. */
const OF_REQUEST = "ODLR";

/**
 * Returns the lanes that the call talks to; `undefined` if it has no -O, names its own socket, or there is
 * no lane.
 */
export async function controlOf(
  argv: readonly string[],
  given: Given,
  system: DecideSystem,
): Promise<Control | undefined> {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") return undefined;
  const call = putMasterAside(args, settingsOf(args, readSettingsFile(system), system));
  const command = call.options.find(({ letter }) => letter === "O")?.value;
  if (command === undefined || !COMMANDS.includes(command)) return undefined;
  if (call.options.some(namesSocket)) return undefined;
  const session = withoutOptions(call, ({ letter }) => OF_REQUEST.includes(letter));
  const decision = await decide(session, given, system);
  if (decision.kind === "direct") return undefined;
  const lanes = lanesOf(identityDir(decision)).sort((a, b) => Number(b.name) - Number(a.name));
  const lane = lanes.find((lane) => isOpen(lane) && exists(lane.socket));
  const answer = lane && await readConfig(given.ssh, call, system);
  if (answer?.kind !== "config") return undefined;
  // The user's own master, from their configuration, takes precedence.
  const own = answer.config.get("controlpath") ?? "none";
  if (own !== "none" && exists(own)) return undefined;
  return lane && { command, lane, others: lanes.filter((other) => other !== lane) };
}

function namesSocket({ letter, value = "" }: SshOption): boolean {
  return letter === "S" || (letter === "o" && parseConfigOption(value).key === "controlpath");
}

/**
 * Does for the other lanes what ssh will do for the newest, and makes sure that the next call finds no lane
 * that was told to end. `pid` is the process that becomes ssh: its lease keeps the lane until ssh is done.
 */
export async function prepareControl(
  { command, lane, others }: Control,
  pid: number,
  system: Pick<System, "births" | "isAlive" | "kill">,
): Promise<void> {
  createText(`${lane.leases}/${pid}.via`, "");
  if (command !== "exit" && command !== "stop") return;
  retire(lane);
  await Promise.all(others.map((other) => closeLane(other, system, { now: command === "exit" })));
}
