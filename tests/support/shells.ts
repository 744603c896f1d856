/** The installed ones of the shells that may be /bin/sh somewhere. */
import { findProgram } from "./programs.ts";

const ALL: readonly [name: string, program: string, ...args: string[]][] = [
  ["dash", "dash"],
  ["bash", "bash", "--posix"],
  ["busybox", "busybox", "ash"],
  ["zsh", "zsh", "--emulate", "sh"],
];

/** The name of each, and its argv. */
export const SHELLS: readonly [name: string, argv: readonly string[]][] = ALL.flatMap(
  ([name, program, ...args]) => {
    const path = findProgram(program);
    return path === undefined ? [] : [[name, [path, ...args]]];
  },
);
