/** What a decision depends on, as far as a shell can test it. */
import { makeDir, writeWhole } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { inPath } from "../os/program.ts";
import type { System } from "../os/system.ts";
import { includedPaths } from "../ssh/config_text.ts";
import { environmentNames, runsOthers, variablesIn } from "../ssh/environment.ts";
import { proxyPrograms } from "../ssh/identity.ts";
import { isLauncher } from "../ssh/real_ssh.ts";
import { sentNames } from "../ssh/request_size.ts";
import { type Watch, watchesOf } from "../ssh/watches.ts";
import { type Basis, callsOf, type Direct, type Shared } from "./decision.ts";

/** What a plan depends on. The launcher tests all of it. */
export interface Conditions {
  /** The job that the call belongs to: Given.job. */
  readonly job: string;
  /** Variables and their required values; `undefined` means unset. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /**
   * Variables that may be secrets, or are long. A plan has only a checksum of them all, cksum(1)'s, from which they
   * cannot be found out.
   */
  readonly hidden?: { readonly names: readonly string[]; readonly sum: string };
  /** Variables that are in none of these, and that the session does not own, must not be set. */
  readonly isWhole?: boolean;
  /** Variables that a session sends; their total length is limited. */
  readonly sent: readonly string[] | "all";
  /** A file in the state directory whose mtime is when the plan lapses. */
  readonly lapses?: string;
  /** Missing if a file has changed so recently that a later change could not be told apart. */
  readonly watches?: readonly Watch[];
}

/** Variables that may change where the same arguments lead, whatever the configuration. */
const ALWAYS = [
  ...["PATH", "HOME", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME"],
  ...["SSHS_SSH", "SSHS_LINGER", "SSHS_MAX_SESSIONS"],
];

/**
 * Returns what a decision depends on; `undefined` if that is more than the launcher can test, so that each
 * call must be decided anew.
 */
export async function conditionsOf(
  decision: Shared | Direct,
  { job, ssh, stateDir }: Pick<Given, "job" | "ssh" | "stateDir">,
  system: Pick<System, "env" | "environment" | "run">,
): Promise<Conditions | undefined> {
  const isShared = decision.kind === "share";
  const calls = isShared ? callsOf(decision) : decision.basis ? [decision.basis] : [];
  if (calls.length === 0 || (isShared && !decision.isWatchable)) return undefined;
  const [{ since }] = calls;
  const paths = pathsOf(calls, ssh, system);
  const watches = paths && await watchesOf(paths, { stamps: `${stateDir}/stamps`, since }, system);
  const environment = system.environment();
  // Behind all jump hosts one call connects by itself.
  const hops = isShared ? calls.map((call, i) => ({ ...call, hasJump: i < calls.length - 1 })) : [];
  const names = hops.flatMap((hop) => environmentNames(hop.config, environment, hop));
  const said = calls.flatMap(({ texts }) => texts.flatMap(({ text }) => variablesIn(text)));
  // A function that bash exports has a name that sh cannot test.
  const tested = [...new Set([...ALWAYS, ...names, ...said])].filter((name) => /^\w+$/.test(name));
  const secrets = tested.filter((name) => isHidden(name, environment[name]));
  const hidden = secrets.length > 0 ? await hide(secrets, system) : undefined;
  if (!paths || (secrets.length > 0 && !hidden)) return undefined;
  const shown = tested.filter((name) => !secrets.includes(name));
  return {
    job,
    environment: Object.fromEntries(shown.map((name) => [name, environment[name] || undefined])),
    hidden,
    isWhole: hops.some((hop) => runsOthers(hop.config, hop)),
    sent: isShared ? sentNames(decision.config) : [],
    // Going direct is never wrong, but the result of a Match exec, or the time it takes, may change.
    lapses: calls.some(({ lapses, mayChange }) => lapses || mayChange)
      ? stampHour(stateDir, since)
      : undefined,
    watches,
  };
}

/** Names of variables that may hold what must not stand in a file. */
const SECRET = /AUTH(?!_SOCK|ORITY)|COOKIE|CREDENTIAL|KEY|(?<!ASK)PASS|PRIVATE|SECRET|TOKEN/i;

/** Values up to this length stand in a plan. */
const MAX_VALUE = 1000;

function isHidden(name: string, value: string | undefined): boolean {
  return value !== undefined && name !== "PATH" && (SECRET.test(name) || value.length > MAX_VALUE);
}

/** Returns the checksum of these variables; `undefined` if there is no cksum(1). */
async function hide(names: readonly string[], system: Pick<System, "run">) {
  const { stdout } = await system.run("/bin/sh", ["-c", checksumOf(names)]);
  return stdout === "" ? undefined : { names, sum: stdout.trim() };
}

/** Returns the command line of sh that prints a checksum of these variables. */
export function checksumOf(names: readonly string[]): string {
  const values = names.map((name) => `"\${${name}-}"`).join(" ");
  return `printf '%s\\n' ${values} | command -p cksum`;
}

const HOUR = 3600_000;

/** Makes the file whose mtime is an hour or two after `since`, and returns its path in the state directory. */
function stampHour(stateDir: string, since: number): string {
  const hour = Math.floor(since / HOUR) + 2;
  const path = `${stateDir}/stamps/until.${hour}`;
  makeDir(`${stateDir}/stamps`);
  writeWhole(path, "", { mtime: hour * HOUR });
  return path.slice(stateDir.length + 1);
}

/**
 * Returns the files that the decision was read from, whether or not they exist, and the directories in which
 * one could appear. Returns `undefined` if we cannot name the files.
 */
function pathsOf(
  calls: readonly Basis[],
  ssh: string,
  system: Pick<System, "env">,
): string[] | undefined {
  const paths = programsBefore(ssh, system.env("PATH"));
  for (const { call, config, files = [], settings, texts } of calls) {
    // ssh uses the user's entry in passwd(5), whatever HOME is (they differ in some CI containers).
    const home = config.tokens.get("d") ?? system.env("HOME");
    if (!home || !texts.every(({ path }) => path.startsWith("/"))) return undefined;
    paths.push(...files, ...proxyPrograms(config, system.env("PATH")));
    if (settings) paths.push(settings.path);
    if (!call.options.some(({ letter }) => letter === "F")) {
      paths.push(`${home}/.ssh/config`, "/etc/ssh/ssh_config");
    }
    paths.push(...texts.flatMap(({ path, text }) => [path, ...includedPaths(path, text, home)]));
  }
  return paths;
}

/**
 * Returns the real ssh, and where another one could appear before it: it would be the real one then. There are
 * launchers of ours among these places, which may have been installed just now.
 */
function programsBefore(ssh: string, path?: string): string[] {
  const places = inPath("ssh", path);
  // The launcher keeps a slash at the end of a directory.
  const found = places.indexOf(ssh.replace(/\/+/g, "/"));
  const before = places.slice(0, Math.max(0, found));
  return [...before.filter((place) => !isLauncher(place)), ssh];
}
