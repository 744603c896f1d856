/** Our own flags among the words of a command. Pure. */
import { parseArgs } from "@std/cli/parse-args";

/** Whether a word is written as a flag of ours: ssh has no long options, and `--` ends its own. */
export function isFlag(word: string): boolean {
  return /^--./s.test(word);
}

/** Takes the flags out of the first `count` words; `wrong` is the first that is none of `names`. */
export function takeFlags<Flag extends string>(
  words: readonly string[],
  names: readonly Flag[],
  count = words.length,
): { flags: Record<Flag, boolean>; rest: string[]; wrong?: string } {
  const ours = words.filter((word, i) => i < count && isFlag(word));
  const rest = words.filter((word, i) => i >= count || !isFlag(word));
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
