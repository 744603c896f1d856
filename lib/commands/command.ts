/** What our commands have in common: what they run with, how they fail, and how their words are read. */
import type { Given } from "../os/given.ts";
import type { System } from "../os/system.ts";
import { Complaint } from "../os/terminal.ts";
import { parseSshArgs, type SshCall } from "../ssh/arguments.ts";

/** What a command runs with. */
export interface Here {
  readonly given: Given;
  readonly system: System;
  /** The pid of the launcher that becomes the command of --with. */
  readonly caller: number;
}

/** Wrong use of a command. The hint is its usage. */
export class WrongUse extends Complaint {}

/** The words of a command. */
export interface Words {
  /** The command, as `--list`. */
  readonly name: string;
  /** Our long options that were given; "" for one without a value. */
  readonly options: Readonly<Record<string, string | undefined>>;
  /** The other words. */
  readonly argv: readonly string[];
}

/** Takes our options, as the command's usage names them, out of its words. */
export function readWords(name: string, usage: string, argv: readonly string[]): Words {
  const known = Array.from(usage.matchAll(/[[|]--(\w+)/g), ([, option]) => option);
  const takesMore = usage.replace(/ \[--[^\]]*\]/g, "") !== `sshs ${name}`;
  if (known.length === 0 && takesMore) return { name, options: {}, argv };
  // After the first word of another form, `--word` may belong to the command that ssh would run.
  const first = usage.endsWith("[COMMAND...]") ? argv.findIndex((word) => !/^--./s.test(word)) : -1;
  const options: Record<string, string> = {};
  const rest: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    // ssh has no long options, and a bare `--` ends its options.
    const [, option, value] = /^--([^=]+)(?:=(.*))?$/s.exec(argv[i]) ?? [];
    if (option === undefined || first >= 0 && i >= first) rest.push(argv[i]);
    else if (usage.includes(`--${option} DIR`)) options[option] = value ?? argv[++i] ?? "";
    else if (known.includes(option) && value === undefined) options[option] = "";
    else throw new WrongUse(`${name} has no option ${argv[i]}`);
  }
  if (rest.length > 0 && !takesMore) throw new WrongUse(`${name} does not take ${rest[0]}`);
  return { name, options, argv: rest };
}

/** Reads the words as a call of ssh. */
export function takeCall({ name, argv }: Words): SshCall {
  const args = parseSshArgs(argv);
  if (args.kind === "call") return args;
  throw new WrongUse(args.kind === "invalid" ? args.reason : `${name} takes a host`);
}

/** Returns the words, which must be ssh's options and one host. */
export function takeHost(words: Words): readonly string[] {
  const [word] = takeCall(words).command;
  if (word === undefined) return words.argv;
  throw new WrongUse(`${words.name} takes one host and no command: ${word}`);
}

/** Returns ssh's options, and the hosts after them, to which all the options apply. */
export function takeHosts(words: Words): [options: readonly string[], hosts: readonly string[]] {
  const first = takeCall(words).leading - 1;
  const hosts = words.argv.slice(first);
  const late = hosts.find((host) => host.startsWith("-") && host !== "-");
  if (late) throw new WrongUse(`options go before the hosts: ${late}`);
  return [words.argv.slice(0, first), hosts];
}
