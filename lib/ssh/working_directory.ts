/** Whether a connection depends on the directory that ssh is started in. */
import { exists } from "../os/files.ts";
import { keyOf, type SshConfig } from "./config_dump.ts";
import { connectionLines } from "./connection_lines.ts";

// Keywords whose values are files, relative to that directory.
const FILE_KEYS = new Set([
  ...["identityfile", "certificatefile", "globalknownhostsfile", "userknownhostsfile"],
  ...["revokedhostkeys", "identityagent", "forwardagent", "xauthlocation"],
]);
const NO_FILES = new Set(["none", "no", "yes", "SSH_AUTH_SOCK"]);

// Keywords in whose values any word may be a file: commands, and libraries, which dlopen() searches for
// unless there is a slash.
const COMMAND_KEYS = new Set([
  ...["proxycommand", "knownhostscommand", "pkcs11provider", "securitykeyprovider"],
]);

/**
 * Whether a relative path makes the configuration depend on the directory of the call, `cwd`. A word of a
 * command without a slash counts if there is such a file.
 */
export function dependsOnDirectory(config: SshConfig, cwd: string): boolean {
  if (config.files.some((file) => !file.startsWith("/"))) return true;
  return connectionLines(config).some((line) => {
    const key = keyOf(line);
    const value = line.slice(key.length + 1);
    if (FILE_KEYS.has(key)) return value.split(" ").some(isRelativeFile);
    return COMMAND_KEYS.has(key) && (RELATIVE_SCRIPT.test(value) ||
      value.split(/[\s;|&<>()"'`=:,]+/).some((word, i) =>
        isRelativeFile(word) && (word.includes("/") || (i > 0 && exists(`${cwd}/${word}`)))
      ));
  });
}

/** Matches `python3 relay.py %h %p`, but not every word that ends so, as hosts in Poland (.pl) do. */
const RELATIVE_SCRIPT =
  /\b(?:(?:ba|da|k|z)?sh|deno run|lua|node|perl|php|python[\d.]*|ruby|tclsh)(?:\s+-\S+)*\s+\w[\w.-]*\.(?:js|lua|mjs|php|pl|py|rb|sh|tcl|ts)\b(?!\/)/;

function isRelativeFile(word: string): boolean {
  return !/^([/~$-]|%d|$)/.test(word) && !NO_FILES.has(word);
}
