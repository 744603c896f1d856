/**
 * A connection identity: two calls share a master only if ssh would have connected the same way for
 * both. It is a text, and consists of the answer of `ssh -G`, without the session's own part, and of what
 * ssh looks at besides. What can ssh's answer to the same words depend on?
 *
 * | on                     | in the identity                       | tested by the plan (call/conditions.ts)
 * | ---------------------- | ------------------------------------- | --------------------------------------
 * | words                  | the lines of `ssh -G`                 | its key; their order stays the user's
 * | configuration files    | the lines of `ssh -G`                 | time of each, absent ones, globs' directories
 * | keys, certificates,    | contents, modes, owners               | time of each, absent ones; nothing is kept
 * | revoked host keys      |                                       | where ssh refuses a key for its mode
 * | keys in an agent       | its place; the keys belong to the lane (lane/, the sleeper), as they change without a trace
 * | environment            | what connectionLines() name, what leads ssh elsewhere, and for a program of the user's all but
 * |                        | the session's own (environment.ts)    | the same
 * | tickets                | which, and their times (tickets.ts)   | the cache's time; hidden ones: nothing is kept
 * | which ssh              | its path                              | PATH, another ssh that appears in it, its time
 * | working directory      | if a relative path counts             | nothing is kept
 * | uid, namespaces, job   | as they are                           | likewise, by the launcher
 * | Match exec, localnetwork, a wrapper around ssh, names that DNS makes canonical: the lines of `ssh -G`;
 * |                        | nothing is kept, and the identity is made again after the login (call/answer.ts)
 *
 * Not in it, and why:
 * - **known_hosts.** The host's key was verified when the connection began. ssh itself rewrites the file, so
 *   its contents would part what belongs together. Who takes a line out means later logins (`--fresh`).
 * - **A card** (PKCS11Provider, a FIDO key). Its library and environment count. What is plugged in is not to
 *   be seen without asking for a PIN or a touch: a lane outlives the card, as a session does.
 * - **The first ticket in a daemon's or the kernel's cache** (KCM, KEYRING) leaves no trace that a shell can test:
 *   a plan made when there was none lapses after an hour or two. Were none kept, every call on a Fedora without
 *   tickets would start Deno. A call that delegates tickets from such a cache goes direct.
 * - **A key file that others may suddenly read** (chmod 644) leaves no trace that a shell can test: a plan
 *   made before goes on. The next decision notices it.
 * - **What a ProxyCommand's script reads** besides its environment: files of its own, servers.
 * - **The clock.** What has an end (certificates, tickets) ends the lane: `until` in its record.
 * - **The network.** Which machine answers to an address, routes, DNS: a connection stays with the machine that
 *   it reached, and ends when its address is gone (the sleeper).
 */
import { isExecutable } from "../os/files.ts";
import type { Given } from "../os/given.ts";
import { inPath } from "../os/program.ts";
import type { SshConfig } from "./config_dump.ts";
import { connectionLines, dependsOnDirectory, dependsOnName } from "./connection_lines.ts";
import { environmentNames } from "./environment.ts";

/** What a call's identity rests on besides its configuration. */
export interface IdentityContext extends Pick<Given, "ssh" | "job" | "spaces"> {
  /** The uid as ssh sees it: in a user namespace another one than outside. */
  readonly uid: number | null;
  /** The destination as written. */
  readonly destination: string;
  /** The directory that the call is made in. */
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string>>;
  /** A digest of the key and certificate files (readKeys()). */
  readonly keys?: string;
  /** Whose tickets a login may use (ticketsOf()). */
  readonly tickets?: string;
  /** The identity of the jump host's connection, if known. */
  readonly jump?: string;
}

/** Returns the identity as text, one fact per line. If the texts are equal, calls can share a connection. */
export function identityText(config: SshConfig, context: IdentityContext): string {
  const { environment, jump } = context;
  const lines = [...connectionLines(config), `ssh ${context.ssh}`];
  for (const name of environmentNames(config, environment, { hasJump: jump !== undefined })) {
    lines.push(`environment ${name} ${JSON.stringify(environment[name] || null)}`);
  }
  for (const fact of ["uid", "spaces", "job", "keys", "tickets"] as const) {
    if (![undefined, null, ""].includes(context[fact] as string)) {
      lines.push(`${fact} ${context[fact]}`);
    }
  }
  if (dependsOnName(config)) lines.push(`destination ${context.destination}`);
  if (dependsOnDirectory(config, context.cwd)) lines.push(`directory ${context.cwd}`);
  if (jump) {
    lines.push(...jump.trimEnd().split("\n").map((line) => `jump ${line}`));
  } else {
    const [program] = proxyPrograms(config, environment.PATH).slice(-1);
    if (program) lines.push(`program ${program}`);
  }
  return lines.join("\n") + "\n";
}

/** Removes the values of variables, which may be secrets, so that the text may be stored in a file. */
export function withoutValues(text: string): string {
  return text.replace(/^((?:jump )*(?:environment \S+|setenv [^\s=]+))[ =].*$/gm, "$1");
}

/** Whether a master for this configuration may open the caller's agent or display to the far side. */
export function sharesAgentOrDisplay(config: SshConfig): boolean {
  return (config.get("forwardagent") ?? "no") !== "no" || config.get("forwardx11") === "yes";
}

/**
 * Returns where PATH looks for the program that a ProxyCommand begins with, if that is a bare name, up to the
 * first that can be run.
 */
export function proxyPrograms(config: SshConfig, path?: string): string[] {
  const [, name] = /^(?:exec\s+)?([\w.+-]+)(?:\s|$)/.exec(config.get("proxycommand") ?? "") ?? [];
  const places = name ? inPath(name, path) : [];
  const found = places.findIndex(isExecutable);
  return found < 0 ? [] : places.slice(0, found + 1);
}
