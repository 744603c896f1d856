/** Parses our own commands: the words after `sshs`. Pure. */
import { parseArgs } from "@std/cli/parse-args";
import { parseDuration } from "../call/settings.ts";
import { parseSshArgs } from "../ssh/arguments.ts";
import { misuseWords as words } from "./words.ts";

/** Hosts to log in to, each as the destination of a call with these options. `-`: read more from stdin. */
export interface WarmCommand {
  readonly kind: "warm";
  readonly options: readonly string[];
  readonly hosts: readonly string[];
  readonly json: boolean;
}

/** A command to run with shared connections of its own, and the hosts to log in to first. */
export interface WithCommand {
  readonly kind: "with";
  readonly options: readonly string[];
  readonly hosts: readonly string[];
  /** The command and its arguments. */
  readonly argv: readonly string[];
}

export type Command =
  | { readonly kind: "list"; readonly json: boolean }
  | { readonly kind: "watch" }
  /** `argv`: the arguments of an ssh call; `undefined` for all lanes. */
  | { readonly kind: "stop"; readonly argv?: readonly string[]; readonly now: boolean }
  | WarmCommand
  | WithCommand
  | { readonly kind: "hold"; readonly seconds: number; readonly argv: readonly string[] }
  | { readonly kind: "fresh"; readonly argv: readonly string[] }
  | { readonly kind: "why"; readonly argv: readonly string[]; readonly json: boolean }
  | { readonly kind: "doctor"; readonly argv: readonly string[] }
  /** `prefix`: where to install, if not in the default place. */
  | { readonly kind: "install" | "uninstall"; readonly prefix?: string; readonly now: boolean }
  | { readonly kind: "completions"; readonly shell: Shell }
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  /** Wrong use, and what to type instead. */
  | { readonly kind: "misuse"; readonly reason: string; readonly hint: string };

/** The usage of each command, as the hints, --help and the manual give it. */
export const USAGE = {
  list: "sshs --list [--watch|--json]",
  stop: "sshs --stop HOST|--all [--now]",
  warm: "sshs --warm [--json] [OPTIONS] HOST...|-",
  hold: "sshs --hold DURATION [OPTIONS] HOST",
  with: "sshs --with [[OPTIONS] HOST...] -- COMMAND [ARG...]",
  fresh: "sshs --fresh [OPTIONS] HOST [COMMAND...]",
  why: "sshs --why [--json] [OPTIONS] HOST [COMMAND...]",
  doctor: "sshs --doctor [[OPTIONS] HOST]",
  install: "sshs --install [--prefix DIR]",
  uninstall: "sshs --uninstall [--prefix DIR] [--now]",
  completions: "sshs --completions bash|zsh|fish",
  help: "sshs --help",
  version: "sshs --version",
} as const;

export type Name = keyof typeof USAGE;

const SHELLS = ["bash", "zsh", "fish"] as const;
export type Shell = typeof SHELLS[number];

/** Parses a command line whose first word begins with `--`; `--name=value` is `--name value`. */
export function parseCommand(argv: readonly string[]): Command {
  const [, word, value] = /^--([^=]*)(?:=(.*))?$/s.exec(argv[0]) ?? [];
  const rest = value === undefined ? argv.slice(1) : [value, ...argv.slice(1)];
  switch (word as Name) {
    case "list":
      return parseList(rest);
    case "stop":
      return parseStop(rest);
    case "warm":
      return parseWarm(rest);
    case "hold":
      return parseHold(rest);
    case "with":
      return parseWith(rest);
    case "fresh":
      return parseFresh(rest);
    case "why":
      return parseWhy(rest);
    case "doctor":
      return rest.length === 0 ? { kind: "doctor", argv: [] } : parseDoctor(rest);
    case "install":
    case "uninstall":
      return parseInstall(word as "install", rest);
    case "completions":
      return parseCompletions(rest);
    case "help":
    case "version":
      return rest.length === 0
        ? { kind: word as "help" | "version" }
        : misuse(words.takesNothing(word), USAGE[word as Name]);
    default:
      return unknown(argv);
  }
}

