/**
 * Where the calls are made: a server of its own, launchers of sshs, and a state directory for each
 * way. Disposing of the lab removes all of it.
 */
import { allLanes } from "../lib/lane/layout.ts";
import { removePath } from "../lib/os/files.ts";
import { eventually } from "../tests/support/eventually.ts";
import { isThere } from "../tests/support/is_there.ts";
import { writeLaunchers } from "../tests/support/launchers.ts";
import { canMount } from "../tests/support/mounts.ts";
import { endAll, type Process, processes } from "../tests/support/processes.ts";
import { needProgram, run } from "../tests/support/programs.ts";
import { type ClientOptions, Sshd } from "../tests/support/sshd.ts";
import { call } from "./call.ts";

/** How a call is made; the value is its name in the report. */
export const WAYS = {
  plain: "plain ssh",
  auto: "ControlMaster auto",
  mux: "ssh -S, master up",
  script: "a shell script that execs it",
  sshs: "sshs",
  fresh: "sshs, words never seen",
  stuck: "sshs, Deno never answers",
} as const;

export type Way = keyof typeof WAYS;

/**
 * What is called: the server; a port that refuses connections, with a forward in its configuration; or the
 * server by way of a relay, once its configuration is written.
 */
export type Host = "near" | "direct" | "relayed";

export class Lab implements AsyncDisposable {
  readonly dir: string = Deno.makeTempDirSync();
  /** Short: a control socket's path takes 104 bytes at most. */
  readonly #states: string = Deno.makeTempDirSync({ prefix: "b-" });
  readonly sshd: Sshd;
  /** A copy of the state of sshs, once {@linkcode plan} has made it. */
  readonly #atRest = `${this.dir}/at-rest`;
  #isPlanned = false;

  private constructor(sshd: Sshd) {
    this.sshd = sshd;
  }

  /** Starts the server, and writes the launchers and configurations. */
  static async open(config: readonly string[] = []): Promise<Lab> {
    const lab = new Lab(await Sshd.start({ config }));
    await lab.#furnish();
    return lab;
  }

  /** Returns the words that stand for `ssh`: a destination and a command after them make a call. */
  rsh(way: Way, host: Host): string[] {
    const programs = {
      script: "execs-ssh",
      stuck: "stuck/bin/ssh",
      sshs: "bin/ssh",
      fresh: "bin/ssh",
    };
    const isStock = way === "plain" || way === "auto" || way === "mux";
    return [
      isStock ? needProgram("ssh") : `${this.dir}/${programs[way]}`,
      ...["-F", `${this.dir}/cfg/${way === "auto" ? "auto-" : ""}${host}`],
      ...way === "mux" || way === "script" ? ["-S", `${this.state(way)}/${host}`] : [],
    ];
  }

  /** Returns the argv of a whole call. */
  argv(way: Way, host: Host = "near"): string[] {
    return [...this.rsh(way, host), "host", "true"];
  }

  /** Returns the whole environment of a call. */
  env(way: Way, state: string = this.state(way)): Record<string, string> {
    return {
      PATH: Deno.env.get("PATH")!,
      HOME: `${this.dir}/home`,
      LANG: "C.UTF-8",
      SSHS_DIR: state,
      // Like ControlPersist in the other configuration: the default for loopback is 10 s.
      SSHS_LINGER: "10m",
      // Not the user's, which other programs use meanwhile.
      DENO_DIR: `${this.dir}/deno`,
    };
  }

  /** Returns the directory in which a way keeps its control sockets. */
  state(way: Way): string {
    return `${this.#states}/${way}`;
  }

  /** Makes a call, which must succeed; resolves to how long it took, ms. */
  async time(way: Way): Promise<number> {
    const { ms, failed, said } = await call(this.argv(way), this.env(way));
    if (failed) throw new Error(`${WAYS[way]}: ${said}`);
    return ms;
  }

