/**
 * The user's settings: `$XDG_CONFIG_HOME/sshs/config.json` and the environment. Pure, except for
 * `readSettingsFile`.
 *
 *     { "linger": "10m", "maxAge": "8h", "maxSessions": 10, "share": true,
 *       "hosts": [{ "host": "*.example.com !bastion.example.com", "linger": 0, "share": false }] }
 *
 * They fail closed: what is not understood is said, and does not void the rest. A value that is not understood
 * counts as the one that shares least; of a file that cannot be read at all, nobody knows what it forbids, and
 * nothing is shared.
 */
import { isSystemError, readText, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";

export interface Settings {
  /** False: calls to the host go direct. "always": calls that name their own master are shared too. */
  readonly share: boolean | "always";
  /** True: calls that forward ports are shared too. */
  readonly forwards: boolean;
  /** True: copies (scp, sftp, rsync) have connections of their own. */
  readonly apart: boolean;
  /** Maximum sessions on a lane; sshd's own MaxSessions is 10 unless set. */
  readonly maxSessions: number;
  /** Seconds after which a lane takes no more sessions; Infinity: never. */
  readonly maxAge: number;
  /**
   * Seconds that a lane stays after its last session (Infinity: forever), unless ssh_config's
   * ControlPersist says otherwise.
   */
  readonly linger: number;
  /** True: `linger` was set for this host in our own file, and overrides ControlPersist. */
  readonly lingerForHost: boolean;
  /** True: the user set the linger; it is not our default. */
  readonly lingerSet: boolean;
  /** What is wrong with the file or the environment, for the user. */
  readonly problem?: string;
}

/** A settings file as it was read. */
export interface SettingsFile {
  readonly path: string;
  readonly rules: readonly Rule[];
  /** What is wrong with the file, and where. */
  readonly problem?: string;
}

interface Rule {
  readonly host: string;
  readonly linger?: number;
  readonly maxAge?: number;
  readonly maxSessions?: number;
  readonly share?: boolean | "always";
  readonly forwards?: boolean;
  readonly copies?: "apart" | "together";
}

export const DEFAULT_LINGER = 600;
export const DEFAULT_MAX_SESSIONS = 10;

/** Reads the settings file; a missing one has no rules. */
export function readSettingsFile(system: Pick<System, "env">): SettingsFile | undefined {
  const base = system.env("XDG_CONFIG_HOME") ??
    (system.env("HOME") && `${system.env("HOME")}/.config`);
  if (!base) return undefined;
  const path = `${base}/sshs/config.json`;
  const isNothing = (problem: string) => ({
    path,
    rules: [{ host: "*", share: false }],
    problem: `${path}: ${problem}; nothing is shared`,
  });
  try {
    if (statOf(path)?.isDirectory) return isNothing("is a directory");
    const { rules, problems } = parseSettings(readText(path) ?? "{}");
    const [first, ...more] = problems;
    const rest = more.length > 0 ? ` (and ${more.length} more)` : "";
    return { path, rules, problem: first && `${path}: ${first}${rest}` };
  } catch (error) {
    if (!(error instanceof SyntaxError) && !isSystemError(error)) throw error;
    return isNothing(error.message);
  }
}

/** Returns the settings for a destination: the file's first value of each, the environment, our defaults. */
export function settingsFor(
  host: string,
  file: SettingsFile | undefined,
  system: Pick<System, "env">,
): Settings {
  const rules = (file?.rules ?? []).filter((rule) => matchesPatterns(host, rule.host));
  const first = <K extends keyof Rule>(key: K) =>
    rules.find((rule) => rule[key] !== undefined)?.[key];
  const ofHost = rules.find((rule) => rule.linger !== undefined && rule.host !== "*")?.linger;
  const problems = file?.problem ? [file.problem] : [];
  const ofEnvironment = <T>(name: string, type: Type<T>) => {
    const text = system.env(name);
    const value = text && type.read(/^[0-9]+$/.test(text) ? Number(text) : text);
    if (text && value === undefined) problems.push(`${name} takes ${type.takes}`);
    return text ? value as T | undefined ?? type.closed : undefined;
  };
  const linger = ofHost ?? ofEnvironment("SSHS_LINGER", DURATION) ?? first("linger");
  const maxSessions = ofEnvironment("SSHS_MAX_SESSIONS", COUNT) ?? first("maxSessions");
  return {
    share: first("share") ?? true,
    forwards: first("forwards") ?? false,
    apart: first("copies") === "apart",
    maxSessions: maxSessions ?? DEFAULT_MAX_SESSIONS,
    maxAge: first("maxAge") ?? Infinity,
    linger: linger ?? DEFAULT_LINGER,
    lingerForHost: ofHost !== undefined,
    lingerSet: linger !== undefined,
    problem: problems[0],
  };
}

/** What a setting takes. */
interface Type<T> {
  /** Returns the value, or `undefined` if it is not understood. */
  readonly read: (value: unknown) => T | undefined;
  /** What counts then. */
  readonly closed: T | undefined;
  readonly takes: string;
}

const DURATION: Type<number> = {
  read: (value) =>
    typeof value === "number" || typeof value === "string" ? parseDuration(`${value}`) : undefined,
  closed: 0,
  takes: 'seconds, "10m", "1h30m" or "forever"',
};

const COUNT: Type<number> = {
  read: (value) =>
    Number.isInteger(value) && 0 < Number(value) && Number(value) < 1e6 ? Number(value) : undefined,
  closed: undefined,
  takes: "a number from 1",
};

function oneOf<T>(values: readonly T[], closed: T, takes: string): Type<T> {
  return { read: (value) => values.find((known) => known === value), closed, takes };
}

const TYPES: { readonly [K in Exclude<keyof Rule, "host">]-?: Type<NonNullable<Rule[K]>> } = {
  linger: DURATION,
  maxAge: DURATION,
  maxSessions: COUNT,
  share: oneOf([true, false, "always"], false, 'true, false or "always"'),
  forwards: oneOf([true, false], false, "true or false"),
  copies: oneOf(["apart", "together"], "apart", '"apart" or "together"'),
};

/**
 * Parses the settings file. The rule for all hosts comes last, since the first value wins, as in ssh_config.
 *
 * @throws {SyntaxError} if it is not a JSON object
 */
export function parseSettings(text: string): { rules: Rule[]; problems: string[] } {
  const problems: string[] = [];
  const whole = record(JSON.parse(text));
  if (!whole) throw new SyntaxError("the file takes an object: { ... }");
  const { hosts = [], ...top } = whole;
  // Nobody knows which hosts it would have kept apart.
  if (!Array.isArray(hosts)) throw new SyntaxError('"hosts" takes a list');
  const rules = hosts.map((entry, i) => {
    const { host, ...rest } = record(entry) ?? {};
    const rule = parseRule(rest, `hosts[${i}].`, problems);
    if (typeof host === "string") return { host, ...rule };
    problems.push(`hosts[${i}].host takes a pattern in quotes`);
    // Of any host it may be meant for: what it forbids.
    return {
      host: "*",
      ...(rule.share === false ? { share: false } : {}),
      ...(rule.linger === 0 ? { linger: 0 } : {}),
    };
  });
  return { rules: [...rules, { host: "*", ...parseRule(top, "", problems) }], problems };
}

function parseRule(
  values: Record<string, unknown>,
  place: string,
  problems: string[],
): Omit<Rule, "host"> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) => {
      if (!Object.hasOwn(TYPES, key)) {
        const known = Object.keys(TYPES).join(", ");
        problems.push(`${place}${key} is unknown; there are ${known} and hosts`);
        return [];
      }
      const { read, closed, takes } = TYPES[key as keyof typeof TYPES] as Type<unknown>;
      const understood = read(value);
      if (understood === undefined) problems.push(`${place}${key} takes ${takes}`);
      return [[key, understood ?? closed]];
    }),
  );
}

function record(value: unknown): Record<string, unknown> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  return value as Record<string, unknown>;
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
  let matched = false;
  for (const word of patterns.split(/[\s,]+/).filter(Boolean)) {
    const negated = word.startsWith("!");
    if (!patternOf(negated ? word.slice(1) : word).test(host)) continue;
    if (negated) return false;
    matched = true;
  }
  return matched;
}

function patternOf(glob: string): RegExp {
  const source = glob.replace(/[.+^${}()|[\]\\]/g, "\\$&").replace(/\*/g, ".*").replace(/\?/g, ".");
  return new RegExp(`^${source}$`, "is");
}