function parseList(argv: readonly string[]): Command {
  const { flags, rest, wrong } = takeFlags(argv, ["json", "watch"]);
  if (wrong) return misuse(words.noSuchOption("list", wrong), USAGE.list);
  if (rest.length > 0) return misuse(words.noOperand("list", rest[0]), USAGE.list);
  if (flags.watch && flags.json) return misuse(words.watchOrJson(), USAGE.list);
  return flags.watch ? { kind: "watch" } : { kind: "list", json: flags.json };
}

function parseStop(argv: readonly string[]): Command {
  const { flags, rest, wrong } = takeFlags(argv, ["all", "now"]);
  if (wrong) return misuse(words.noSuchOption("stop", wrong), USAGE.stop);
  if (flags.all) {
    if (rest.length > 0) return misuse(words.hostOrAll(), USAGE.stop);
    return { kind: "stop", now: flags.now };
  }
  return oneHost("stop", rest) ?? { kind: "stop", argv: rest, now: flags.now };
}

/** Options come before the first host and apply to all hosts. */
function parseWarm(argv: readonly string[]): Command {
  const { flags, rest, wrong } = takeFlags(argv, ["json"]);
  if (wrong) return misuse(words.noSuchOption("warm", wrong), USAGE.warm);
  const found = takeHosts("warm", rest);
  return "kind" in found ? found : { kind: "warm", ...found, json: flags.json };
}

/** Splits words into options and the hosts they apply to; returns a misuse if that is not possible. */
function takeHosts(
  name: Name,
  argv: readonly string[],
): { options: readonly string[]; hosts: readonly string[] } | Command {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") return noHost(name, args);
  const hosts = argv.slice(args.leading - 1);
  const late = hosts.find((host) => host.startsWith("-") && host !== "-");
  if (late) return misuse(words.lateOption(late), USAGE[name]);
  return { options: argv.slice(0, args.leading - 1), hosts };
}

/** The first `--` ends the hosts; the command follows it. */
function parseWith(argv: readonly string[]): Command {
  const end = argv.indexOf("--");
  const command = argv.slice(end + 1);
  if (end < 0 || command.length === 0) return misuse(words.noCommand(), USAGE.with);
  if (end === 0) return { kind: "with", options: [], hosts: [], argv: command };
  const found = takeHosts("with", argv.slice(0, end));
  return "kind" in found ? found : { kind: "with", ...found, argv: command };
}

/** A line of a host list that is not a host. */
export interface WrongLine {
  /** Counted from 1. */
  readonly line: number;
  readonly text: string;
}

