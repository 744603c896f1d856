/** Leaves a plan for the launcher, where the same words would be decided the same way again. */
import { dirname } from "@std/path/posix/dirname";
import { dependsOnMore, watchedPaths } from "../ssh/config_files.ts";
import type { Shared } from "./decide.ts";
import { dependsOnDirectory, environmentNames } from "../ssh/identity.ts";
import { realPathOf } from "../os/files.ts";
import { type Lane, readRecord } from "../lane/lane.ts";
import { writePlan } from "../launcher/plan_file.ts";
import { networkFile, networkNamespace } from "../os/libc.ts";
import { takesPlace } from "./decision.ts";
import { VERSION } from "../os/program.ts";
import { isScript } from "../ssh/real_ssh.ts";
import type { SshConfig } from "../ssh/configuration.ts";
import type { System } from "../os/system.ts";
import { sleeperFile } from "../sleeper/sleeper_start.ts";

/** Variables by which the same words may lead elsewhere, whatever the configuration. */
const ALWAYS = [
  ...["PATH", "HOME", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME"],
  ...["SSHS_SSH", "SSHS_LINGER", "SSHS_MAX_SESSIONS"],
];

/** Writes the plan of a call that has found its lane, if it is one that can be kept. */
export function remember(
  shared: Shared,
  argv: readonly string[],
  lane: Lane,
  system: Pick<System, "env">,
): void {
  const { call } = shared;
  const record = readRecord(lane);
  // On a lane without linger, and for a wrapper that is a script, each call must look for itself.
  if (!record || record.linger === 0 || isScript(shared.ssh)) return;
  if (call.trailingOptions || !takesPlace(call)) return;
  if (call.options.some(({ value }) => dependsOnMore(value ?? ""))) return;
  const files = configFiles(shared, system);
  const configs = configsOf(shared);
  if (!files || configs.some(dependsOnDirectory)) return;
  const names = [...ALWAYS, ...configs.flatMap(environmentNames)];
  writePlan(shared.stateDir, {
    leading: argv.slice(0, call.leading),
    ssh: shared.ssh,
    socket: lane.socket,
    verified: lane.verified,
    leases: lane.leases,
    sleeper: sleeperFile(shared.stateDir),
    maxSessions: record.maxSessions,
    watch: files.watch,
    pins: [...files.pins, ...networkPins(record.pid)],
    environment: Object.fromEntries(names.map((name) => [name, system.env(name)])),
    version: VERSION,
  }, shared.since);
}

/** The configuration of the call, and of each jump host. */
function configsOf(shared: Shared): SshConfig[] {
  return [shared.config, ...(shared.jump ? configsOf(shared.jump.shared) : [])];
}

/**
 * The files that the decision was read from, and the directories in which one could appear or be
 * replaced by an older one. `undefined` where they are not all it depends on.
 */
function configFiles(shared: Shared, system: Pick<System, "env">) {
  const home = system.env("HOME");
  if (!home) return undefined;
  const watch = new Set<string>();
  const pins: { link: string; target: string }[] = [];
  if (!shared.call.options.some(({ letter }) => letter === "F")) {
    for (const dir of [`${home}/.ssh`, "/etc/ssh"]) watch.add(dir);
    for (const file of [`${home}/.ssh/config`, "/etc/ssh/ssh_config"]) watch.add(file);
  }
  if (shared.settingsPath) watch.add(shared.settingsPath);
  for (const { path: file, text } of shared.texts) {
    if (!file.startsWith("/") || dependsOnMore(text)) return undefined;
    const target = realPathOf(file);
    if (target === undefined) return undefined;
    if (target !== file) pins.push({ link: file, target });
    for (const path of [file, dirname(file), dirname(target), ...watchedPaths(file, text, home)]) {
      watch.add(path);
    }
  }
  return { watch: [...watch], pins };
}

/** The launcher must be in the network that the master is in. */
function networkPins(master: number): { link: string; target: string }[] {
  if (networkNamespace() === undefined) return [];
  return [{ link: networkFile("self"), target: networkFile(master) }];
}
