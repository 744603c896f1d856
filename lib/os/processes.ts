/**
 * What the system says of processes: on Linux in /proc, elsewhere through ps(1). One that is gone is a
 * result, not an error.
 */
import { isSystemError, namesIn, unlessGone } from "./files.ts";
import { run } from "./run.ts";

/** Returns the text of a file in /proc. */
function readKernelFile(path: string): string | undefined {
  return unlessGone(() => Deno.readTextFileSync(path));
}

/** Returns the target of one of the kernel's own links, such as "pid:[4026531836]". */
export function kernelLink(path: string): string | undefined {
  return unlessGone(() => Deno.readLinkSync(path));
}

/**
 * Returns the fields after the name in a line of `/proc/PID/stat`: state, parent, group, session, terminal,
 * foreground group and so on; proc(5) numbers them from 3. The name before them may contain anything.
 */
function fieldsOf(pid: number): string[] | undefined {
  const line = readKernelFile(`/proc/${pid}/stat`);
  return line?.slice(line.lastIndexOf(")") + 2).split(" ");
}

/**
 * Whether a process has ended and only waits for its parent to reap it: forever if the parent is an init
 * that reaps none, as in many containers. kill(2) does not tell it from a live process.
 */
export function isZombie(pid: number): boolean {
  return fieldsOf(pid)?.[0] === "Z";
}

/**
 * Returns when these processes were born: field 22 on Linux, else what ps says. A birth is an opaque word
 * that never changes; the same pid with another birth is another process. Leaves out those that have ended,
 * or all if the system does not say.
 */
export async function births(pids: readonly number[]): Promise<Map<number, string>> {
  const table = fieldsOf(Deno.pid) ? undefined : await askPs();
  return new Map(pids.flatMap((pid) => {
    const fields = fieldsOf(pid);
    // A zombie has ended, though its parent may take long to reap it.
    const birth = fields?.[0] === "Z" ? undefined : fields?.[19] ?? table?.get(pid)?.birth;
    return birth ? [[pid, birth]] : [];
  }));
}

/** Returns the command lines of all processes, each word with a blank after it. */
export async function commandLines(): Promise<Map<number, string>> {
  const pids = namesIn("/proc").filter((name) => /^\d+$/.test(name));
  if (pids.length === 0) {
    return new Map(Array.from(await askPs(), ([pid, { words }]) => [pid, `${words} `]));
  }
  return new Map(pids.flatMap((pid) => {
    const words = readKernelFile(`/proc/${pid}/cmdline`);
    return words ? [[Number(pid), words.replaceAll("\0", " ")]] : [];
  }));
}

/** Returns what ps(1) says of all processes. Exported for its test: Linux has /proc. */
export async function askPs(): Promise<Map<number, { birth: string; words: string }>> {
  // Its dates depend on TZ, its width on COLUMNS.
  const env = { LC_ALL: "C", TZ: "UTC", COLUMNS: "100000" };
  try {
    // Through a shell, which has a PATH if we have none.
    const script = "exec ps -A -o pid= -o lstart= -o args=";
    const { stdout } = await run("/bin/sh", ["-c", script], { env });
    const lines = stdout.matchAll(/^ *(\d+) +(\w+ +\w+ +\d+ \S+ \d+) +(.*?) *$/gm);
    return new Map(Array.from(lines, ([, pid, birth, words]) => [Number(pid), { birth, words }]));
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return new Map(); // Cannot start a process.
  }
}

/** Signals by number; these are the same on Linux, macOS and BSD. */
const NUMBERS: { readonly [signal in Deno.Signal]?: number } = { SIGQUIT: 3, SIGTERM: 15 };

/**
 * Whether a process handles a signal, from its `/proc/PID/status`; `undefined` without one. The value is a
 * mask, bit 0 for signal 1.
 */
export function catches(pid: number, signal: Deno.Signal): boolean | undefined {
  const status = readKernelFile(`/proc/${pid}/status`) ?? "";
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  const number = NUMBERS[signal];
  if (mask === undefined || number === undefined) return undefined;
  return (BigInt(`0x${mask}`) >> BigInt(number - 1) & 1n) === 1n;
}

/**
 * Returns the local address of a process's TCP connection with the lowest descriptor: a master's to its
 * server, which it opens before any forward's. Linux only, and `undefined` behind a proxy.
 */
export function localAddress(pid: number): string | undefined {
  const rows = ["tcp", "tcp6"].flatMap((name) =>
    (readKernelFile(`/proc/${pid}/net/${name}`) ?? "").split("\n").map((row) =>
      row.trim().split(/\s+/)
    )
  );
  // Columns: the local address in hex, the other end's, the state (01: established), and the inode.
  const ends = new Map(
    rows.filter((row) => row[3] === "01").map((row) => [`socket:[${row[9]}]`, row[1]]),
  );
  const descriptors = unlessGone(() => namesIn(`/proc/${pid}/fd`)) ?? [];
  const first = descriptors.sort((a, b) => Number(a) - Number(b))
    .map((descriptor) => ends.get(kernelLink(`/proc/${pid}/fd/${descriptor}`) ?? ""))
    .find(Boolean);
  return first && addressFrom(first.split(":")[0]);
}

/** Returns an address that /proc/net/tcp{,6} has as words of 32 bits, in the machine's order, in hex. */
function addressFrom(hex: string): string {
  const bytes = hex.match(/.{8}/g)!.flatMap((word) => word.match(/../g)!.reverse());
  if (bytes.length === 4) return bytes.map((byte) => parseInt(byte, 16)).join(".");
  const words = bytes.join("").match(/.{4}/g)!.join(":");
  return new URL(`http://[${words}]`).hostname.slice(1, -1); // shortened, as other addresses are
}
