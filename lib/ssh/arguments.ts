/**
 * ssh(1)'s command line, parsed as ssh.c does: a getopt loop before the destination and another after it.
 * Pure. The result is for deciding; what runs is the user's own argv, whole or with options left out.
 */

/**
 * The options of ssh.c from 8.4 to 10.5, as getopts takes them: a colon after a letter means that a value
 * follows. The launcher has them in its head. -P, which was a flag without effect until 9.3 and takes a
 * tag since 9.4, stands for neither: such a call goes direct.
 */
export const LETTERS = "1246ACGKMNPTVXYZafgknqstvxyB:D:E:F:I:J:L:O:Q:R:S:W:b:c:e:i:l:m:o:p:w:";

/** One option as getopt returns it. The value stays as written, never a number. */
export interface SshOption {
  letter: string;
  value?: string;
  /** The index in argv of the word that has the letter. */
  at: number;
  /** Whether the value is the next word. */
  isApart?: true;
}

/** A command line that names a destination. */
export interface SshCall {
  kind: "call";
  /** The words after `ssh`. */
  argv: readonly string[];
  options: SshOption[];
  destination: string;
  command: string[];
  /** How many words argv has up to and including the destination. */
  leading: number;
}

/** A parsed command line of ssh. */
export type SshArgs =
  | SshCall
  | { kind: "no-destination"; options: SshOption[] }
  | { kind: "invalid"; reason: string };

/** Parses the words after `ssh` as ssh.c's main() does, up to and including the command. */
export function parseSshArgs(argv: readonly string[]): SshArgs {
  const before = getopt(argv, 0);
  if (typeof before === "string") return { kind: "invalid", reason: before };
  if (before.next === argv.length) return { kind: "no-destination", options: before.options };
  const leading = before.next + 1;
  // Otherwise ssh.c does "goto again".
  const after = before.terminated ? { options: [], next: leading } : getopt(argv, leading);
  if (typeof after === "string") return { kind: "invalid", reason: after };
  return {
    kind: "call",
    argv,
    options: [...before.options, ...after.options],
    destination: argv[before.next],
    command: argv.slice(after.next),
    leading,
  };
}

/**
 * Runs getopt(3) as in openbsd-compat/getopt_long.c, from `start` to the first word that is no option, which is
 * `next`. Returns what is wrong as text.
 */
function getopt(
  argv: readonly string[],
  start: number,
): { options: SshOption[]; next: number; terminated?: boolean } | string {
  const options: SshOption[] = [];
  let next = start;
  while (next < argv.length && argv[next].startsWith("-") && argv[next] !== "-") {
    const at = next++;
    const word = argv[at];
    if (word === "--") return { options, next, terminated: true };
    for (let i = 1; i < word.length; i++) {
      const letter = word[i];
      const place = letter === ":" ? -1 : LETTERS.indexOf(letter);
      if (place < 0) return `Cannot parse option "-${letter}"`;
      if (LETTERS[place + 1] !== ":") {
        options.push({ letter, at });
        continue;
      }
      const attached = word.slice(i + 1);
      const value = attached !== "" ? attached : argv[next];
      if (value === undefined) return `Cannot parse option "-${letter}" without a value`;
      // Just before the destination ssh.c takes this value for the end of the options too.
      if (!attached && value === "--") {
        return `Cannot parse option "-${letter}" with the value "--"`;
      }
      options.push(attached ? { letter, value, at } : { letter, value, at, isApart: true });
      if (!attached) next++;
      break;
    }
  }
  return { options, next };
}

/**
 * Returns the user's own words up to the command, in their order, without some of the options: which value
 * wins in ssh depends on the order, and on which side of the destination an option stands.
 */
export function withoutOptions(
  { argv, command, options }: SshCall,
  isLeftOut: (option: SshOption) => boolean,
): string[] {
  const words: string[] = [];
  for (let at = 0; at < argv.length - command.length; at++) {
    const here = options.filter((option) => option.at === at);
    const kept = here.filter((option) => !isLeftOut(option));
    if (kept.length === here.length) words.push(argv[at]);
    else if (kept.length > 0) {
      const attached = kept.map(({ letter, value, isApart }) =>
        value === undefined || isApart ? letter : letter + value
      );
      words.push(`-${attached.join("")}`);
    }
    if (!here.at(-1)?.isApart) continue;
    at++;
    if (kept.at(-1)?.isApart) words.push(argv[at]);
  }
  return words;
}

/**
 * Returns the host of a destination: `[user@]host`, cut at the last @, or `ssh://[user@]host[:port]`
 * (parse_ssh_uri() in readconf.c, parse_uri() in misc.c). Of a text that ssh would refuse it returns
 * something: ssh itself says what is wrong with it.
 */
export function hostOf(destination: string): string {
  const uri = /^ssh:\/\/(?:[^@]*@)?(\[[^\]]*\]|[^:/]+)(?::[^/]*)?(?:\/.*)?$/s.exec(destination);
  if (uri) return uri[1].replace(/^\[(.*)\]$/, "$1");
  const at = destination.lastIndexOf("@");
  return at < 1 ? destination : destination.slice(at + 1);
}
