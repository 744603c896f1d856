/** The lines that a user adds to the startup file of a shell, so that what is installed is found first. */
import { basename } from "@std/path/posix/basename";
import { quote } from "../os/program.ts";
import type { System } from "../os/system.ts";

/** Returns the path of the user's shell. */
export function shellOf(system: Pick<System, "env">): string {
  return system.env("SHELL") ?? "/bin/sh";
}

/** Returns the line that puts `bin` first in PATH. `shell` is the shell's path, as in `$SHELL`. */
export function pathLine(shell: string, bin: string): string {
  const word = /^[\w/.@%+,-]+$/.test(bin) ? bin : quote(bin) ?? bin;
  if (basename(shell) === "fish") return `fish_add_path --move --path ${word}`;
  return word === bin ? `export PATH="${bin}:$PATH"` : `export PATH=${word}:"$PATH"`;
}

const FILES: Record<string, string> = {
  bash: "~/.bashrc",
  zsh: "~/.zshrc",
  fish: "~/.config/fish/config.fish",
};

/** Returns the file that a shell reads when it starts, as users write its path. */
export function startupFile(shell: string): string {
  return FILES[basename(shell)] ?? "~/.profile";
}
