/**
 * Where the calls are made: a server of its own, a slow link to it, sshs installed for the time, and
 * for each way a directory with its control sockets. All of it is gone when the lab is disposed.
 */
import { emptyDir } from "@std/fs";
import { fromFileUrl } from "@std/path/posix/from-file-url";
import { eventually } from "../tests/support/eventually.ts";
import { endAll, type Process, processes } from "../tests/support/processes.ts";
import { findProgram, needProgram, run, SSHS } from "../tests/support/programs.ts";
import { Sshd } from "../tests/support/sshd.ts";
import { EVERY_LINK, type Link, type Way } from "./way.ts";

/** One way in ms: a round trip takes twice as long. */
const DELAY = 25;

export class Lab implements AsyncDisposable {
  readonly dir: string;
  readonly sshd: Sshd;
  /** Where both the server's account and the bench may write. */
  readonly remote: string;
  readonly #ports: Readonly<Record<Link, number>>;
  readonly #relay: Deno.ChildProcess;

  private constructor(dir: string, sshd: Sshd, relay: Deno.ChildProcess, far: number) {
    this.dir = dir;
    this.sshd = sshd;
    this.remote = `${dir}/remote`;
    this.#relay = relay;
    this.#ports = { loopback: sshd.port, far };
  }

  /** Starts the server and the link, and installs sshs. */
  static async open(config: readonly string[] = []): Promise<Lab> {
    // Short: a control socket's path takes 104 bytes at most.
    const dir = await Deno.makeTempDir({ prefix: "b-" });
    await Deno.chmod(dir, 0o755);
    const sshd = await Sshd.start({ config });
    const { relay, port } = await startRelay(sshd.port);
    const lab = new Lab(dir, sshd, relay, port);
    try {
      await lab.#furnish();
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  /** The words that stand for `ssh`: with a destination and a command behind them they are a call. */
  rsh(way: Way, link: Link): string[] {
    const config = ["-F", `${this.dir}/ssh/${way === "auto" ? "auto" : "plain"}-${link}`];
    const ssh = needProgram("ssh");
    switch (way) {
      case "launcher":
        return [`${this.dir}/prefix/bin/ssh`, ...config];
      case "slow":
        return [...SSHS, "--as=ssh", ...config];
      case "mux":
        return [ssh, ...config, "-S", this.#socket(link)];
      case "auto":
      case "plain":
        return [ssh, ...config];
      case "plink":
        return [
          needProgram("plink"),
          ...["-ssh", "-batch", "-share", "-i", `${this.dir}/key.ppk`, "-P", this.#port(link)],
        ];
      default:
        return way satisfies never;
    }
  }

  /** A whole call. */
  call(way: Way, link: Link, command: readonly string[] = ["true"]): string[] {
    return [...this.rsh(way, link), this.#destination(way), ...command];
  }

  /** The whole environment of a call. */
  env(way: Way): Record<string, string> {
    const outer = Deno.env.toObject();
    return {
      PATH: outer.PATH,
      HOME: `${this.dir}/home`,
      LANG: "C.UTF-8",
      SSHS_DIR: this.#state(way),
      // Not the user's, which other programs are at work in.
      DENO_DIR: `${this.dir}/deno`,
      GIT_CONFIG_GLOBAL: "/dev/null",
      GIT_CONFIG_NOSYSTEM: "1",
    };
  }

  /** Sees to it that the next call of this way finds a connection, if it is one that shares. */
  async warm(way: Way, link: Link): Promise<void> {
    if (way === "mux") await this.#run(way, [...this.rsh(way, link), "-MNf", "host"]);
    if (way === "plink") await this.#startPlink(link);
    await this.#run(way, this.call(way, link));
    if (way !== "launcher") return;
    // The first plan may be void: a plan is dated two seconds back, when its config may be younger.
    await eventually("the launcher's plan holds", async () => {
      const before = this.planned();
      await this.#run(way, this.call(way, link));
      return before !== "" && before === this.planned();
    }, { interval: 500, deadline: 20_000 });
  }

  /** Ends all connections of this way: the next call is a first one. */
  async cold(way: Way): Promise<void> {
    if (way === "plain") return; // It has none.
    await endAll(this.processes(way).map(({ pid }) => pid));
    // Ours makes its directory by itself.
    if (way === "launcher" || way === "slow") await remove(this.#state(way));
    else await emptyDir(this.#state(way));
  }

  /** What this way keeps running: masters, and the sleeper. */
  processes(way: Way): Process[] {
    const state = `${this.#state(way)}`;
    return processes().filter(({ pid, args }) =>
      pid !== Deno.pid && args.some((word) => word.includes(`${state}/`) || word === state)
    );
  }

  /** The launcher's plans and their dates: another text after a call that went the slow way. */
  planned(): string {
    const plans = `${this.#state("launcher")}/plans`;
    try {
      const names = Array.from(Deno.readDirSync(plans), ({ name }) => name).sort();
      return names.map((name) => `${name} ${Deno.statSync(`${plans}/${name}`).ino}`).join("\n");
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ours = processes().filter(({ pid, args, environ }) =>
      pid !== Deno.pid && (environ.includes(this.dir) || args.some((a) => a.includes(this.dir)))
    );
    await endAll([...ours.map(({ pid }) => pid), this.#relay.pid]);
    await this.#relay.status;
    await this.sshd[Symbol.asyncDispose]();
    await Deno.remove(this.dir, { recursive: true });
  }

  async #furnish(): Promise<void> {
    for (const name of ["home", "ssh", "remote"]) await Deno.mkdir(`${this.dir}/${name}`);
    await Deno.chmod(this.remote, 0o777);
    const auto = ["ControlMaster auto", "ControlPersist 10m", `ControlPath ${this.dir}/auto/%C`];
    for (const link of EVERY_LINK) {
      const port = this.#ports[link];
      await this.sshd.writeConfig({ port }, `${this.dir}/ssh/plain-${link}`);
      await this.sshd.writeConfig({ port, config: auto }, `${this.dir}/ssh/auto-${link}`);
    }
    for (const way of ["mux", "auto", "plink"] as const) await Deno.mkdir(this.#state(way));
    await install(`${this.dir}/prefix`);
    // Fills Deno's cache, as any call has that came before.
    for (const way of ["launcher", "slow"] as const) {
      await this.#run(way, [...this.rsh(way, "loopback"), "-V"]);
    }
    if (findProgram("puttygen")) {
      const key = [`${this.sshd.dir}/user_key`, "-O", "private", "-o", `${this.dir}/key.ppk`];
      await run("puttygen", key);
    }
    // Each config has its own known hosts: none is to be learnt in what is measured.
    for (const link of EVERY_LINK) {
      await this.#run("plain", this.call("plain", link));
      await this.#run("auto", [...this.rsh("auto", link), "-S", "none", "host", "true"]);
    }
  }

  async #run(way: Way, [program, ...args]: readonly string[]): Promise<void> {
    const child = new Deno.Command(program, {
      args,
      env: this.env(way),
      clearEnv: true,
      stdin: "null",
      stdout: "null",
      // Not a pipe: a master that the call leaves behind would hold it.
      stderr: "null",
    }).spawn();
    const { success, code } = await child.status;
    if (!success) throw new Error(`${program} ${args.join(" ")}: it ended with ${code}`);
  }

  /** The first plink serves those that come later, for as long as its own session lasts. */
  async #startPlink(link: Link): Promise<void> {
    const fingerprint = await run("ssh-keygen", ["-lf", `${this.sshd.dir}/host_key`]);
    const [program, ...args] = this.rsh("plink", link);
    const hostKey = ["-hostkey", fingerprint.split(" ")[1]];
    const options = { env: this.env("plink"), clearEnv: true } as const;
    const quiet = { stdin: "null", stdout: "null", stderr: "null" } as const;
    new Deno.Command(program, {
      args: [...args, ...hostKey, "-N", this.#destination("plink")],
      ...options,
      ...quiet,
    }).spawn().unref();
    await eventually("plink shares", async () => {
      const asked = [...args, "-shareexists", this.#destination("plink")];
      return (await new Deno.Command(program, { args: asked, ...options, ...quiet }).output())
        .success;
    });
  }

  #destination(way: Way): string {
    return way === "plink" ? `${this.sshd.user.name}@127.0.0.1` : "host";
  }

  #socket(link: Link): string {
    return `${this.#state("mux")}/${link}`;
  }

  #port(link: Link): string {
    return `${this.#ports[link]}`;
  }

  #state(way: Way): string {
    return `${this.dir}/${way}`;
  }
}

/** A process of its own: its timers are not to wait for what the bench does. */
async function startRelay(target: number): Promise<{ relay: Deno.ChildProcess; port: number }> {
  const script = fromFileUrl(new URL("../tests/support/relay.ts", import.meta.url));
  const relay = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-config", "--allow-net", script, `${target}`, `${DELAY}`],
    stdin: "null",
    stdout: "piped",
  }).spawn();
  const reader = relay.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  while (!said.includes("\n")) said += (await reader.read()).value ?? "\n";
  reader.releaseLock();
  return { relay, port: Number(said) };
}

async function install(prefix: string): Promise<void> {
  const script = fromFileUrl(new URL("../install.sh", import.meta.url));
  await run("sh", [script, "--prefix", prefix]);
}

async function remove(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
