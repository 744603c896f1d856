/**
 * The user's settings: `$XDG_CONFIG_HOME/sshs/config.json` and the environment. Pure, except for
 * `readSettingsFile`.
 *
 *     { "linger": "10m", "maxAge": "8h", "maxSessions": 10, "share": true,
 *       "hosts": [{ "host": "*.example.com !bastion.example.com", "linger": 0, "share": false }] }
 *
 * They fail closed: of settings with a mistake in them nobody knows what they forbid. The mistake is said, and
 * nothing is shared until it is corrected.
 */
import { isSystemError, readText, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";

/** An entry of "hosts", or what the file says for all hosts ("*"). */
interface Rule {
  readonly host: string;
  /**
   * Seconds that a lane stays after its last session (Infinity: forever), unless ssh_config's
   * ControlPersist says otherwise.
   */
  readonly linger?: number;
  /** Seconds after which a lane takes no more sessions; Infinity: never. */
  readonly maxAge?: number;
  /** Maximum sessions on a lane; sshd's own MaxSessions is 10 unless set. */
  readonly maxSessions?: number;
  /** False: calls to the host go direct. "always": calls that name their own master are shared too. */
  readonly share?: boolean | "always";
  /** True: calls that forward ports are shared too. */
  readonly forwards?: boolean;
  /** "apart": copies (scp, sftp, rsync) have connections of their own. */
  readonly copies?: "apart" | "together";
}

export interface Settings extends Required<Omit<Rule, "host">> {
  /** Where the linger is from: our own file overrides ControlPersist if it names the host. */
  readonly lingerFrom: "host" | "user" | "default";
  /** What is wrong with the file or the environment, for the user. */
  readonly problem?: string;
}

/** A settings file as it was read. */
export interface SettingsFile {
  readonly path: string;
  readonly rules: readonly Rule[];
  /** What is wrong with it, and where. */
  readonly problem?: string;
}

export const DEFAULT_LINGER = 600;
export const DEFAULT_MAX_SESSIONS = 10;

/** Reads the settings file; a missing one has no rules. */
export function readSettingsFile(system: Pick<System, "env">): SettingsFile | undefined {
  const base = system.env("XDG_CONFIG_HOME") ??
    (system.env("HOME") && `${system.env("HOME")}/.config`);
  if (!base) return undefined;
  const path = `${base}/sshs/config.json`;
  try {
    if (statOf(path)?.isDirectory) throw new SyntaxError("is a directory");
    return { path, rules: parseSettings(readText(path) ?? "{}") };
  } catch (error) {
    if (!(error instanceof SyntaxError) && !isSystemError(error)) throw error;
    return { path, rules: [], problem: `${path}: ${error.message}` };
  }
}

/** Returns the settings for a host: the file's first value of each, the environment, our defaults. */
export function settingsFor(
  host: string,
  file: SettingsFile | undefined,
  system: Pick<System, "env">,
): Settings {
  const rules = (file?.rules ?? []).filter((rule) => matchesPatterns(host, rule.host));
  const first = <K extends keyof Rule>(key: K) =>
    rules.find((rule) => rule[key] !== undefined)?.[key];
  const ofHost = rules.find((rule) => rule.linger !== undefined && rule.host !== "*")?.linger;
  let problem = file?.problem;
  const ofEnvironment = (name: string, { read, takes }: Type<number>) => {
    const text = system.env(name);
    const value = text ? read(/^[0-9]+$/.test(text) ? Number(text) : text) : undefined;
    if (text && value === undefined) problem ??= `${name} takes ${takes}`;
    return value;
  };
  const linger = ofHost ?? ofEnvironment("SSHS_LINGER", DURATION) ?? first("linger");
  const maxSessions = ofEnvironment("SSHS_MAX_SESSIONS", COUNT) ?? first("maxSessions");
  return {
    share: problem === undefined && (first("share") ?? true),
    forwards: first("forwards") ?? false,
    copies: first("copies") ?? "together",
    maxSessions: maxSessions ?? DEFAULT_MAX_SESSIONS,
    maxAge: first("maxAge") ?? Infinity,
    linger: linger ?? DEFAULT_LINGER,
    lingerFrom: ofHost !== undefined ? "host" : linger !== undefined ? "user" : "default",
    problem,
  };
}

/** What a setting takes. */
interface Type<T> {
  /** Returns the value, or `undefined` if it is not understood. */
  readonly read: (value: unknown) => T | undefined;
  readonly takes: string;
}

const DURATION: Type<number> = {
  read: (value) =>
    typeof value === "number" || typeof value === "string" ? parseDuration(`${value}`) : undefined,
  takes: 'seconds, "10m", "1h30m" or "forever"',
};

const COUNT: Type<number> = {
  read: (value) =>
    Number.isInteger(value) && 0 < Number(value) && Number(value) < 1e6 ? Number(value) : undefined,
  takes: "a number from 1",
};

function oneOf<T>(values: readonly T[], takes: string): Type<T> {
  return { read: (value) => values.find((known) => known === value), takes };
}

const TYPES: { readonly [K in keyof Rule]-?: Type<NonNullable<Rule[K]>> } = {
  host: { read: (value) => typeof value === "string" ? value : undefined, takes: "a pattern" },
  linger: DURATION,
  maxAge: DURATION,
  maxSessions: COUNT,
  share: oneOf([true, false, "always"], 'true, false or "always"'),
  forwards: oneOf([true, false], "true or false"),
  copies: oneOf(["apart", "together"], '"apart" or "together"'),
};

/**
 * Parses the settings file. The rule for all hosts comes last, since the first value wins, as in ssh_config.
 *
 * @throws {SyntaxError} if anything in it is not understood
 */
export function parseSettings(text: string): Rule[] {
  const { hosts = [], ...top } = record(JSON.parse(text), "the file");
  if (!Array.isArray(hosts)) throw new SyntaxError('"hosts" takes a list');
  const rules = hosts.map((entry, i) =>
    parseRule({ host: null, ...record(entry, `hosts[${i}]`) }, i)
  );
  if (Object.hasOwn(top, "host")) throw new SyntaxError('"host" belongs into "hosts"');
  return [...rules, parseRule({ ...top, host: "*" })];
}

function parseRule(values: Record<string, unknown>, index?: number): Rule {
  const entries = Object.entries(values).map(([key, value]) => {
    const name = index === undefined ? key : `hosts[${index}].${key}`;
    if (!Object.hasOwn(TYPES, key)) {
      const known = Object.keys(TYPES).join(", ");
      throw new SyntaxError(`${name} is unknown; there are ${known} and hosts`);
    }
    const { read, takes } = TYPES[key as keyof Rule];
    const understood = read(value);
    if (understood === undefined) throw new SyntaxError(`${name} takes ${takes}`);
    return [key, understood];
  });
  return Object.fromEntries(entries);
}

function record(value: unknown, name: string): Record<string, unknown> {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  throw new SyntaxError(`${name} takes an object: { ... }`);
}

const UNITS: Record<string, number> = { "": 1, s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/**
 * Returns the seconds of a duration in sshd_config's TIME FORMATS ("90", "10m", "1h30m"); Infinity for
 * `yes` and `forever`.
 */
export function parseDuration(text: string): number | undefined {
  if (/^(yes|forever)$/i.test(text)) return Infinity;
  if (!/^(\d+[smhdw])*(\d+[smhdw]?)$/i.test(text)) return undefined;
  let seconds = 0;
  for (const [, count, unit] of text.matchAll(/(\d+)([smhdw]?)/gi)) {
    seconds += Number(count) * UNITS[unit.toLowerCase()];
  }
  return seconds;
}

/** Whether a host matches ssh_config's PATTERNS: `*`, `?`, `!` for not; separated by blanks or commas. */
export function matchesPatterns(host: string, patterns: string): boolean {
  const matched = patterns.split(/[\s,]+/).filter((word) =>
    patternOf(word.replace(/^!/, "")).test(host)
  );
  return matched.length > 0 && !matched.some((word) => word.startsWith("!"));
}

function patternOf(glob: string): RegExp {
  const source = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
  return new RegExp(`^${source}$`, "is");
}