  /**
   * Ends all connections of this way: the next call is a first one. What sshs left when it was last at rest
   * is there again; for words never seen that is nothing.
   */
  async cold(way: Way): Promise<void> {
    if (way === "plain") return; // It has none.
    const state = this.state(way);
    await endAll(this.processes(way).map(({ pid }) => pid));
    for await (const { name } of Deno.readDir(state)) {
      await Deno.remove(`${state}/${name}`, { recursive: true });
    }
    if (way === "sshs" && this.#isPlanned) await run("cp", ["-a", `${this.#atRest}/.`, state]);
    // Without these each of many calls decides by itself.
    if (way === "fresh" || way === "stuck") {
      for (const name of ["plans", "waiting"]) {
        await Deno.mkdir(`${state}/${name}`, { mode: 0o700 });
      }
    }
  }

  /** Makes sure that the next call of this way finds a connection, if the way shares. */
  async warm(way: Way): Promise<void> {
    if (way === "mux" || way === "script") {
      await call([...this.rsh(way, "near"), "-MNf", "host"], this.env(way));
    }
    await this.time(way);
    if (way === "sshs") await this.#waitForPlan("near");
  }

  /**
   * Makes sure that the next call of sshs is a first one, of words that have a plan: its state is that
   * after the last connection has closed, and its sleeper with it.
   */
  async plan(host: Host = "near"): Promise<void> {
    await call(this.argv("sshs", host), this.env("sshs"));
    await this.#waitForPlan(host);
    // A master that is killed would be remembered as one that the server has ended.
    const stopped = await call([`${this.dir}/bin/sshs`, "--stop", "--all"], this.env("sshs"));
    if (stopped.failed) throw new Error(`sshs --stop: ${stopped.said}`);
    await eventually(
      "no connection is open, and the sleeper has ended",
      () => this.processes("sshs").length === 0,
    );
    removePath(this.#atRest);
    await run("cp", ["-a", this.state("sshs"), this.#atRest]);
    this.#isPlanned = true;
  }

  /** Returns what a way keeps running: masters with their proxies, and sleepers. */
  processes(way: Way): Process[] {
    return this.#processes(this.state(way));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const left = [...this.#processes(this.dir), ...this.#processes(this.#states)];
    await endAll(left.map(({ pid }) => pid));
    await this.sshd[Symbol.asyncDispose]();
    if (canMount) await run("umount", ["--lazy", this.#states]);
    for (const dir of [this.dir, this.#states]) await Deno.remove(dir, { recursive: true });
  }

  /** Returns the processes that name a path in their arguments or environment. */
  #processes(path: string): Process[] {
    return processes().filter(({ pid, args, environ }) =>
      pid !== Deno.pid && (environ.includes(path) || args.some((word) => word.includes(path)))
    );
  }

  async #waitForPlan(host: Host): Promise<void> {
    // The launcher tells whether it has a plan that holds.
    const env = { ...this.env("sshs"), SSHS_TASK: "why" };
    const [program, ...args] = this.argv("sshs", host);
    await eventually("a plan holds (under nohup none is made)", async () => {
      const { stdout } = await new Deno.Command(program, { args, env, clearEnv: true }).output();
      return new TextDecoder().decode(stdout).includes("plan=held");
    }, { interval: 200 });
    // It makes what the next lane needs.
    const isHeld = () => allLanes(this.state("sshs")).every(({ master }) => isThere(master));
    await eventually("the sleeper holds the lanes", isHeld, { interval: 100 });
  }

  async #furnish(): Promise<void> {
    await Deno.chmod(this.dir, 0o755);
    // In memory, like XDG_RUNTIME_DIR, where sshs keeps its state by default.
    if (canMount) await run("mount", ["-t", "tmpfs", "bench", this.#states]);
    for (const name of ["home", "cfg"]) await Deno.mkdir(`${this.dir}/${name}`);
    for (const way of ["auto", "mux", "script", "sshs", "fresh", "stuck"] as const) {
      await Deno.mkdir(this.state(way), { mode: 0o700 });
      await this.cold(way);
    }
    writeLaunchers(this.dir);
    const script = `#!/bin/sh\nexec ${needProgram("ssh")} "$@"\n`;
    await Deno.writeTextFile(`${this.dir}/execs-ssh`, script, { mode: 0o755 });
    await this.writeConfig("near", {});
    await this.writeConfig("direct", { config: ["LocalForward 1 localhost:1"], port: 1 });
  }

  /** Writes clients' configurations that know the server: for ControlMaster auto, and for the other ways. */
  async writeConfig(host: Host, { config = [], ...options }: ClientOptions): Promise<void> {
    const auto = [
      "ControlMaster auto",
      "ControlPersist 10m",
      `ControlPath ${this.state("auto")}/%C`,
    ];
    for (const [name, lines] of [[host, config], [`auto-${host}`, [...config, ...auto]]] as const) {
      const about = { ...options, knowsHost: true, config: lines };
      await this.sshd.writeConfig(about, `${this.dir}/cfg/${name}`);
    }
    // Plans hold only if nothing has just changed.
    for (const dir of [`${this.dir}/cfg`, `${this.dir}/home`, this.sshd.dir]) {
      for await (const { name } of Deno.readDir(dir)) await Deno.utime(`${dir}/${name}`, 0, 0);
      await Deno.utime(dir, 0, 0);
    }
  }
}
