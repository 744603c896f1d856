/**
 * A control command (`-O check|exit|stop|forward|...`) to the lanes of an identity, from a caller that
 * names no control socket. Tools that control a connection master (ansible's reset_connection, deploy
 * scripts) thus work as with a ControlPath. ssh itself talks to the newest lane, so messages and exit
 * statuses are its own; `exit` and `stop` apply to all lanes of the identity.
 */
import { isOpen, retire } from "../lane/lane.ts";
import { identityDir, lanesOf } from "../lane/layout.ts";
import { closeLane } from "../lane/master.ts";
import { createText, exists } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { hostOf, parseSshArgs, type SshOption, withoutOptions } from "../ssh/arguments.ts";
import { parseConfigOption } from "../ssh/config_text.ts";
import { readConfig } from "../ssh/configuration.ts";
import { decide, type DecideSystem } from "./decide.ts";
import { putMasterAside } from "./rules.ts";
import { readSettingsFile, settingsFor } from "./settings.ts";

/** The commands in mux.c and ssh.c, up to 10.5. */
const COMMANDS = ["check", "exit", "stop", "forward", "cancel", "proxy", "conninfo", "channels"];

/** The options that say what the master must do, but not which master. */
const OF_REQUEST = "ODLR";

/**
 * Returns the socket of the lane that the call talks to; `undefined` if it has no -O, names its own socket, or
 * there is no lane. Does for the other lanes what ssh will do for that one, and makes sure that the next call
 * finds no lane that was told to end.
 *
 * @param pid the process that becomes ssh: its lease keeps the lane until ssh is done; without it nothing is done
 */
export async function controlSocket(
  argv: readonly string[],
  pid: number | undefined,
  given: Given,
  system: DecideSystem & Pick<System, "births" | "isAlive" | "kill">,
): Promise<string | undefined> {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") return undefined;
  const command = args.options.find(({ letter }) => letter === "O")?.value;
  if (command === undefined || !COMMANDS.includes(command)) return undefined;
  const settings = settingsFor(hostOf(args.destination), readSettingsFile(system), system);
  const call = putMasterAside(args, settings);
  if (call.options.some(namesSocket)) return undefined;
  const session = withoutOptions(call, ({ letter }) => OF_REQUEST.includes(letter));
  const decision = await decide(session, given, system);
  if (decision.kind === "direct") return undefined;
  const lanes = lanesOf(identityDir(decision)).sort((a, b) => Number(b.name) - Number(a.name));
  const newest = lanes.find((lane) => isOpen(lane) && exists(lane.socket));
  const answer = newest && await readConfig(given.ssh, call, system);
  if (answer?.kind !== "config") return undefined;
  // The user's own master, from their configuration, takes precedence.
  const own = answer.config.get("controlpath") ?? "none";
  if (!newest || (own !== "none" && exists(own))) return undefined;
  if (pid !== undefined) createText(`${newest.leases}/${pid}.via`, "");
  if (pid !== undefined && (command === "exit" || command === "stop")) {
    retire(newest);
    const others = lanes.filter((lane) => lane !== newest);
    await Promise.all(others.map((lane) => closeLane(lane, system, { now: command === "exit" })));
  }
  return newest.socket;
}

function namesSocket({ letter, value = "" }: SshOption): boolean {
  return letter === "S" || (letter === "o" && parseConfigOption(value).key === "controlpath");
}
