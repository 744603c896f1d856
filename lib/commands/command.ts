/** Parses our own commands: the words after `sshs`. Pure. */
import { parseDuration } from "../call/settings.ts";
import { parseSshArgs } from "../ssh/arguments.ts";
import { type Name, NAMES, usageOf } from "./usage.ts";

/** Hosts to log in to, each as the destination of a call with these options. */
export interface Hosts {
  readonly options: readonly string[];
  readonly hosts: readonly string[];
}

const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = typeof SHELLS[number];

export type Command =
  | { readonly kind: "list"; readonly json: boolean }
  | { readonly kind: "watch" }
  /** `argv`: the arguments of an ssh call; `undefined` for all connections. */
  | { readonly kind: "stop"; readonly argv?: readonly string[]; readonly now: boolean }
  /** A host `-`: read more from stdin. */
  | { readonly kind: "warm"; readonly json: boolean } & Hosts
  | { readonly kind: "hold"; readonly seconds: number; readonly argv: readonly string[] }
  /** The launcher runs the job's command, and the call of --fresh: see with.ts and stop.ts. */
  | { readonly kind: "with" } & Hosts
  | { readonly kind: "socket" | "fresh" | "doctor"; readonly argv: readonly string[] }
  | { readonly kind: "why"; readonly argv: readonly string[]; readonly json: boolean }
  /** `prefix`: where to install, if not in the default place. */
  | { readonly kind: "install"; readonly prefix?: string }
  | { readonly kind: "uninstall"; readonly prefix?: string; readonly now: boolean }
  | { readonly kind: "completions"; readonly shell: Shell }
  | { readonly kind: "help" | "version" }
  /** Wrong use, and what to type instead. */
  | { readonly kind: "misuse"; readonly reason: string; readonly hint: string };

/** Wrong use. The hint is the command's usage unless it has another. */
class Misuse extends Error {
  constructor(message: string, readonly hint?: string) {
    super(message);
  }
}

/** Parses a command line whose first word begins with `--`; `--name=value` is `--name value`. */
export function parseCommand(argv: readonly string[]): Command {
  const [, word, value] = /^--([^=]*)(?:=(.*))?$/s.exec(argv[0]) ?? [];
  const name = NAMES.find((name) => name === word);
  // The launcher knows its own two by the whole word.
  if (!name || value !== undefined && ["with", "fresh"].includes(name)) return unknown(word);
  try {
    return parse(name, value === undefined ? argv.slice(1) : [value, ...argv.slice(1)]);
  } catch (error) {
    if (!(error instanceof Misuse)) throw error;
    return { kind: "misuse", reason: error.message, hint: error.hint ?? usageOf(name) };
  }
}

function unknown(word: string): Command {
  const alike = NAMES.filter((name) => word.startsWith(name[0])).map((name) => `--${name}`);
  const hint = alike.length > 0 ? `did you mean ${alike.join(", ")}?` : usageOf("help");
  return { kind: "misuse", reason: `unknown command --${word}`, hint };
}

