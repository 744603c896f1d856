import { type Account, account, canMakeAccounts } from "./account.ts";
import { eventually } from "./eventually.ts";
import { isThere } from "./is_there.ts";
import { canMount } from "./mounts.ts";
import { descendants, endAll, isAlive, processes, signal } from "./processes.ts";
import { findProgram, needProgram, run } from "./programs.ts";

/** How a server differs from an ordinary one that accepts a key. */
export interface SshdOptions {
  /** Lines of sshd_config, such as `MaxSessions 2`; they win over the fixture's own. */
  config?: readonly string[];
  /** Accept a password instead of the key (root only: it needs PAM and an account). */
  passwords?: boolean;
  /** Ask for the password by keyboard-interactive instead of the key (root only). */
  keyboardInteractive?: boolean;
  /**
   * Ask for one of these codes (8 digits, each good for one login) by keyboard-interactive instead of
   * the key, with echo ({@linkcode canAskForCodes} only).
   */
  codes?: readonly string[];
  /** The text that the server shows before the login. */
  banner?: string;
  /** Log in as root instead of as the account of the tests (root only). */
  asRoot?: boolean;
  /** As for {@linkcode Sshd.writeConfig}. */
  client?: ClientOptions;
}

/** Lines of sshd_config for a server that ends each connection with its first session. */
export const ONE_SESSION_A_CONNECTION: readonly string[] = [
  // The shell's parent is the connection's own sshd.
  'ForceCommand sh -c "$SSH_ORIGINAL_COMMAND"; ' +
  "(sleep 0.1; kill $PPID) </dev/null >/dev/null 2>&1 &",
];

/** How a client's ssh_config differs from an ordinary one. */
export interface ClientOptions {
  /** More names for the server, beside `host`. */
  aliases?: readonly string[];
  /** Where to connect to: by default the server itself, or for example a relay. */
  port?: number;
  /** `accept-new` by default. */
  hostKeyChecking?: "accept-new" | "ask" | "yes";
  /** Whether known_hosts has the server's key, so that a first login changes no file. */
  knowsHost?: boolean;
  /** Lines of ssh_config for these hosts; they win over the fixture's own. */
  config?: readonly string[];
}

/**
 * A real sshd on a free port of the loopback interface. Its files are in a directory of its own: it
 * reads and writes nothing in `~/.ssh` or `/etc/ssh`.
 *
 *     await using sshd = await Sshd.start({ config: ["MaxSessions 1"] });
 *     await sandbox.ssh(["-F", sshd.config, "host", "true"]);
 */
export class Sshd implements AsyncDisposable {
  /** Where the keys, the log and the configs are. */
  readonly dir: string;
  readonly port: number;
  readonly user: Account;
  /** The path of a client's ssh_config that knows the server by the name `host`. */
  readonly config: string;
  /** The listening daemon, while there is one. */
  #child: Deno.ChildProcess | undefined;
  #clients = 0;

  private constructor(dir: string, port: number, user: Account, child: Deno.ChildProcess) {
    this.dir = dir;
    this.port = port;
    this.user = user;
    this.config = `${dir}/ssh_config`;
    this.#child = child;
  }

  /** Starts a server; resolves when it listens. */
  static async start(options: SshdOptions = {}): Promise<Sshd> {
    const user = options.asRoot ? { name: "root", home: "/root" } : await account();
    const dir = await Deno.makeTempDir({ prefix: "sshs-sshd-" });
    try {
      await writeServerFiles(dir, options);
      const { port, child } = await listenAnywhere(dir);
      const sshd = new Sshd(dir, port, user, child);
      await sshd.writeConfig(options.client, sshd.config);
      return sshd;
    } catch (error) {
      await Deno.remove(dir, { recursive: true });
      throw error;
    }
  }

  /** Writes one more ssh_config for clients of this server; resolves to its path. */
  async writeConfig(
    {
      aliases = [],
      port = this.port,
      hostKeyChecking = "accept-new",
      knowsHost = false,
      config = [],
    }: ClientOptions = {},
    path = `${this.dir}/ssh_config.${++this.#clients}`,
  ): Promise<string> {
    const lines = [
      `Host ${["host", ...aliases].join(" ")}`,
      ...config,
      "HostName 127.0.0.1",
      `Port ${port}`,
      `User ${this.user.name}`,
      `IdentityFile ${this.dir}/user_key`,
      "IdentitiesOnly yes",
      `UserKnownHostsFile ${path}.known_hosts`,
      "GlobalKnownHostsFile none",
      `StrictHostKeyChecking ${hostKeyChecking}`,
    ];
    await Deno.writeTextFile(path, lines.join("\n") + "\n");
    if (knowsHost) {
      const { host } = await keys();
      await Deno.writeTextFile(`${path}.known_hosts`, `[127.0.0.1]:${port} ${host.public}`);
    }
    return path;
  }

