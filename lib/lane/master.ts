/**
 * Starts a detached connection master. It leads a session of its own from its first instant (setsid
 * by `detached`, and once more when `ssh -f` forks), and its standard streams are /dev/null and the
 * lane's log: nothing of the caller is held, by itself or by a ProxyCommand of its, and no Ctrl-C and
 * no closed terminal reaches it.
 */
import { restoreFileLimit } from "../os/deno_environment.ts";
import { hasTerminalDevice } from "../os/libc.ts";
import { MuxConnection } from "./mux_client.ts";
import { harmless } from "../os/terminal.ts";
import { INSIDE } from "../ssh/real_ssh.ts";
import { exists, namesIn } from "../os/files.ts";
import { type Lane, laneAt, removeLane } from "./lane.ts";
import type { PromptRelay } from "./prompt.ts";
import { ProxyShell } from "./proxy_shell.ts";
import type { System } from "../os/system.ts";

export interface MasterRequest {
  /** The real ssh. */
  readonly ssh: string;
  readonly lane: Lane;
  /** The options of the connection, and its destination. */
  readonly options: readonly string[];
  readonly destination: string;
  /** Seconds that the master stays when nobody holds it. */
  readonly grace: number;
  /** Takes its questions, where there is somebody to ask. */
  readonly relay?: PromptRelay;
  /** It connects through a ProxyCommand of the user's or a jump host, whose words are the user's to see. */
  readonly proxy?: "command" | "jump";
  /** Takes what the master says until it is up. */
  readonly stderr: (bytes: Uint8Array) => void;
  /** Done while it logs in: what takes time and needs no master. */
  readonly meanwhile: () => Promise<void>;
  /** Ends the attempt. */
  readonly signal: AbortSignal;
}

export type MasterStart =
  /** Up, with a control connection that holds it: `hold` is closed by an exec or an exit. */
  | { readonly kind: "up"; readonly pid: number; readonly hold: MuxConnection }
  /** ssh itself could not connect or log in, and has said why. */
  | { readonly kind: "refused"; readonly code: number }
  /** The master came to nothing for a reason of ours. */
  | { readonly kind: "failed"; readonly reason: string };

/** How long a master that has just come up may take to answer, ms: it may share its processor with 200 calls. */
const ANSWER = 10_000;

/** How often the log is looked at while the master starts, ms. */
const LOG_TICK = 25;

/**
 * Starts the master of a lane and waits until it is up or has failed. Leaves no process behind but a
 * master that is up.
 */
export async function startMaster(
  request: MasterRequest,
  system: Pick<System, "env" | "kill" | "run">,
): Promise<MasterStart> {
  const { lane } = request;
  Deno.writeTextFileSync(lane.log, "", { createNew: true, mode: 0o600 });
  using log = Deno.openSync(lane.log);
  using shell = request.proxy ? await ProxyShell.make(lane, system) : undefined;
  restoreFileLimit();
  // A redirection is all the shell is for: Deno gives a child no file for its stderr. The words stay
  // separate arguments throughout.
  const child = new Deno.Command("/bin/sh", {
    args: ["-c", 'exec "$@" 2>>"$0"', lane.log, request.ssh, ...masterArguments(request)],
    env: { [INSIDE]: request.ssh, ...request.relay?.env, ...shell?.env },
    stdin: "null",
    stdout: "null",
    stderr: "null",
    detached: true,
  }).spawn();
  // The whole group: an askpass or a ProxyCommand goes with the attempt.
  const end = () => system.kill(-child.pid, "SIGTERM");
  request.signal.addEventListener("abort", end);
  if (request.signal.aborted) end();
  let said = "";
  const copy = () => said = copyRest(log, request.stderr, said);
  const copying = setInterval(copy, LOG_TICK);
  if (request.relay) request.relay.beforeQuestion = copy;
  // Held as soon as it is up: its grace is running.
  const login = child.status.then(async ({ code }) => ({
    code,
    up: code === 0 ? await verifyMaster(request, system) : undefined,
  }));
  const [{ code, up }] = await Promise.all([login, request.meanwhile()]);
  clearInterval(copying);
  request.signal.removeEventListener("abort", end);
  copy();
  if (up) return up;
  if (request.signal.aborted) return { kind: "failed", reason: "it was interrupted" };
  if (blamesSocket(said, lane) || code !== 255) {
    return { kind: "failed", reason: `the connection master ended with ${code}` };
  }
  if (request.proxy === "command" && hasTerminalDevice() !== false && endedBeforeServer(said)) {
    return { kind: "failed", reason: "its ProxyCommand has ended, and may need the terminal" };
  }
  return { kind: "refused", code };
}

