/**
 * The user's settings: `$XDG_CONFIG_HOME/sshs/config.json` and the environment. Pure, except for
 * `readSettingsFile`.
 *
 *     { "linger": "10m", "maxSessions": 10, "share": true,
 *       "hosts": [{ "host": "*.example.com !bastion.example.com", "linger": 0, "share": false }] }
 */
import { readText, statOf } from "../os/files.ts";
import type { System } from "../os/system.ts";

export interface Settings {
  /** False: calls to the host go direct. "always": calls that name their own master are shared too. */
  readonly share: boolean | "always";
  /** True: calls that forward ports are shared too. */
  readonly forwards: boolean;
  /** Maximum sessions on a lane; sshd's own MaxSessions is 10 unless set. */
  readonly maxSessions: number;
  /**
   * Seconds that a lane stays after its last session (Infinity: forever), unless ssh_config's
   * ControlPersist says otherwise.
   */
  readonly linger: number;
  /** True: `linger` was set for this host in our own file, and overrides ControlPersist. */
  readonly lingerForHost: boolean;
  /** True: the user set the linger; it is not our default. */
  readonly lingerSet: boolean;
}

/** A settings file as it was read: its rules, or what is wrong with it. */
export interface SettingsFile {
  readonly path: string;
  readonly rules: readonly Rule[];
  /** What is wrong with the file, and where. It then has no rules. */
  readonly problem?: string;
}

interface Rule {
  readonly host: string;
  readonly linger?: number;
  readonly maxSessions?: number;
  readonly share?: boolean | "always";
  readonly forwards?: boolean;
}

export const DEFAULT_LINGER = 600;
export const DEFAULT_MAX_SESSIONS = 10;

/** Reads the settings file; a missing one has no rules, an invalid one has a problem. Never throws. */
export function readSettingsFile(system: Pick<System, "env">): SettingsFile | undefined {
  const base = system.env("XDG_CONFIG_HOME") ??
    (system.env("HOME") && `${system.env("HOME")}/.config`);
  if (!base) return undefined;
  const path = `${base}/sshs/config.json`;
  try {
    if (statOf(path)?.isDirectory) throw new Error("is a directory");
    const text = readText(path);
    return { path, rules: text === undefined ? [] : parseSettings(text) };
  } catch (error) {
    return { path, rules: [], problem: `${path}: ${(error as Error).message}` };
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
  const ofEnv = parseDuration(system.env("SSHS_LINGER") ?? "");
  const linger = ofHost ?? ofEnv ?? first("linger");
  return {
    share: first("share") ?? true,
    forwards: first("forwards") ?? false,
    maxSessions: positive(system.env("SSHS_MAX_SESSIONS")) ?? first("maxSessions") ??
      DEFAULT_MAX_SESSIONS,
    linger: linger ?? DEFAULT_LINGER,
    lingerForHost: ofHost !== undefined,
    lingerSet: linger !== undefined,
  };
}

/**
 * Parses the settings file. The rule for all hosts comes last, since the first value wins, as in ssh_config.
 *
 * @throws {Error} naming the key and what it takes.
 */
export function parseSettings(text: string): Rule[] {
  const whole = record(JSON.parse(text), "the file");
  const { hosts = [], ...top } = whole;
  if (!Array.isArray(hosts)) throw new Error('"hosts" takes a list');
  const rules = hosts.map((entry, i) => {
    const { host, ...rest } = record(entry, `hosts[${i}]`);
    if (typeof host !== "string") throw new Error(`hosts[${i}].host takes a pattern in quotes`);
    return parseRule(host, rest, `hosts[${i}].`);
  });
  return [...rules, parseRule("*", top, "")];
}

function parseRule(host: string, values: Record<string, unknown>, place: string): Rule {
  const rule: { -readonly [K in keyof Rule]: Rule[K] } = { host };
  for (const [key, value] of Object.entries(values)) {
    switch (key) {
      case "linger":
        rule.linger = parseDuration(String(value));
        if (rule.linger === undefined) {
          throw new Error(`${place}linger takes seconds, "10m", "1h30m" or "forever"`);
        }
        break;
      case "maxSessions":
        rule.maxSessions = positive(String(value));
        if (rule.maxSessions === undefined) {
          throw new Error(`${place}maxSessions takes a number from 1`);
        }
        break;
      case "share":
        if (typeof value !== "boolean" && value !== "always") {
          throw new Error(`${place}share takes true, false or "always"`);
        }
        rule.share = value;
        break;
      case "forwards":
        if (typeof value !== "boolean") throw new Error(`${place}forwards takes true or false`);
        rule.forwards = value;
        break;
      default:
        throw new Error(
          `${place}${key} is unknown; there are linger, maxSessions, share, forwards and hosts`,
        );
    }
  }
  return rule;
}

function record(value: unknown, place: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error(`${place} takes an object: { ... }`);
  }
  return value as Record<string, unknown>;
}

function positive(text: string | undefined): number | undefined {
  return text && /^[1-9]\d{0,5}$/.test(text) ? Number(text) : undefined;
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
