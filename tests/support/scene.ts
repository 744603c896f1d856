import assert from "node:assert/strict";
import { exists, readText } from "../../lib/os/files.ts";
import type { Account } from "./account.ts";
import { assertSameBytes } from "./bytes.ts";
import { eventually } from "./eventually.ts";
import { writeLaunchers } from "./launchers.ts";
import { descendants, endAll, isAlive, type Process } from "./processes.ts";
import { needProgram, needPython } from "./programs.ts";
import { Pty, type PtyOptions } from "./pty.ts";
import { Relay, type RelayOptions } from "./relay.ts";
import { type RunOptions, type RunResult, Sandbox, type SpawnOptions } from "./sandbox.ts";
import { Sshd, type SshdOptions } from "./sshd.ts";

/** How a scene differs from a server that takes a key, and a client that knows the server already. */
export interface SceneOptions extends SshdOptions {
  /** Set in the sandbox's environment. */
  env?: Readonly<Record<string, string>>;
  /** Put a {@linkcode Relay} between client and server. */
  relay?: RelayOptions;
  /** Let the client go through a ProxyCommand, which is `proxy` in the sandbox. */
  proxy?: boolean;
  /** Have the system's own ssh where ours is else, to see what is to be expected of ours. */
  plain?: boolean;
}

/** What a call sends and gets back: more than a pipe holds. */
const BYTES = Uint8Array.from({ length: 100_000 }, (_, i) => i * 7);

/** The file that keeps a Deno waiting. */
const HOLD = "hold-deno";

