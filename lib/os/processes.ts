/**
 * What the system says of processes: on Linux in /proc, elsewhere through ps(1). One that is gone is a
 * result, not an error.
 */
import { isSystemError, namesIn, readKernelFile, unlessGone } from "./files.ts";
import { SIGNAL_NUMBERS } from "./libc.ts";

/** What runs ps(1). */
interface Runner {
  run(
    path: string,
    args: readonly string[],
    options: { readonly env: Record<string, string> },
  ): Promise<{ readonly stdout: string }>;
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
 * Returns when these processes were born: field 22 on Linux, else what ps says. Leaves out those that have
 * ended, or all if the system does not say.
 */
export async function births(
  pids: readonly number[],
  system: Runner,
): Promise<Map<number, string>> {
  if (!fieldsOf(Deno.pid)) return await birthsFromPs(pids, system);
  return new Map(pids.flatMap((pid) => {
    const fields = fieldsOf(pid);
    // A zombie has ended, though its parent may take long to reap it.
    return fields && fields[0] !== "Z" ? [[pid, fields[19]]] : [];
  }));
}

/** Exported for its test: Linux has /proc. */
export async function birthsFromPs(
  pids: readonly number[],
  system: Runner,
): Promise<Map<number, string>> {
  if (pids.length === 0) return new Map();
  return await askPs(["-o", "lstart=", "-p", pids.join(",")], system);
}

/** Returns the command lines of all processes, their words separated by blanks. */
export async function commandLines(system: Runner): Promise<Map<number, string>> {
  const pids = namesIn("/proc").filter((name) => /^\d+$/.test(name));
  if (pids.length === 0) return await commandLinesFromPs(system);
  return new Map(pids.flatMap((pid) => {
    const words = readKernelFile(`/proc/${pid}/cmdline`);
    return words ? [[Number(pid), words.replaceAll("\0", " ")]] : [];
  }));
}

/** Exported for its test: Linux has /proc. */
export async function commandLinesFromPs(
  system: Runner,
): Promise<Map<number, string>> {
  const lines = await askPs(["-A", "-o", "args="], system);
  return new Map([...lines].map(([pid, words]) => [pid, `${words} `]));
}

/** Returns what ps(1) prints after the pid of each process. Its dates depend on TZ, its width on COLUMNS. */
async function askPs(
  words: readonly string[],
  system: Runner,
): Promise<Map<number, string>> {
  const env = { LC_ALL: "C", TZ: "UTC", COLUMNS: "100000" };
  // Through a shell, which has a PATH if we have none.
  const argv = ["-c", 'exec ps -o pid= "$@"', "sh", ...words];
  let stdout: string;
  try {
    stdout = (await system.run("/bin/sh", argv, { env })).stdout;
  } catch (error) {
    if (!isSystemError(error)) throw error;
    return new Map(); // Cannot start a process.
  }
  return new Map(
    Array.from(stdout.matchAll(/^ *(\d+) +(.+?) *$/gm), ([, pid, rest]) => [Number(pid), rest]),
  );
}

/**
 * Whether a process handles a signal, from its `/proc/PID/status`; `undefined` without one. The value is a
 * mask, bit 0 for signal 1.
 */
export function catches(pid: number, signal: Deno.Signal): boolean | undefined {
  const status = readKernelFile(`/proc/${pid}/status`) ?? "";
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  const number = SIGNAL_NUMBERS[signal];
  if (mask === undefined || number === undefined) return undefined;
  return (BigInt(`0x${mask}`) >> BigInt(number - 1) & 1n) === 1n;
}

/**
 * Returns the local address of a process's TCP connection with the lowest descriptor: a master's to its
 * server, which it opens before any forward's. Linux only, and `undefined` behind a proxy.
 */
export function localAddress(pid: number): string | undefined {
  const sockets = unlessGone(() => namesIn(`/proc/${pid}/fd`)) ?? [];
  const inodes = sockets.sort((a, b) => Number(a) - Number(b)).map((descriptor) =>
    /^socket:\[(\d+)\]$/.exec(kernelLink(`/proc/${pid}/fd/${descriptor}`) ?? "")?.[1]
  );
  const rows = ["tcp", "tcp6"].flatMap((name) =>
    (readKernelFile(`/proc/${pid}/net/${name}`) ?? "").split("\n").map((row) =>
      row.trim().split(/\s+/)
    )
  );
  // Columns: the local address in hex, the other end's, the state (01: established), and the inode.
  const first = inodes.map((inode) =>
    inode && rows.find((row) => row[9] === inode && row[3] === "01")
  ).find(Boolean);
  return first ? addressFrom(first[1].split(":")[0]) : undefined;
}

/** Returns an address that /proc/net/tcp{,6} has as words of 32 bits, in the machine's order, in hex. */
function addressFrom(hex: string): string {
  const bytes = hex.match(/.{8}/g)!.flatMap((word) => word.match(/../g)!.reverse());
  if (bytes.length === 4) return bytes.map((byte) => parseInt(byte, 16)).join(".");
  const words = bytes.join("").match(/.{4}/g)!.join(":");
  return new URL(`http://[${words}]`).hostname.slice(1, -1); // shortened, as other addresses are
}
