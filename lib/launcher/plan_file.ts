/**
 * The plan cache: what main.ts leaves behind for `launcher.sh`, so that the same leading arguments
 * need no Deno next time.
 */
import { isSystemError } from "../os/files.ts";

/** A call that was decided once, and everything that the decision rests on. Paths are absolute. */
export interface CachedPlan {
  /** The words of argv, up to and including the destination, that the plan is for. */
  leading: readonly string[];
  /** The real ssh. */
  ssh: string;
  socket: string;
  verified: string;
  leases: string;
  /** The file whose first line is the sleeper's pid. */
  sleeper: string;
  /** Live leases that the lane takes, this call's own included. */
  maxSessions: number;
  /**
   * Files and directories that the decision was read from. The plan is void once one of them is
   * newer than it, appears or vanishes.
   */
  watch: readonly string[];
  /** The watched paths that do not exist; `writePlan` looks itself. */
  absent?: readonly string[];
  /** Pairs that must be the same file (test's `-ef`). */
  pins: readonly { link: string; target: string }[];
  /**
   * Variables that must be exactly this, `undefined` standing for unset. PATH has to be there, as
   * it decides which ssh is the real one.
   */
  environment: Readonly<Record<string, string | undefined>>;
  /** The version of sshs; another version's plans do not hold. */
  version: string;
}

/** Longest key in bytes: a file's name has 255, and writePlan's temporary one is longer. */
const MAX_KEY = 200;

/** These change a decision whenever they are set, so a plan holds them even if it was not told to. */
const OWN_VARIABLES = { SSHS_SSH: undefined, SSHS_LINGER: undefined, SSHS_MAX_SESSIONS: undefined };

/**
 * How much older than the look at its configuration a plan pretends to be, in ms. Some shells
 * compare whole seconds, so a file changed in the second after the look must count as newer.
 */
const BACKDATE = 2000;

/**
 * The file name of the plan for these leading words, or undefined when they cannot have one: too
 * long, empty, or with a character outside of the launcher's alphabet. No two lists of words have
 * the same key, though a file system without upper case may take two for the same name; the plan
 * says for which it is.
 */
export function planKey(leading: readonly string[]): string | undefined {
  if (leading.length === 0 || !leading.every((word) => /^[A-Za-z0-9@%+=:,./_~ -]+$/.test(word))) {
    return undefined;
  }
  const key = leading.join("!").replaceAll("/", "^");
  return key.length <= MAX_KEY ? key : undefined;
}

/**
 * The text as one word of sh in single quotes, whatever is in it. Undefined for a text that no
 * shell can hold (NUL) or that Deno could not hold: U+FFFD stands where an argument or a path was
 * not valid UTF-8, so the bytes meant are unknown.
 */
export function quote(text: string): string | undefined {
  if (!text.isWellFormed() || /[\0\uFFFD]/.test(text)) return undefined;
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/**
 * The plan as `launcher.sh` reads it: tests joined by `&&`, then the assignments that it needs. It
 * is sourced, so all that is not ours in it is quoted, and what cannot be quoted, or is no absolute
 * path, or no variable's name, makes the whole plan undefined.
 */
export function planText(plan: CachedPlan): string | undefined {
  const key = planKey(plan.leading);
  const environment = Object.entries({ ...OWN_VARIABLES, ...plan.environment });
  const paths = [
    ...[plan.ssh, plan.socket, plan.verified, plan.leases, plan.sleeper],
    ...plan.watch,
    ...plan.pins.flatMap(({ link, target }) => [link, target]),
  ];
  const values = [...paths, plan.version, ...environment.map(([, value]) => value ?? "")];
  if (
    key === undefined || plan.environment.PATH === undefined ||
    !Number.isSafeInteger(plan.maxSessions) ||
    !paths.every((path) => path.startsWith("/")) ||
    !environment.every(([name]) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) ||
    values.some((value) => quote(value) === undefined)
  ) return undefined;

  const tests = [
    `[ "$sshs_version" = ${quote(plan.version)} ]`,
    `[ "$sshs_key" = ${quote(key)} ]`,
    // The colon tells a variable that is empty from one that is not set.
    ...environment.map(([name, value]) =>
      `[ "\${${name}+:}\${${name}-}" = ${quote(value === undefined ? "" : `:${value}`)} ]`
    ),
    ...plan.watch.map((path) =>
      plan.absent?.includes(path)
        ? `[ ! -e ${quote(path)} ]`
        : `[ -e ${quote(path)} ] && [ ! ${quote(path)} -nt "$sshs_plan" ]`
    ),
    ...plan.pins.map(({ link, target }) => `[ ${quote(link)} -ef ${quote(target)} ]`),
  ];
  const assignments = [
    `sshs_ssh=${quote(plan.ssh)}`,
    `sshs_socket=${quote(plan.socket)}`,
    `sshs_verified=${quote(plan.verified)}`,
    `sshs_leases=${quote(plan.leases)}`,
    `sshs_sleeper=${quote(plan.sleeper)}`,
    `sshs_free=${plan.maxSessions}`,
  ];
  return `${tests.join(" &&\n")} &&\n${assignments.join(" ")}\n`;
}

/**
 * Puts the plan into `<directory>/plans`, all or nothing, readable for its owner alone. `since` is
 * when the configuration was looked at (ms since the epoch, taken before `ssh -G` starts): whatever
 * changes after it makes the plan void.
 *
 * Returns false when there cannot be such a plan, or the system refused to write it: the call goes
 * on without. Throws only what is a fault of ours, such as a permission that Deno was not given.
 */
export function writePlan(directory: string, plan: CachedPlan, since: number): boolean {
  const key = planKey(plan.leading);
  if (key === undefined) return false;
  const absent = plan.watch.filter((path) => !exists(path));
  const text = planText({ ...plan, absent });
  if (text === undefined) return false;
  // "#" is not in the alphabet: this is never the name of another plan.
  const temporary = `${directory}/plans/${key}#${Deno.pid}`;
  try {
    makePlans(`${directory}/plans`);
    Deno.writeTextFileSync(temporary, text, { mode: 0o600 });
    const mtime = new Date(since - BACKDATE);
    Deno.utimeSync(temporary, mtime, mtime);
    Deno.renameSync(temporary, `${directory}/plans/${key}`);
    return true;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    remove(temporary);
    return false;
  }
}

function makePlans(path: string): void {
  try {
    Deno.mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
}

/** As the shell's `-e`: a link that leads nowhere does not exist, nor does what we may not see. */
function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch (error) {
    if (isSystemError(error)) return false;
    throw error;
  }
}

function remove(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!isSystemError(error)) throw error;
  }
}