/**
 * Whether the server had said nothing yet: the ProxyCommand may have wanted to ask on /dev/tty, which a
 * master has not (kex_exchange_identification() in kex.c; sshpkt_vfatal() in packet.c).
 */
function endedBeforeServer(said: string): boolean {
  return /^(kex_exchange_identification: |Connection closed by UNKNOWN )/m.test(said);
}

/** Whether the socket was the trouble, which a plain ssh has not. Under -v ssh names it in any case. */
function blamesSocket(said: string, lane: Lane): boolean {
  return said.split("\n").some((line) => !/^debug\d: /.test(line) && line.includes(lane.socket));
}

/** What a master must be comes first: ssh_config(5), "the first obtained value". */
function masterArguments(request: MasterRequest): string[] {
  return [
    "-M",
    "-N",
    "-f",
    ...["-S", request.lane.socket],
    // Its stderr ends with the login, by -f; what it says later, of a channel that the server refused
    // or of a connection that broke, goes to the log still.
    ...["-E", request.lane.log],
    ...["-o", `ControlPersist=${request.grace}`],
    ...["-o", "ClearAllForwardings=yes"],
    ...["-o", "PermitLocalCommand=no"],
    ...["-o", "RemoteCommand=none"],
    ...["-o", "RequestTTY=no"],
    ...request.options,
    "--",
    request.destination,
  ];
}

/** Copies what is new in the log; returns the end of all that was said, `said` so far. */
function copyRest(log: Deno.FsFile, stderr: (bytes: Uint8Array) => void, said: string): string {
  const chunk = new Uint8Array(64 * 1024);
  for (;;) {
    const count = log.readSync(chunk);
    if (count === null) return said;
    stderr(chunk.slice(0, count));
    said = (said + new TextDecoder().decode(chunk.subarray(0, count))).slice(-64 * 1024);
  }
}

/**
 * The socket's name has never been used, so who answers on it is the master that was started. `ssh -f`
 * exits 0 without a socket too ("disabling multiplexing"): that ssh would stay for ever.
 */
async function verifyMaster(
  request: MasterRequest,
  system: Pick<System, "kill" | "run">,
): Promise<MasterStart> {
  try {
    const hold = await MuxConnection.connect(request.lane.socket, { deadline: ANSWER });
    return { kind: "up", pid: await hold.alive({ deadline: ANSWER }), hold };
  } catch (error) {
    await endStrays(request.lane.socket, system);
    const why = harmless((error as Error).message);
    return { kind: "failed", reason: `the connection master does not answer (${why})` };
  }
}

/**
 * Ends what a caller that was killed has left of its attempt: a master that may wait for a silent server
 * for ever, and its files. The identity's lock must be held, so that no attempt is under way.
 */
export async function endAbandoned(
  dir: string,
  system: Pick<System, "kill" | "run">,
): Promise<void> {
  for (const name of namesIn(dir).filter((name) => name.endsWith(".log"))) {
    const lane = laneAt(dir, name.slice(0, -".log".length));
    if (exists(lane.record)) continue;
    await endStrays(lane.socket, system);
    removeLane(lane);
  }
}

/** Ends masters by the control socket in their argv, or in the title that one takes; ps(1) as POSIX has it. */
async function endStrays(socket: string, system: Pick<System, "kill" | "run">): Promise<void> {
  // By a shell, which has a PATH where we have none. Some cut their lines at 80 columns without a terminal.
  const ps = ["-c", "exec ps -A -o pid= -o args="];
  const { stdout } = await system.run("/bin/sh", ps, { env: { COLUMNS: "100000" } });
  for (const line of stdout.split("\n")) {
    const [, pid, args] = /^\s*(\d+)\s+(.*)$/.exec(line) ?? [];
    if (args?.includes(`-S ${socket} `) || args?.includes(`${socket} [mux]`)) {
      // With its ProxyCommand, which is in its process group until the login.
      for (const target of [-Number(pid), Number(pid)]) system.kill(target, "SIGTERM");
    }
  }
}
