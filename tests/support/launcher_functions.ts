/** Runs single functions of the launcher, in each shell that may be /bin/sh. */
import { launcherText } from "../../lib/launcher/launcher.ts";
import { quote } from "../../lib/os/program.ts";
import { BUNDLE } from "./programs.ts";
import { SHELLS } from "./shells.ts";

/** How a script that calls the launcher's functions is run. */
export interface ScriptOptions {
  /** The words of the call, `$@`. */
  args?: readonly string[];
  /** Set in addition to PATH. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Variables of the launcher, set above its functions. */
  settings?: Readonly<Record<string, string | number>>;
  /** Replacements in the launcher's text, for a system file that it reads. */
  replace?: readonly (readonly [from: string, to: string])[];
  stdin?: string;
}

/** The lines at which the launcher acts as soon as it has read them. */
const BEGIN = '\nsshs_begin "$@"\n';
const GO_ON = '\nsshs_go_on "$@"\n';

/**
 * Returns the launcher's functions, and a script in place of what the launcher does with them.
 *
 * @throws {Error} when the text has no such lines, or nothing to replace
 */
export function textWith(
  script: string,
  { settings = {}, replace = [] }: ScriptOptions = {},
): string {
  const whole = launcherText();
  if (!whole.includes(BEGIN) || !whole.endsWith(GO_ON)) throw new Error("another launcher");
  let text = whole.slice(0, -GO_ON.length + 1).replace(BEGIN, "\n");
  for (const [from, to] of replace) {
    if (!text.includes(from)) throw new Error(`The launcher's text has no ${from}`);
    text = text.replaceAll(from, () => to);
  }
  const set = Object.entries({ deno: "/nowhere/deno", program: BUNDLE, ...settings })
    .map(([name, value]) => `sshs_${name}=${quote(`${value}`)}\n`);
  return ["sshs_lib=/nowhere\n", text, ...set, script].join("");
}

/** Starts a script that can call the launcher's functions. */
export function spawnScript(
  shell: readonly string[],
  script: string,
  options: ScriptOptions = {},
): Deno.ChildProcess {
  const env = { PATH: "/usr/bin:/bin", ...options.env };
  const set = Object.entries(env).filter((entry): entry is [string, string] =>
    entry[1] !== undefined
  );
  return new Deno.Command(shell[0], {
    args: [...shell.slice(1), "-c", textWith(script, options), "sh", ...options.args ?? []],
    clearEnv: true,
    env: Object.fromEntries(set),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Resolves to what such a script prints, including stderr, which should be empty. */
export async function outputOf(
  shell: readonly string[],
  script: string,
  options: ScriptOptions = {},
): Promise<string> {
  const child = spawnScript(shell, script, options);
  const writer = child.stdin.getWriter();
  if (options.stdin) await writer.write(new TextEncoder().encode(options.stdin));
  await writer.close();
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** Registers a test for each of the shells. */
export function testInShells(
  name: string,
  fn: (shell: readonly string[], test: Deno.TestContext) => void | Promise<void>,
): void {
  for (const [shell, argv] of SHELLS) {
    Deno.test(`${name} (${shell})`, (test) => fn(argv, test));
  }
}
