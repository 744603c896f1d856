/** A home in which nothing is installed yet, and a server of what is released. */
import assert from "node:assert/strict";
import { findProgram, REPOSITORY, SSHS } from "./programs.ts";
import { walk } from "./walk.ts";

/** The files of a release, which `deno task release` makes. */
export const DIST = `${REPOSITORY}dist`;

/** The result of a program. */
export interface Result {
  code: number;
  stdout: string;
  stderr: string;
}

export class Home implements Disposable {
  /** With what a path may contain. */
  readonly path: string = Deno.makeTempDirSync({ prefix: "neo's home " });
  readonly prefix: string = `${this.path}/.local`;

  /** Runs a program with this home, and a state directory in it. */
  async run(program: string, args: string[], { input, env = {}, cwd = this.path }: {
    input?: string;
    env?: Record<string, string>;
    cwd?: string;
  } = {}): Promise<Result> {
    const child = new Deno.Command(program, {
      args,
      cwd,
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

  /** Runs a command of the released program. */
  sshs(...args: string[]): Promise<Result> {
    return this.run(SSHS[0], [...SSHS.slice(1), ...args]);
  }

  /** Has the released program install itself. */
  async install(): Promise<string> {
    const { code, stdout, stderr } = await this.sshs("--install");
    assert.deepEqual({ code, stderr }, { code: 0, stderr: "" });
    return stdout;
  }

  /** Returns every file and directory under the prefix: the contents of files, the targets of links. */
  contents(directory = this.prefix): Record<string, string> {
    return Object.fromEntries(
      walk(directory).map((name) => {
        const path = `${directory}/${name}`;
        if (name.endsWith("/")) return [name, ""];
        return [
          name,
          Deno.lstatSync(path).isSymlink
            ? `-> ${Deno.readLinkSync(path)}`
            : Deno.readTextFileSync(path),
        ];
      }),
    );
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** Deno's cache, which already has the packages that a release is made of. */
export const cacheDir: string = JSON.parse(
  new TextDecoder().decode(
    new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).outputSync().stdout,
  ),
).denoDir;

/** Serves a directory as a raw file server would; `spoil` may answer instead. */
export function serve(
  root: string = DIST,
  spoil: (path: string) => Response | undefined = () => undefined,
) {
  const served = new Set<string>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const path = new URL(request.url).pathname.slice(1);
    served.add(path);
    try {
      const headers = { "content-type": "text/javascript" };
      return spoil(path) ?? new Response(Deno.readTextFileSync(`${root}/${path}`), { headers });
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      return new Response("no such file", { status: 404 });
    }
  });
  return {
    base: `http://127.0.0.1:${server.addr.port}`,
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