/** Parses a host list: one host a line, with `#` comments. Returns the first wrong line instead, if any. */
export function parseHosts(text: string): readonly string[] | WrongLine {
  const lines = text.split(/\r?\n/).map((line) => line.replace(/#.*/, "").trim());
  const wrong = lines.findIndex((line) => line.startsWith("-") || /\s/.test(line));
  if (wrong >= 0) return { line: wrong + 1, text: lines[wrong] };
  return lines.filter((line) => line !== "");
}

function parseHold([duration, ...argv]: readonly string[]): Command {
  if (duration === undefined) return misuse(words.durationAndHost(), USAGE.hold);
  const seconds = parseDuration(duration);
  if (seconds === undefined) {
    return misuse(words.noDuration(duration), words.durationHint(USAGE.hold));
  }
  return oneHost("hold", argv) ?? { kind: "hold", seconds, argv };
}

function parseFresh(argv: readonly string[]): Command {
  const args = parseSshArgs(argv);
  return args.kind === "call" ? { kind: "fresh", argv } : noHost("fresh", args);
}

/** Accepts any arguments, even without a destination: `--why` then says so. */
function parseWhy(argv: readonly string[]): Command {
  // After the first word of another form, `--word` may belong to the command that ssh would run.
  const first = argv.findIndex((word) => !isFlag(word));
  const { flags, rest, wrong } = takeFlags(argv, ["json"], first < 0 ? argv.length : first);
  if (wrong) return misuse(words.noSuchOption("why", wrong), USAGE.why);
  if (rest.length === 0) return misuse(words.noCall(), USAGE.why);
  return { kind: "why", argv: rest, json: flags.json };
}

function parseDoctor(argv: readonly string[]): Command {
  return oneHost("doctor", argv) ?? { kind: "doctor", argv };
}

function parseInstall(kind: "install" | "uninstall", argv: readonly string[]): Command {
  const rest = argv.filter((word) => kind === "install" || word !== "--now");
  const now = rest.length < argv.length;
  if (rest.length === 0) return { kind, now };
  const [, prefix = rest[1]] = /^--prefix(?:=(.*))?$/s.exec(rest[0]) ?? [, ""];
  if (!prefix || rest.length > (rest[0] === "--prefix" ? 2 : 1)) {
    return misuse(words.prefixOrNothing(kind), USAGE[kind]);
  }
  return { kind, prefix, now };
}

function parseCompletions(argv: readonly string[]): Command {
  const shell = SHELLS.find((shell) => shell === argv[0]);
  return shell && argv.length === 1
    ? { kind: "completions", shell }
    : misuse(words.noShell(), USAGE.completions);
}

/** Whether a word looks like a flag of ours: ssh has no long options, and a bare `--` ends its options. */
function isFlag(word: string): boolean {
  return /^--./s.test(word);
}

/** Takes our flags out of the first `count` words. `wrong` is the first flag that is not in `names`. */
function takeFlags<Flag extends string>(
  argv: readonly string[],
  names: readonly Flag[],
  count = argv.length,
): { flags: Record<Flag, boolean>; rest: string[]; wrong?: string } {
  const ours = argv.filter((word, i) => i < count && isFlag(word));
  const rest = argv.filter((word, i) => i >= count || !isFlag(word));
  let wrong: string | undefined;
  const parsed = parseArgs(ours, {
    boolean: names as unknown as string[],
    unknown: (word: string) => {
      wrong ??= word;
      return false;
    },
  });
  const flags = Object.fromEntries(names.map((name) => [name, Boolean(parsed[name])]));
  return { flags: flags as Record<Flag, boolean>, rest, wrong };
}

/** Returns a misuse unless the words are ssh options and one host. */
function oneHost(name: Name, argv: readonly string[]): Command | undefined {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") return noHost(name, args);
  if (args.command.length > 0) {
    return misuse(words.oneHost(name, args.command[0]), USAGE[name]);
  }
}

function noHost(name: Name, args: { kind: string; reason?: string }): Command {
  return misuse(args.reason ?? words.noHost(name), USAGE[name]);
}

function unknown(argv: readonly string[]): Command {
  const word = argv[0].split("=")[0];
  const name = nearest(word.slice(2), Object.keys(USAGE));
  return misuse(words.unknown(word), name ? words.didYouMean(`--${name}`) : USAGE.help);
}

function misuse(reason: string, hint: string): Command {
  return { kind: "misuse", reason, hint };
}

/** The most slips with which a suggestion is more than a guess. */
const MAX_SLIPS = 2;

/** Returns the candidate most similar to a word, if one is similar enough: `list` for `lst` or `li`. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  const begun = candidates.filter((candidate) => lower !== "" && candidate.startsWith(lower));
  if (begun.length === 1) return begun[0];
  const [best] = candidates
    .map((candidate) => ({ candidate, slips: slips(lower, candidate) }))
    .filter(({ candidate, slips }) => slips <= MAX_SLIPS && slips < candidate.length / 2 + 0.5)
    .sort((a, b) => a.slips - b.slips);
  return best?.candidate;
}

/** Counts the letters to insert, delete or change (Levenshtein); swapping two neighbours counts as one. */
function slips(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= a.length; i++) {
    rows[i] = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
        ? rows[i - 2][j - 2] + 1
        : Infinity;
      rows[i][j] = Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, changed, swapped);
    }
  }
  return rows[a.length][b.length];
}
