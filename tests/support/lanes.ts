import assert from "node:assert/strict";
import { type Lane, laneAt } from "../../lib/lane/layout.ts";
import { Relay } from "./relay.ts";
import type { RunResult, Sandbox } from "./sandbox.ts";
import { Session } from "./session.ts";
import type { Sshd } from "./sshd.ts";

/** How a lane differs from an ordinary one. */
export interface LaneOptions {
  /** "1" by default. */
  name?: string;
  /** In s; 600 by default; null: forever. */
  linger?: number | null;
  agent?: string | null;
  until?: number;
  maxAge?: number;
  /** The pid namespace. */
  pids?: string;
  /** The pid that has a lease on it from the start; by default this process, with null none. */
  lease?: number | null;
}

/**
 * Lanes to a server behind a relay. Their masters are started by hand; their files are as the launcher
 * leaves them.
 */
export class Lanes implements AsyncDisposable {
  readonly sandbox: Sandbox;
  readonly sshd: Sshd;
  readonly relay: Relay;
  /** The directory of the one identity. */
  readonly dir: string;
  #config?: string;

  /** Takes over the sandbox and the server, and disposes of them in the end. */
  constructor(sandbox: Sandbox, sshd: Sshd) {
    this.sandbox = sandbox;
    this.sshd = sshd;
    this.relay = Relay.start(sshd.port);
    this.dir = `${sandbox.stateDir}/0123456789abcdef`;
    Deno.mkdirSync(this.dir, { recursive: true, mode: 0o700 });
  }

  /** Opens a lane. */
  async open(options: LaneOptions = {}): Promise<Lane> {
    const lane = laneAt(this.dir, options.name ?? "1");
    this.#config ??= await this.sshd.writeConfig({
      port: this.relay.port,
      config: ["LogLevel ERROR"],
    });
    const master = ["ssh", "-F", this.#config, "-M", "-N", "-f", "-S", lane.socket];
    const words = [...master, "-o", "ControlPersist=30", "host"];
    const { code } = await this.sandbox.run(["sh", "-c", '"$@" >/dev/null 2>&1', "sh", ...words]);
    assert.equal(code, 0);
    Deno.writeTextFileSync(`${this.dir}/starter.${lane.name}`, `${Deno.pid}\nup\n`);
    Deno.mkdirSync(lane.leases, { recursive: true }); // The sleeper may have made it.
    const lease = options.lease === undefined ? Deno.pid : options.lease;
    if (lease !== null) this.lease(lane, lease);
    const record = {
      destination: `host-${lane.name}`,
      resolved: "user@host:22",
      linger: options.linger === undefined ? 600 : options.linger,
      maxSessions: 10,
      grace: 30,
      forwards: false,
      agent: options.agent ?? null,
      until: options.until,
      maxAge: options.maxAge,
      pids: options.pids,
    };
    Deno.writeTextFileSync(lane.record, JSON.stringify(record));
    return lane;
  }

  /** Takes a lease for a process. */
  lease(lane: Lane, pid: number): void {
    Deno.writeTextFileSync(`${lane.leases}/${pid}`, "");
    Deno.writeTextFileSync(`${this.sandbox.stateDir}/used`, "");
  }

  /** Calls over a lane as the launcher does. */
  call(lane: Lane, command: string): Promise<RunResult> {
    return this.sandbox.run(this.argv(lane, command), { timeout: 60_000 });
  }

  /** Opens a session on a lane. */
  openSession(lane: Lane): Promise<Session> {
    return Session.in(this.sandbox, this.argv(lane));
  }

  /** Returns the argv of such a call. */
  argv(lane: Lane, ...command: readonly string[]): string[] {
    const script = 'true >"$0/$$"; true >"$1"; shift; exec "$@"';
    const ssh = ["ssh", "-S", lane.socket, "-o", "ControlMaster=no", "-F", this.#config!];
    const used = `${this.sandbox.stateDir}/used`;
    return ["sh", "-c", script, lane.leases, used, ...ssh, "host", ...command];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sandbox[Symbol.asyncDispose]();
    await this.relay.close();
    await this.sshd[Symbol.asyncDispose]();
  }
}

/** Resolves to the pid of a process that has ended. */
export async function deadPid(): Promise<number> {
  const child = new Deno.Command("true").spawn();
  await child.status;
  return child.pid;
}
