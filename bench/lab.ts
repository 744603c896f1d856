/**
 * Where the calls are made: a server of its own, a slow link to it, a host behind it, launchers of sshs,
 * and a state directory for each way. Disposing of the lab removes all of it.
 */
import { fromFileUrl } from "@std/path/posix/from-file-url";
import { eventually } from "../tests/support/eventually.ts";
import { writeLaunchers } from "../tests/support/launchers.ts";
import { canMount } from "../tests/support/mounts.ts";
import { endAll, type Process, processes } from "../tests/support/processes.ts";
import { needProgram, run } from "../tests/support/programs.ts";
import { Sshd } from "../tests/support/sshd.ts";
import { call } from "./call.ts";

/** How a call is made; the value is its name in the report. */
export const WAYS = {
  plain: "plain ssh",
  auto: "ControlMaster auto",
  mux: "ssh -S, master up",
  sshs: "sshs",
  fresh: "sshs, words never seen",
} as const;

export type Way = keyof typeof WAYS;

/**
 * What is called; the value is its name in the report. `far` takes 25 ms each way; `inner` is the server
 * again, through itself; `direct` refuses connections, and its configuration has a forward.
 */
export const HOSTS = {
  near: "loopback",
  far: "50 ms link",
  inner: "behind a bastion",
  direct: "direct by its configuration",
} as const;

export type Host = keyof typeof HOSTS;

export class Lab implements AsyncDisposable {
  readonly dir: string = Deno.makeTempDirSync();
  /** Short: a control socket's path takes 104 bytes at most. */
  readonly #states: string = Deno.makeTempDirSync({ prefix: "b-" });
  /** Where both the server's account and the bench may write. */
  readonly remote = `${this.dir}/remote`;
  readonly sshd: Sshd;
  readonly #relay: Deno.ChildProcess;

  private constructor(sshd: Sshd, relay: Deno.ChildProcess) {
    this.sshd = sshd;
    this.#relay = relay;
  }

  /** Starts the server and the link, and writes the launchers and configurations. */
  static async open(config: readonly string[] = []): Promise<Lab> {
    const sshd = await Sshd.start({ config });
    const { relay, port } = await startRelay(sshd.port);
    const lab = new Lab(sshd, relay);
    await lab.#furnish(port);
    return lab;
  }

  /** Returns the words that stand for `ssh`: a destination and a command after them make a call. */
  rsh(way: Way, host: Host): string[] {
    const program = way === "sshs" || way === "fresh" ? `${this.dir}/bin/ssh` : needProgram("ssh");
    const socket = way === "mux" ? ["-S", `${this.state(way)}/${host}`] : [];
    return [
      program,
      "-F",
      `${this.dir}/cfg/${way === "auto" ? "auto" : "plain"}-${host}`,
      ...socket,
    ];
  }

