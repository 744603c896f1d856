/**
 * README's recipes, each in a home of its own (as root, in an account of its own): install, install again,
 * upgrade, remove; nothing is left.
 */
import assert from "node:assert/strict";
import { VERSION } from "../lib/os/program.ts";
import { account, canMakeAccounts } from "./support/account.ts";
import { cacheDir, DIST, serve } from "./support/home.ts";
import { needProgram, REPOSITORY, run } from "./support/programs.ts";

/** An empty home, and what its owner types. */
class Newcomer implements AsyncDisposable {
  readonly home: string;
  readonly #stack = new AsyncDisposableStack();
  #owner?: string;

  private constructor() {
    this.home = Deno.makeTempDirSync({ prefix: "h-" });
    this.#stack.defer(() => Deno.remove(this.home, { recursive: true }));
  }

  static async create(): Promise<Newcomer> {
    const newcomer = new Newcomer();
    if (canMakeAccounts) newcomer.#owner = (await account()).name;
    // What Deno has already fetched, its bundler among it.
    const cache = `${newcomer.home}/.cache/deno`;
    await run("mkdir", ["-p", cache]);
    await run("cp", ["-R", `${cacheDir}/npm`, cache]);
    await newcomer.own(newcomer.home);
    return newcomer;
  }

  /** Makes a directory outside the home, which is removed with it. */
  temporary(): string {
    const dir = Deno.makeTempDirSync();
    Deno.chmodSync(dir, 0o755);
    this.#stack.defer(() => Deno.remove(dir, { recursive: true }));
    return dir;
  }

  /** Makes the owner of the home own a directory. */
  async own(path: string): Promise<void> {
    if (this.#owner) await run("chown", ["-R", `${this.#owner}:`, path]);
  }

  /** Runs a script as the owner would type it; fails unless it succeeds. */
  async types(script: string): Promise<string> {
    const path = `${this.home}/.local/bin:${this.home}/.deno/bin`;
    const [program, ...args] = [
      ...this.#owner
        ? [needProgram("setpriv"), `--reuid=${this.#owner}`, "--clear-groups", "--"]
        : [],
      ...["/bin/sh", "-ec", script],
    ];
    const { code, stdout, stderr } = await new Deno.Command(program, {
      args,
      cwd: this.home,
      clearEnv: true,
      env: {
        HOME: this.home,
        TMPDIR: this.home,
        PATH: `${path}:${Deno.execPath().replace(/\/[^/]+$/, "")}:/usr/bin:/bin`,
        SSHS_IMPORTS: Deno.env.get("SSHS_IMPORTS") ?? "",
        DENO_TLS_CA_STORE: "mozilla,system",
        NO_COLOR: "1",
      },
      stdin: "null",
    }).output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    assert.equal(code, 0, `${script}: ${text(stdout)}${text(stderr)}`);
    return text(stdout);
  }

  /** Lists everything in the home but Deno's cache and git's own files. */
  async files(): Promise<string[]> {
    return (await run("find", [
      this.home,
      "-path",
      `${this.home}/.cache`,
      "-prune",
      "-o",
      "-print",
    ]))
      .trim().split("\n").map((path) => path.slice(this.home.length))
      .filter((path) => path && !path.includes("/.git/")).sort();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }
}

/** Copies the checkout, so that it can be changed. */
async function copyOfRepository(dir: string): Promise<string> {
  const files = await run("git", ["-C", REPOSITORY, "ls-files", "-co", "--exclude-standard"]);
  await run("mkdir", ["-p", dir]);
  await run("tar", ["-C", dir, "-x"], await run("tar", ["-C", REPOSITORY, "-cT", "-"], files));
  return dir;
}

async function raiseVersion(dir: string): Promise<void> {
  const places = {
    "lib/os/program.ts": `VERSION = "${VERSION}"`,
    "CHANGELOG.md": `## ${VERSION} `,
  };
  for (const [name, place] of Object.entries(places)) {
    const text = await Deno.readTextFile(`${dir}/${name}`);
    assert.ok(text.includes(place), name);
    await Deno.writeTextFile(
      `${dir}/${name}`,
      text.replace(place, place.replace(VERSION, "99.0.0")),
    );
  }
}

async function commit(dir: string): Promise<void> {
  const who = ["-c", "user.name=neo", "-c", "user.email=neo@example.com"];
  const git = [...who, "-c", `safe.directory=${dir}`, "-C", dir];
  await run("git", [...git, "add", "--all"]);
  await run("git", [...git, "commit", "--quiet", "--message=x"]);
}

Deno.test("dotfiles: a script that clones or pulls, and installs, may run any number of times, offline too", async () => {
  await using newcomer = await Newcomer.create();
  const elsewhere = newcomer.temporary();
  const origin = await copyOfRepository(`${elsewhere}/origin`);
  await run("git", ["init", "--quiet", origin]);
  await commit(origin);
  await newcomer.own(elsewhere);

  const script = recipe("From a dotfiles repository").replaceAll("URL", `file://${origin}`);
  await newcomer.types(script);
  assert.match(await newcomer.types("ssh -V 2>&1; sshs --version"), /^OpenSSH.*\nsshs /);
  const first = await newcomer.files();
  await Deno.rename(origin, `${origin}.gone`);
  await newcomer.types(script);
  await Deno.rename(`${origin}.gone`, origin);
  assert.deepEqual(await newcomer.files(), first);

  await raiseVersion(origin);
  await commit(origin);
  await newcomer.own(origin);
  await newcomer.types(script);
  assert.match(await newcomer.types("sshs --version"), /^sshs 99\.0\.0,/);

  await newcomer.types("sshs --uninstall; rm -rf ~/.local/src/sshs; rmdir ~/.local/src ~/.local");
  assert.deepEqual(await newcomer.files(), []);
});

Deno.test("Deno alone, without npm or curl: deno install, and sshs --install; and again to upgrade", async () => {
  await using newcomer = await Newcomer.create();
  const www = newcomer.temporary();
  await run("cp", [`${DIST}/sshs.js`, www]);
  await using server = serve(www);
  const script = recipe("With Deno alone").replaceAll("BASE", server.base);
  await newcomer.types(script);
  assert.match(await newcomer.types("ssh -V 2>&1; sshs --version"), /^OpenSSH.*\nsshs /);
  const first = await newcomer.files();

  const text = await Deno.readTextFile(`${www}/sshs.js`);
  await Deno.writeTextFile(`${www}/sshs.js`, text.replaceAll(`"${VERSION}"`, '"99.0.0"'));
  await newcomer.types(script.replace("--global", "--global --force --reload"));
  assert.match(await newcomer.types("sshs --version"), /^sshs 99\.0\.0,/);
  assert.deepEqual(await newcomer.files(), first);

  await newcomer.types("sshs --uninstall; deno uninstall --global sshs; rm -rf ~/.deno");
  assert.deepEqual(await newcomer.files(), []);
});

/** Returns what README or the guide says to type after a paragraph that begins with these words. */
function recipe(begins: string): string {
  const text = ["README.md", "GUIDE.md"].map((name) => Deno.readTextFileSync(REPOSITORY + name))
    .join("\n");
  const [, after] = text.split(`\n${begins}`);
  const [, lines] = /\n\n((?: {4}.*\n)+)/.exec(after ?? "") ?? [];
  assert.ok(lines, begins);
  return lines;
}