  /**
   * Sets back the times of the clients' configurations and key, once a first login's known_hosts is beside
   * them: recent changes make the launcher's plans void.
   */
  ageConfigs(): void {
    for (const { name } of Deno.readDirSync(this.dir)) {
      if (/^(ssh_config|user_key)/.test(name)) Deno.utimeSync(`${this.dir}/${name}`, 0, 0);
    }
    Deno.utimeSync(this.dir, 0, 0);
  }

  /** What the server has logged so far (LogLevel VERBOSE). */
  log(): string {
    return Deno.readTextFileSync(`${this.dir}/log`);
  }

  /** How many connections were ever made, logged in or not. */
  connections(): number {
    return this.#count(/^Connection from /gm);
  }

  /** How many of them logged in. */
  logins(): number {
    return this.#count(/^Accepted \S+ for /gm);
  }

  /** How many sessions (commands, shells, subsystems) were ever started. */
  sessions(): number {
    return this.#count(/^Starting session: /gm);
  }

  /** The pids below the listening daemon: its connections, and what they run. */
  children(): number[] {
    return this.#child === undefined ? [] : descendants(this.#child.pid);
  }

  /** Stops all processes (SIGSTOP), so that the server is silent but stays connected. */
  freeze(): void {
    signal(this.#tree(), "SIGSTOP");
  }

  /** Resumes after {@linkcode freeze}. */
  thaw(): void {
    signal(this.#tree(), "SIGCONT");
  }

  /** Ends the daemon and every connection; after that the port refuses connections. */
  async stop(): Promise<void> {
    await endAll([...this.#tree(), ...this.#strays()]);
    await this.#child?.status;
    this.#child = undefined;
  }

  /** Ends everything, then listens anew on the same port, with the same keys and log. */
  async restart(): Promise<void> {
    await this.stop();
    this.#child = await listen(this.dir, this.port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await Deno.remove(this.dir, { recursive: true });
  }

  #count(line: RegExp): number {
    return this.log().match(line)?.length ?? 0;
  }

  #tree(): number[] {
    return this.#child === undefined ? [] : [this.#child.pid, ...this.children()];
  }

  /** Returns the background processes of commands: they leave the daemon's tree, but keep its environment. */
  #strays(): number[] {
    const mark = new RegExp(`(^|\0)SSH_CONNECTION=\\S+ \\d+ 127\\.0\\.0\\.1 ${this.port}\0`);
    return processes().filter(({ environ }) => mark.test(environ)).map(({ pid }) => pid);
  }
}

async function writeServerFiles(dir: string, options: SshdOptions): Promise<void> {
  const { config = [], passwords = false, codes, banner } = options;
  const keyboardInteractive = options.keyboardInteractive || codes !== undefined;
  const pam = passwords || keyboardInteractive;
  if ((pam || options.asRoot) && !canMakeAccounts) {
    throw new Error("Cannot serve passwords or root's login without being root");
  }
  // sshd reads the authorized keys as the user who logs in.
  await Deno.chmod(dir, 0o755);
  const { host, user } = await keys();
  await Deno.writeTextFile(`${dir}/host_key`, host.secret, { mode: 0o600 });
  await Deno.writeTextFile(`${dir}/user_key`, user.secret, { mode: 0o600 });
  await Deno.writeTextFile(`${dir}/authorized_keys`, user.public);
  await Deno.chmod(`${dir}/authorized_keys`, 0o644);
  if (banner !== undefined) await Deno.writeTextFile(`${dir}/banner`, banner);
  if (codes) await writeCodes(dir, codes);
  const yes = (on: boolean) => on ? "yes" : "no";
  const lines = [
    // The first value counts.
    ...config,
    "ListenAddress 127.0.0.1",
    `HostKey ${dir}/host_key`,
    `AuthorizedKeysFile ${dir}/authorized_keys`,
    "PidFile none",
    "StrictModes no",
    "PermitRootLogin yes",
    "LogLevel VERBOSE",
    "UseDNS no",
    "PrintMotd no",
    "Subsystem sftp internal-sftp",
    `UsePAM ${yes(pam)}`,
    `PubkeyAuthentication ${yes(!pam)}`,
    `PasswordAuthentication ${yes(passwords)}`,
    `KbdInteractiveAuthentication ${yes(keyboardInteractive)}`,
    ...(banner === undefined ? [] : [`Banner ${dir}/banner`]),
  ];
  await Deno.writeTextFile(`${dir}/sshd_config`, lines.join("\n") + "\n");
}

/** Whether a server can ask for codes: that takes root, a mount of its own, and a PAM module. */
export const canAskForCodes: boolean = canMount &&
  findProgram("google-authenticator") !== undefined;

/** Writes the PAM rules for this sshd alone, and the codes in the format of google-authenticator(1). */
async function writeCodes(dir: string, codes: readonly string[]): Promise<void> {
  const secret = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"; // For time-based codes, which no test uses.
  await Deno.writeTextFile(`${dir}/codes`, [secret, ...codes, ""].join("\n"), { mode: 0o400 });
  const module = `pam_google_authenticator.so secret=${dir}/codes user=root echo_verification_code`;
  const rules = [`auth required ${module}`, "account required pam_permit.so"];
  await Deno.writeTextFile(
    `${dir}/pam`,
    [...rules, "session required pam_permit.so", ""].join("\n"),
  );
}

interface KeyPair {
  secret: string;
  public: string;
}

let cachedKeys: Promise<{ host: KeyPair; user: KeyPair }> | undefined;

/** Makes the keys once for each test file: that takes longer than starting sshd. */
function keys(): Promise<{ host: KeyPair; user: KeyPair }> {
  return cachedKeys ??= makeKeys();
}

async function makeKeys(): Promise<{ host: KeyPair; user: KeyPair }> {
  const dir = await Deno.makeTempDir({ prefix: "sshs-key-" });
  const make = async (name: string) => {
    const path = `${dir}/${name}`;
    await run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "sshs-test", "-f", path]);
    return { secret: Deno.readTextFileSync(path), public: Deno.readTextFileSync(`${path}.pub`) };
  };
  try {
    return { host: await make("host"), user: await make("user") };
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

async function listenAnywhere(dir: string): Promise<{ port: number; child: Deno.ChildProcess }> {
  for (let attempt = 1;; attempt++) {
    const port = freePort();
    try {
      return { port, child: await listen(dir, port) };
    } catch (error) {
      // Somebody else may have taken the port that was free a moment ago.
      if (attempt === 5 || !/Address already in use/.test(String(error))) throw error;
    }
  }
}

/**
 * Returns a port of 127.0.0.1 that nobody listens on. It is below those that the system gives to whoever
 * asks for any (ip_local_port_range in ip(7)), so that no connection takes it meanwhile.
 */
export function freePort(): number {
  for (;;) {
    const port = 10_000 + Math.floor(20_000 * Math.random());
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}

async function listen(dir: string, port: number): Promise<Deno.ChildProcess> {
  // sshd's chroot directory, which otherwise the service's start script makes.
  if (Deno.uid() === 0) await Deno.mkdir("/run/sshd", { recursive: true, mode: 0o755 });
  const log = `${dir}/log`;
  const before = (await readLog(log)).length;
  const sshd = [needProgram("sshd"), "-D", "-f", `${dir}/sshd_config`, "-p", `${port}`, "-E", log];
  // PAM knows sshd as "sshd" (UsePAM in sshd_config(5)): mount the rules for this sshd alone.
  const mount = ["sh", "-c", 'mount --bind "$0" /etc/pam.d/sshd && exec "$@"', `${dir}/pam`];
  const [program, ...args] = isThere(`${dir}/pam`)
    ? ["unshare", "--mount", ...mount, ...sshd]
    : sshd;
  const child = new Deno.Command(program, {
    args,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let text = "";
  const listens = await eventually("sshd listens", async () => {
    text = (await readLog(log)).slice(before);
    return text.includes("Server listening on") ? "yes" : isAlive(child.pid) ? "" : "no";
  });
  if (listens === "no") {
    await child.status;
    throw new Error(`Cannot start sshd: ${text}`);
  }
  return child;
}

async function readLog(path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "";
    throw error;
  }
}