  /** Returns the argv of a whole call. */
  argv(way: Way, host: Host, command: readonly string[] = ["true"]): string[] {
    return [...this.rsh(way, host), host === "inner" ? "inner" : "host", ...command];
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
  async time(way: Way, host: Host): Promise<number> {
    const { ms, success, said } = await call(this.argv(way, host), this.env(way));
    if (!success) throw new Error(`${WAYS[way]}, ${HOSTS[host]}: ${said}`);
    return ms;
  }

  /** Ends all connections of this way: the next call is a first one. Plans stay, but for words never seen. */
  async cold(way: Way): Promise<void> {
    if (way === "plain") return; // It has none.
    const state = this.state(way);
    await endAll(this.processes(way).map(({ pid }) => pid));
    const kept = way === "sshs" ? ["plans", "stamps"] : [];
    for await (const { name } of Deno.readDir(state)) {
      if (!kept.includes(name)) await Deno.remove(`${state}/${name}`, { recursive: true });
    }
    // Without this directory each of many calls decides by itself.
    if (way === "fresh") await Deno.mkdir(`${state}/plans`, { mode: 0o700 });
  }

  /** Makes sure that the next call of this way finds a connection, if the way shares. */
  async warm(way: Way, host: Host): Promise<void> {
    if (way === "mux") await call([...this.rsh(way, host), "-MNf", "host"], this.env(way));
    await this.time(way, host);
    if (way === "sshs") await this.#waitForPlan(host);
  }

  /** Makes sure that the next call of sshs is a first one, of words that have a plan. */
  async plan(host: Host): Promise<void> {
    await this.time("sshs", host);
    await this.#waitForPlan(host);
    await this.cold("sshs");
  }

  /** Returns what a way keeps running: masters with their proxies, and sleepers. */
  processes(way: Way): Process[] {
    return this.#processes(this.state(way));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const left = [...this.#processes(this.dir), ...this.#processes(this.#states)];
    await endAll([...left.map(({ pid }) => pid), this.#relay.pid]);
    await this.#relay.status;
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
    const env = { ...this.env("sshs"), SSHS_TASK: "plan" };
    await eventually("a plan holds (under nohup none is made)", async () => {
      return (await call(this.argv("sshs", host), env)).success;
    }, { deadline: 20_000, interval: 200 });
  }

  async #furnish(farPort: number): Promise<void> {
    await Deno.chmod(this.dir, 0o755);
    // In memory, like XDG_RUNTIME_DIR, where sshs keeps its state by default.
    if (canMount) await run("mount", ["-t", "tmpfs", "bench", this.#states]);
    for (const name of ["home", "remote", "cfg"]) await Deno.mkdir(`${this.dir}/${name}`);
    for (const way of ["auto", "mux", "sshs", "fresh"] as const) {
      await Deno.mkdir(this.state(way), { mode: 0o700 });
    }
    await Deno.mkdir(`${this.state("fresh")}/plans`, { mode: 0o700 });
    await Deno.chmod(this.remote, 0o777);
    writeLaunchers(this.dir);
    const auto = [
      "ControlMaster auto",
      "ControlPersist 10m",
      `ControlPath ${this.state("auto")}/%C`,
    ];
    for (const [way, config] of Object.entries({ plain: [], auto })) {
      await this.writeConfig(`${way}-near`, { config });
      await this.writeConfig(`${way}-far`, { config, port: farPort });
      await this.writeConfig(`${way}-direct`, { config: ["LocalForward 1 localhost:1"], port: 1 });
      const path = await this.writeConfig(`${way}-inner`, { config, aliases: ["inner"] });
      const text = await Deno.readTextFile(path);
      await Deno.writeTextFile(path, `Host inner\nProxyJump host\n${text}`);
    }
    await this.#rest();
  }

  /** Writes a client's configuration that knows the server, and sets its time back; resolves to its path. */
  async writeConfig(name: string, options: Parameters<Sshd["writeConfig"]>[0]): Promise<string> {
    const path = `${this.dir}/cfg/${name}`;
    await this.sshd.writeConfig({ knowsHost: true, ...options }, path);
    await this.#rest();
    return path;
  }

  /** Sets file times back, since plans hold only if nothing has just changed. */
  async #rest(): Promise<void> {
    for (const dir of [`${this.dir}/cfg`, `${this.dir}/home`, this.sshd.dir]) {
      for await (const { name } of Deno.readDir(dir)) await Deno.utime(`${dir}/${name}`, 0, 0);
      await Deno.utime(dir, 0, 0);
    }
  }
}

/** Starts the relay as a process of its own, so that its timers do not wait for the bench. */
async function startRelay(target: number): Promise<{ relay: Deno.ChildProcess; port: number }> {
  const script = fromFileUrl(new URL("../tests/support/relay.ts", import.meta.url));
  const relay = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "--allow-net", script, `${target}`, "25"],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = relay.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!said.includes("\n")) said += (await reader.read()).value ?? "\n";
  reader.releaseLock();
  return { relay, port: Number(said) };
}
