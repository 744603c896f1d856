/**
 * The operating system as an object: helpers take `Pick<System, ...>`, so a signature says what a function
 * touches and a test needs no process of its own.
 */
import { births, catches, commandLines, isZombie, kernelLink, localAddress } from "./processes.ts";
import { run } from "./run.ts";

export type System = typeof realSystem;

/** The system that this process runs on. */
export const realSystem = {
  pid: Deno.pid,
  uid: () => Deno.uid(),
  cwd: () => Deno.cwd(),
  exit: (status: number): never => Deno.exit(status),
  /** An empty variable counts as missing. */
  env: (name: string): string | undefined => Deno.env.get(name) || undefined,
  /** Sets a variable, also for programs that this process starts. */
  setEnv: (name: string, value: string) => Deno.env.set(name, value),
  environment: () => Deno.env.toObject(),
  /** Milliseconds of the wall clock. */
  now: () => Date.now(),
  /** Milliseconds of a monotonic clock. */
  steady: () => performance.now(),
  /** The addresses that this machine has now. */
  addresses: () => Deno.networkInterfaces().map(({ address }) => address),
  /** Whether a process with that pid is alive, even one that we may not signal. */
  isAlive(pid: number): boolean {
    try {
      Deno.kill(pid, 0);
      return !isZombie(pid);
    } catch (error) {
      if (error instanceof Deno.errors.PermissionDenied) return true;
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  },
  births,
  catches,
  commandLines,
  localAddress,
  /** The pid namespace of this process, if the system has them. */
  pidNamespace: () => kernelLink("/proc/self/ns/pid"),
  /** Sends a signal; a missing process is no error. A negative pid means a process group. */
  kill(pid: number, signal: Deno.Signal): void {
    try {
      Deno.kill(pid, signal);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  },
  run,
};

/** Waits for `ms`. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
