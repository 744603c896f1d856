/** A home in which nothing is installed yet, and the checkout to install from. */
import assert from "node:assert/strict";
import { findProgram, INSTALLER, REPOSITORY } from "./programs.ts";
import { walk } from "./walk.ts";

export class Home implements Disposable {
  readonly path: string = Deno.makeTempDirSync({ prefix: "home of " });
  readonly prefix: string = `${this.path}/a prefix`;

  /** Runs a program with this home, and a state directory in it. */
  async run(program: string, args: string[], { input, env = {} }: {
    input?: string;
    env?: Record<string, string>;
  } = {}): Promise<{ code: number; stdout: string; stderr: string }> {
    const child = new Deno.Command(program, {
      args,
      cwd: this.path,
      env: {
        DENO_DIR: cacheDir,
        HOME: this.path,
        SSHS_DIR: `${this.path}/state`,
        SHELL: "/bin/sh",
        ...env,
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    // A shell stops reading after an error.
    await writer.write(new TextEncoder().encode(input ?? "")).catch(() => {});
    await writer.close().catch(() => {});
    const { code, stdout, stderr } = await child.output();
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    return { code, stdout: text(stdout), stderr: text(stderr) };
  }

  /** Runs install.sh from the checkout; fails unless it succeeds. */
  async install(...args: string[]): Promise<string> {
    const result = await this.run("sh", [INSTALLER, "--prefix", this.prefix, ...args]);
    assert.deepEqual({ code: result.code, stderr: result.stderr }, { code: 0, stderr: "" });
    return result.stdout;
  }

  /** Returns every file and directory under the prefix, with the contents of the files. */
  contents(directory = this.prefix): Record<string, string> {
    const paths = walk(directory).map((path) => `${directory}/${path}`);
    return Object.fromEntries(
      paths.map((path) => [path, path.endsWith("/") ? "" : Deno.readTextFileSync(path)]),
    );
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Removes from contents what depends on where they were bundled: packages are named relative to that. */
export function normal(contents: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(contents).map(([path, text]) => [path, text.replace(/(\.\.\/)+/g, "../")]),
  );
}

/** Deno's cache, which already has the packages that bundling needs. */
export const cacheDir: string = JSON.parse(
  new TextDecoder().decode(
    new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).outputSync().stdout,
  ),
).denoDir;

/** The type of .ts files in Debian's /etc/mime.types, which Deno does not accept for a module. */
const ODD_TYPE = "text/vnd.trolltech.linguist";

/** Serves the checkout as a raw file server would; `spoil` may answer instead. */
export function serve({ spoil, type = ODD_TYPE, root = REPOSITORY }: {
  spoil?: (path: string) => Response | undefined;
  /** The type of its modules. */
  type?: string;
  /** Another checkout; ends in a slash. */
  root?: string;
} = {}) {
  const served = new Set<string>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const path = new URL(request.url).pathname.slice(1);
    const spoilt = spoil?.(path);
    if (spoilt) return spoilt;
    try {
      const text = Deno.readTextFileSync(`${root}${path}`);
      served.add(path);
      const headers = { "content-type": path.endsWith(".ts") ? type : "text/plain" };
      return new Response(text, { headers });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return new Response("no such file", { status: 404 });
    }
  });
  const { port } = server.addr;
  return {
    base: `http://127.0.0.1:${port}`,
    served,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** Makes a directory that can be the whole PATH, with links to programs, and scripts. */
export function fillBin(bin: string, programs: string, scripts: Record<string, string>): void {
  Deno.mkdirSync(bin);
  for (const name of programs.split(" ")) {
    const path = findProgram(name);
    if (path) Deno.symlinkSync(path, `${bin}/${name}`);
  }
  for (const [name, script] of Object.entries(scripts)) {
    Deno.writeTextFileSync(`${bin}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }
}
