/** Runs single functions of the launcher, in each shell that may be /bin/sh. */
import { LAUNCHER } from "../../lib/launcher/launcher.ts";
import { quote } from "../../lib/os/program.ts";
import { REPOSITORY } from "./programs.ts";
import { SHELLS } from "./shells.ts";

/** How a script that calls the launcher's functions is run. */
export interface ScriptOptions {
  /** The words of the call, `$@`. */
  args?: readonly string[];
  /** Set in addition to PATH. */
  env?: Readonly<Record<string, string | undefined>>;
  /** Variables of the launcher, without "sshs_". */
  settings?: Readonly<Record<string, string | number>>;
  /** Replacements in the launcher's text, for a system file that it reads. */
  replace?: readonly (readonly [from: string, to: string])[];
}

/** The line at which the launcher's first file begins to act. */
const BEGIN = '\nsshs_begin "$@"\n';

/** The launcher's other files. */
const MORE = ["settle", "ask", "wait", "login", "roles"];

/**
 * Returns the functions of all files of the launcher, and a script in place of what it does with them.
 *
 * @throws {Error} when the text has no such line, or nothing to replace
 */
export function textWith(
  script: string,
  { settings = {}, replace = [] }: ScriptOptions = {},
): string {
  const first = LAUNCHER["launcher.sh"];
  if (!first.includes(BEGIN)) throw new Error("another launcher");
  const rest = MORE.map((name) => Deno.readTextFileSync(`${REPOSITORY}lib/launcher/${name}.sh`));
  let text = [first.slice(0, first.indexOf(BEGIN)), ...rest].join("\n");
  for (const [from, to] of replace) {
    if (!text.includes(from)) throw new Error(`The launcher's text has no ${from}`);
    text = text.replaceAll(from, () => to);
  }
  const set = Object.entries({ lib: "/nowhere", have: ` ${MORE.join(" ")} `, ...settings })
    .map(([name, value]) => `sshs_${name}=${quote(`${value}`)}\n`);
  return `${text}\n${set.join("")}${script}`;
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
  await child.stdin.close();
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** Registers a test for each of the shells, with a directory of its own. */
export function testInShells(
  name: string,
  fn: (shell: readonly string[], dir: string, test: Deno.TestContext) => void | Promise<void>,
  shells = SHELLS,
): void {
  for (const [shell, argv] of shells) {
    Deno.test(`${name} (${shell})`, async (test) => {
      const dir = await Deno.makeTempDir({ prefix: "l-" });
      try {
        await fn(argv, dir, test);
      } finally {
        await Deno.remove(dir, { recursive: true });
      }
    });
  }
}