/** What is in the state directory when nothing is shared; a claim on a plan is not. */
const OUTLIVES =
  /^(plans\/[^#]*|stamps\/.*|launcher\/.*|waiting\/|used|sleeper\.start|sleeper\.log|[0-9a-f]{16}\/([a-z-]+|starter\.\d+|\d+\.leases\/)?)$/;

/** A lane as the state directory shows it. */
export interface SeenLane {
  /** Of the directory that it is in. */
  identity: string;
  name: string;
  /** The control socket, absolute; there unless the lane has stopped listening. */
  socket: string;
  /** Whether it takes sessions. */
  open: boolean;
  /** The names of its leases, those of processes that are gone left out. */
  leases: string[];
}

/**
 * A server, and a sandbox that has sshs installed and calls the server `host`. Lanes go soon after
 * their last session.
 *
 *     await using scene = await Scene.open({ config: ["MaxSessions 1"] });
 *     const { stdout } = await scene.ssh(["host", "echo hello"]);
 *     assert.equal(scene.logins(), 1);
 *
 * Its end ends masters and sleepers, and fails if any other process is left.
 */
export class Scene implements AsyncDisposable {
  readonly sshd: Sshd;
  readonly sandbox: Sandbox;
  /** Where the launchers are, first in the sandbox's PATH. */
  readonly bin: string;
  /** The directory of the launcher's files. */
  readonly library: string;
  /** The client's ssh_config. */
  readonly config: string;
  /** How long what a call leaves has to exit, ms: no busy machine needs it. */
  readonly grace: number = 10_000;
  readonly #relay: Relay | undefined;

  private constructor(sshd: Sshd, sandbox: Sandbox, library: string, relay?: Relay) {
    this.sshd = sshd;
    this.sandbox = sandbox;
    this.library = library;
    this.bin = `${library}/bin`;
    this.config = sshd.config;
    this.#relay = relay;
  }

  static async open(options: SceneOptions = {}): Promise<Scene> {
    const { env, relay, proxy, plain, client = {}, ...server } = options;
    await using stack = new AsyncDisposableStack();
    const sshd = stack.use(await Sshd.start(server));
    const relayed = relay && stack.use(Relay.start(sshd.port, relay));
    const sandbox = stack.use(await Sandbox.create());
    const deno = await addDeno(sandbox);
    const library = `${sandbox.dir}/launchers`;
    const bin = writeLaunchers(library, { plain, deno });
    Object.assign(sandbox.env, {
      SSHS_LOOK: "0.5",
      SSHS_LINGER: "1",
      ...env,
      PATH: `${bin}:${sandbox.env.PATH}`,
    });
    const through = proxy ? [`ProxyCommand ${await addProxy(sandbox)} %h %p`] : [];
    await sshd.writeConfig({
      port: relayed?.port,
      knowsHost: client.hostKeyChecking === undefined,
      ...client,
      config: [...client.config ?? [], ...through],
    }, sshd.config);
    // Plans hold only where nothing has just been changed.
    sshd.ageConfigs();
    stack.move();
    return new Scene(sshd, sandbox, library, relayed);
  }

  /** Whom the client logs in as; the shell is /bin/sh. */
  get user(): Account {
    return this.sshd.user;
  }

  /** The port that the client connects to. */
  get port(): number {
    return this.#relay?.port ?? this.sshd.port;
  }

  /** What is between client and server, in a scene with the option of that name. */
  get relay(): Relay {
    assert.ok(this.#relay, "the scene has no relay");
    return this.#relay;
  }

  /** The words after `ssh` for a command on the server. */
  args(command: string): string[] {
    return ["-F", this.config, "host", command];
  }

  /** Runs the installed `ssh` to its end, without a terminal. */
  ssh(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.run(["ssh", "-F", this.config, ...args], options);
  }

  /** Runs the system's own ssh likewise. */
  plainSsh(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.run([needProgram("ssh"), "-F", this.config, ...args], options);
  }

  /** Runs a command of sshs, such as `--list`. */
  sshs(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.sandbox.sshs(args, options);
  }

  /** Runs any program to its end; `ssh` is the installed one. */
  run(argv: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    return this.sandbox.run(argv, { timeout: 60_000, ...options });
  }

  /** Starts the installed `ssh` and gives the child, with pipes for its input and output. */
  spawnSsh(args: readonly string[], options: SpawnOptions = {}): Deno.ChildProcess {
    return this.sandbox.spawn(["ssh", "-F", this.config, ...args], options);
  }

  /** Starts any program on a terminal of its own; `ssh` is the installed one. */
  pty(argv: readonly string[], { env, ...options }: PtyOptions = {}): Promise<Pty> {
    const { home, env: own } = this.sandbox;
    return Pty.spawn(argv, { cwd: home, env: { ...own, ...env }, ...options });
  }

  /** How many connections were ever made, logged in or not. */
  connections(): number {
    return this.#relay?.connections ?? this.sshd.connections();
  }

  /** How many connections have ever logged in. */
  logins(): number {
    return this.sshd.logins();
  }

  /** The pids of the calls that wait for a plan, or for a login or a place: each has a pipe. */
  waiting(what: "plan" | "lane"): number[] {
    const pipe = what === "plan" ? /^waiting\/\d{1,10}\.(\d+)$/ : /^waiting\/[0-9a-f]{16}\.(\d+)$/;
    return this.sandbox.files().flatMap((file) => pipe.exec(file)?.[1] ?? []).map(Number)
      .filter(isAlive);
  }

  /** The living processes of the sandbox. */
  processes(): Process[] {
    return this.sandbox.processes();
  }

  /** Those that no call should leave behind: all but the sleeper, and masters that have logged in with their proxies. */
  strays(): Process[] {
    const kept = this.#kept();
    return this.processes().filter(({ pid }) => !kept.includes(pid));
  }

  /** The words after `deno` of each start by a launcher, oldest first. */
  starts(): string[] {
    return Deno.readTextFileSync(`${this.sandbox.dir}/starts`).split("\n").slice(0, -1);
  }

  /** Keeps each Deno that a launcher starts from beginning its work; the function that it gives lets them. */
  async holdDeno(): Promise<() => Promise<void>> {
    const hold = `${this.sandbox.dir}/${HOLD}`;
    await Deno.writeTextFile(hold, "");
    return () => Deno.remove(hold);
  }

  /** The lanes that have files in the state directory, but for the leases of the one that is next. */
  lanes(): SeenLane[] {
    const files = this.sandbox.files();
    const names = new Set(
      files.flatMap((file) => /^([^/]+\/[^/]+)\.(sock|lane|retired\/)$/.exec(file)?.[1] ?? []),
    );
    return Array.from(names, (path) => {
      const [identity, name] = path.split("/");
      const leases = new RegExp(`^${RegExp.escape(path)}\\.(?:leases|retired)/(.+)$`);
      return {
        identity,
        name,
        socket: `${this.sandbox.stateDir}/${path}.sock`,
        open: ["lane", "sock", "leases/"].every((ending) => files.includes(`${path}.${ending}`)),
        leases: files.flatMap((file) => leases.exec(file)?.[1] ?? [])
          .filter((lease) => isAlive(parseInt(lease))),
      };
    });
  }

  /** Waits until the sleeper holds all lanes that take sessions, at least one, and their far ends have answered. */
  async held(): Promise<void> {
    const { stateDir } = this.sandbox;
    await eventually("the sleeper holds all lanes", () => {
      const open = this.lanes().filter(({ open }) => open);
      // Before its first idle moment a lane is not asked, so that its round trip is unknown.
      const isMarked = ({ identity, name, leases }: SeenLane) =>
        Number(readText(`${stateDir}/${identity}/${name}.verified`) ?? NaN) >=
          (leases.length > 0 && !exists(`${stateDir}/${identity}/pings`) ? 0 : 0.1);
      return open.length > 0 && open.every(isMarked);
    }, { deadline: 30_000 });
  }

  /** What the sleeper says that it did. */
  sleeperLog(): string {
    return readText(`${this.sandbox.stateDir}/sleeper.log`) ?? "";
  }

  /**
   * Asserts that a call does what it should, whatever was broken: its bytes are the same both ways, its
   * status is the command's, and on stderr there is nothing, or what `noise` allows. `args` are options of
   * ssh, and `before` the words of a program that runs the call.
   */
  async assertWorks(
    what: string,
    { noise = /^$/, args = [], before = [], ...options }: RunOptions & {
      noise?: RegExp;
      args?: readonly string[];
      before?: readonly string[];
    } = {},
  ): Promise<void> {
    const words = [...before, "ssh", ...args, ...this.args("cat; exit 3")];
    const { code, stdoutBytes, stderr } = await this.run(words, { stdin: BYTES, ...options });
    assert.equal(code, 3, `${what}: ${stderr}`);
    assert.match(stderr, noise, `${what}: ${stderr}`);
    await assertSameBytes(stdoutBytes, BYTES, what);
  }

  /**
   * Makes the real ssh a script that does what `fault` (sh) says at one of our steps: "-G", which reads the
   * configuration, "-M", which starts a master, or "-S", which becomes the session. It goes on as ssh,
   * which is `$ssh` in it, unless it has ended before; `$2` is the control socket of the last two.
   */
  async breakSsh(step: "-G" | "-M" | "-S", fault: string): Promise<void> {
    const words = { "-G": '"-G "*', "-M": '"-S -M"', "-S": '"-S -o"' }[step];
    this.sandbox.env.SSHS_SSH = await this.sandbox.addProgram(
      "broken-ssh",
      `ssh=${needProgram("ssh")}
       case "$1 \${3-}" in ${words})
         ${fault}
       esac
       exec "$ssh" "$@"`,
    );
  }

  /** The one file in the state directory whose name ends so; an absolute path. */
  fileOf(ending: string): string {
    const names = this.sandbox.files().map((file) => file.replace(/\/$/, ""));
    const found = names.filter((name) => name.endsWith(ending));
    assert.equal(found.length, 1, `files in *${ending}: ${names}`);
    return `${this.sandbox.stateDir}/${found[0]}`;
  }

  /** Waits until nothing is left of what sshs did but the files that outlive lanes. */
  assertClean(): Promise<void> {
    return this.sandbox.assertClean({ deadline: 30_000, ignore: OUTLIVES });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using stack = new AsyncDisposableStack();
    stack.use(this.sshd);
    stack.use(this.#relay);
    stack.use(this.sandbox);
    await endAll(this.#kept());
    let left: Process[] = [];
    try {
      await eventually("nothing is left", () => (left = this.processes()).length === 0, {
        deadline: this.grace,
      });
    } catch {
      const lines = left.map(({ pid, args }) => `\n  ${pid} ${args.join(" ")}`);
      throw new Error(`Processes are left that are neither masters nor sleepers:${lines.join("")}`);
    }
  }

  /** The sleeper, and the masters that have logged in, with their proxies. */
  #kept(): number[] {
    // One that has logged in has gone to the background, by daemon(3).
    const masters = this.sandbox.masters().filter(({ pid, sid }) => pid === sid);
    const roots = [...masters, ...this.sandbox.sleepers()].map(({ pid }) => pid);
    return [...roots, ...roots.flatMap(descendants)];
  }
}

/** The Deno that launchers find: it notes its start. */
async function addDeno(sandbox: Sandbox): Promise<string> {
  const starts = `${sandbox.dir}/starts`;
  await Deno.writeTextFile(starts, "");
  const script = `echo "$*" >>'${starts}'
    while [ -e '${sandbox.dir}/${HOLD}' ]; do sleep 0.05; done
    exec '${Deno.execPath()}' "$@"`;
  return await sandbox.addProgram("deno", script);
}

/** A ProxyCommand's program that only passes on what it is given. */
function addProxy(sandbox: Sandbox): Promise<string> {
  return sandbox.addProgram(
    "proxy",
    `#!${needPython()} -IS
import os, select, signal, socket, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
far = socket.create_connection((sys.argv[1], int(sys.argv[2])))
ways = {0: far.sendall, far.fileno(): lambda data: os.write(1, data)}
try:
    while True:
        for fd in select.select(list(ways), [], [])[0]:
            data = os.read(fd, 65536)
            if not data:
                sys.exit()
            ways[fd](data)
except OSError:
    sys.exit()  # One of the sides is gone.
`,
  );
}
