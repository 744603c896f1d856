/** Our own commands, as they are written after `sshs`. Pure. */
import { parseDuration } from "../call/settings.ts";
import { parseSshArgs } from "../ssh/arguments.ts";
import { isFlag, takeFlags } from "./flags.ts";
import { nearest } from "./nearest.ts";

export type Command =
  | { readonly kind: "list"; readonly json: boolean }
  /** `argv`: the words of an ssh call; none for all lanes. */
  | { readonly kind: "stop"; readonly argv?: readonly string[]; readonly now: boolean }
  | { readonly kind: "warm"; readonly calls: readonly (readonly string[])[] }
  | { readonly kind: "hold"; readonly seconds: number; readonly argv: readonly string[] }
  | { readonly kind: "fresh"; readonly argv: readonly string[] }
  | { readonly kind: "why"; readonly argv: readonly string[]; readonly json: boolean }
  | { readonly kind: "doctor"; readonly argv: readonly string[] }
  | { readonly kind: "help" }
  | { readonly kind: "version" }
  /** Wrong use, and what to type instead. */
  | { readonly kind: "misuse"; readonly reason: string; readonly hint: string };

/** How each command is used, as the hints and the manual say it. */
export const USAGE = {
  list: "sshs --list [--json]",
  stop: "sshs --stop HOST|--all [--now]",
  warm: "sshs --warm [OPTIONS] HOST...",
  hold: "sshs --hold DURATION [OPTIONS] HOST",
  fresh: "sshs --fresh [OPTIONS] HOST [COMMAND...]",
  why: "sshs --why [--json] [OPTIONS] HOST [COMMAND...]",
  doctor: "sshs --doctor [[OPTIONS] HOST]",
  help: "sshs --help",
  version: "sshs --version",
} as const;

export type Name = keyof typeof USAGE;

/** Parses a command line whose first word begins with `--`; `--name=value` is `--name value`. */
export function parseCommand(argv: readonly string[]): Command {
  const [, word, value] = /^--([^=]*)(?:=(.*))?$/s.exec(argv[0]) ?? [];
  const words = value === undefined ? argv.slice(1) : [value, ...argv.slice(1)];
  switch (word as Name) {
    case "list":
      return parseList(words);
    case "stop":
      return parseStop(words);
    case "warm":
      return parseWarm(words);
    case "hold":
      return parseHold(words);
    case "fresh":
      return parseFresh(words);
    case "why":
      return parseWhy(words);
    case "doctor":
      return words.length === 0 ? { kind: "doctor", argv: [] } : parseDoctor(words);
    case "help":
    case "version":
      return words.length === 0
        ? { kind: word as "help" | "version" }
        : misuse(`--${word} takes nothing`, USAGE[word as Name]);
    default:
      return unknown(argv);
  }
}

function parseList(words: readonly string[]): Command {
  const { flags, rest, wrong } = takeFlags(words, ["json"]);
  if (wrong) return misuse(`--list has no option ${wrong}`, USAGE.list);
  if (rest.length > 0) return misuse(`--list takes no host: ${rest[0]}`, USAGE.list);
  return { kind: "list", json: flags.json };
}

function parseStop(words: readonly string[]): Command {
  const { flags, rest, wrong } = takeFlags(words, ["all", "now"]);
  if (wrong) return misuse(`--stop has no option ${wrong}`, USAGE.stop);
  if (flags.all) {
    if (rest.length > 0) return misuse("--stop takes a host or --all, not both", USAGE.stop);
    return { kind: "stop", now: flags.now };
  }
  return oneHost("stop", rest) ?? { kind: "stop", argv: rest, now: flags.now };
}

/** The options stand before the first host and hold for all of them. */
function parseWarm(words: readonly string[]): Command {
  const args = parseSshArgs(words);
  if (args.kind !== "call") return noHost("warm", args);
  const options = words.slice(0, args.leading - 1);
  const hosts = words.slice(args.leading - 1);
  const late = hosts.find((host) => host.startsWith("-"));
  if (late) return misuse(`${late}: options stand before the hosts`, USAGE.warm);
  return { kind: "warm", calls: hosts.map((host) => [...options, host]) };
}

function parseHold([duration, ...argv]: readonly string[]): Command {
  if (duration === undefined) return misuse("--hold takes a duration and a host", USAGE.hold);
  const seconds = parseDuration(duration);
  if (seconds === undefined) {
    return misuse(
      `${duration} is no duration: 30m, 1h30m, 2d, forever, or 0 to end it`,
      USAGE.hold,
    );
  }
  return oneHost("hold", argv) ?? { kind: "hold", seconds, argv };
}

function parseFresh(argv: readonly string[]): Command {
  const args = parseSshArgs(argv);
  return args.kind === "call" ? { kind: "fresh", argv } : noHost("fresh", args);
}

/** Any words will do, as for ssh: that there is no destination is an answer too. */
function parseWhy(words: readonly string[]): Command {
  // What looks like an option of ours further on is part of the command that ssh would run.
  const first = words.findIndex((word) => !isFlag(word));
  const { flags, rest, wrong } = takeFlags(words, ["json"], first < 0 ? words.length : first);
  if (wrong) return misuse(`--why has no option ${wrong}`, USAGE.why);
  if (rest.length === 0) return misuse("--why takes the words of an ssh call", USAGE.why);
  return { kind: "why", argv: rest, json: flags.json };
}

function parseDoctor(argv: readonly string[]): Command {
  return oneHost("doctor", argv) ?? { kind: "doctor", argv };
}

/** What is wrong with words that should be ssh's options and one host; nothing if nothing is. */
function oneHost(name: Name, argv: readonly string[]): Command | undefined {
  const args = parseSshArgs(argv);
  if (args.kind !== "call") return noHost(name, args);
  if (args.command.length > 0) {
    return misuse(`--${name} takes one host and no command: ${args.command[0]}`, USAGE[name]);
  }
}

function noHost(name: Name, args: { kind: string; reason?: string }): Command {
  return misuse(args.reason ?? `--${name} takes a host`, USAGE[name]);
}

function unknown(argv: readonly string[]): Command {
  const word = argv[0].split("=")[0];
  const name = nearest(word.slice(2), Object.keys(USAGE));
  const hint = name ? [`sshs --${name}`, ...argv.slice(1)].join(" ") : USAGE.help;
  return misuse(`There is no ${word}`, hint);
}

function misuse(reason: string, hint: string): Command {
  return { kind: "misuse", reason, hint };
}