function parse(name: Name, argv: readonly string[]): Command {
  switch (name) {
    case "list": {
      const { flags, rest } = takeFlags(name, argv, ["json", "watch"]);
      if (rest.length > 0) throw new Misuse(`--list takes no host: ${rest[0]}`);
      if (flags.watch && flags.json) throw new Misuse("--list takes --watch or --json, not both");
      return flags.watch ? { kind: "watch" } : { kind: "list", json: flags.json };
    }
    case "stop": {
      const { flags: { all, now }, rest } = takeFlags(name, argv, ["all", "now"]);
      if (!all) return { kind: name, argv: oneHost(name, rest), now };
      if (rest.length > 0) throw new Misuse("--stop takes a host or --all, not both");
      return { kind: name, now };
    }
    case "warm": {
      const { flags, rest } = takeFlags(name, argv, ["json"]);
      return { kind: name, ...takeHosts(name, rest), json: flags.json };
    }
    case "hold":
      return parseHold(argv);
    case "with": {
      const end = argv.indexOf("--"); // The first one ends the hosts; the command follows it.
      if (end < 0 || end === argv.length - 1) throw new Misuse("--with takes a command after --");
      const none = { options: [], hosts: [] };
      return { kind: name, ...end === 0 ? none : takeHosts(name, argv.slice(0, end)) };
    }
    case "socket":
      return { kind: name, argv: oneHost(name, argv) };
    case "fresh":
      parseCall(name, argv);
      return { kind: name, argv };
    case "why": {
      // After the first word of another form, `--word` may belong to the command that ssh would run.
      const first = argv.findIndex((word) => !isFlag(word));
      const { flags, rest } = takeFlags(name, argv, ["json"], first < 0 ? argv.length : first);
      // Any arguments, even without a destination: --why then says so.
      if (rest.length === 0) throw new Misuse("--why takes the arguments of an ssh call");
      return { kind: name, argv: rest, json: flags.json };
    }
    case "doctor":
      return { kind: name, argv: argv.length === 0 ? [] : oneHost(name, argv) };
    case "install":
      return { kind: name, ...takePrefix(name, argv) };
    case "uninstall": {
      const rest = argv.filter((word) => word !== "--now");
      return { kind: name, ...takePrefix(name, rest), now: rest.length < argv.length };
    }
    case "completions": {
      const shell = SHELLS.find((shell) => shell === argv[0]);
      if (shell && argv.length === 1) return { kind: name, shell };
      throw new Misuse("--completions takes the name of a shell");
    }
    case "help":
    case "version":
      if (argv.length > 0) throw new Misuse(`--${name} takes no arguments`);
      return { kind: name };
    default:
      return name satisfies never;
  }
}

function parseHold([duration, ...argv]: readonly string[]): Command {
  if (duration === undefined) throw new Misuse("--hold takes a duration and a host");
  const seconds = parseDuration(duration);
  if (seconds === undefined) {
    const hint = `${usageOf("hold")}, with 30m, 1h30m, 2d, forever, or 0 to release`;
    throw new Misuse(`not a duration: ${duration}`, hint);
  }
  return { kind: "hold", seconds, argv: oneHost("hold", argv) };
}

/** Takes `--prefix DIR` or `--prefix=DIR`, which may be left out. */
function takePrefix(name: Name, argv: readonly string[]): { prefix?: string } {
  if (argv.length === 0) return {};
  const [, prefix = argv[1]] = /^--prefix(?:=(.*))?$/s.exec(argv[0]) ?? [, ""];
  if (prefix && argv.length === (argv[0] === "--prefix" ? 2 : 1)) return { prefix };
  throw new Misuse(`--${name} takes --prefix and a directory, or nothing`);
}

/** Whether a word looks like a flag of ours: ssh has no long options, and a bare `--` ends its options. */
function isFlag(word: string): boolean {
  return /^--./s.test(word);
}

/** Takes our flags out of the first `count` words. */
function takeFlags<Flag extends string>(
  name: Name,
  argv: readonly string[],
  known: readonly Flag[],
  count = argv.length,
): { flags: Record<Flag, boolean>; rest: string[] } {
  const ours = argv.filter((word, i) => i < count && isFlag(word));
  const wrong = ours.find((word) => !known.some((flag) => word === `--${flag}`));
  if (wrong) throw new Misuse(`--${name} has no option ${wrong}`);
  const flags = Object.fromEntries(known.map((flag) => [flag, ours.includes(`--${flag}`)]));
  const rest = argv.filter((word, i) => i >= count || !isFlag(word));
  return { flags: flags as Record<Flag, boolean>, rest };
}

function parseCall(name: Name, argv: readonly string[]) {
  const args = parseSshArgs(argv);
  if (args.kind === "call") return args;
  throw new Misuse(args.kind === "invalid" ? args.reason : `--${name} takes a host`);
}

/** Returns the words, which must be ssh options and one host. */
function oneHost(name: Name, argv: readonly string[]): readonly string[] {
  const [word] = parseCall(name, argv).command;
  if (word !== undefined) throw new Misuse(`--${name} takes one host and no command: ${word}`);
  return argv;
}

/** Splits words into options and the hosts after them, to which all the options apply. */
function takeHosts(name: Name, argv: readonly string[]): Hosts {
  const first = parseCall(name, argv).leading - 1;
  const hosts = argv.slice(first);
  const late = hosts.find((host) => host.startsWith("-") && host !== "-");
  if (late) throw new Misuse(`options go before the hosts: ${late}`);
  return { options: argv.slice(0, first), hosts };
}
