/**
 * What Deno has no call for, from libc by FFI; only resident.ts uses FFI besides. Where it is not to be had
 * (no FFI permission, no libc by a name that we know) each does nothing, or says so by its result.
 */
import { fieldsAfterName } from "./proc_stat.ts";

const NAMES: Partial<Record<typeof Deno.build.os, readonly string[]>> = {
  linux: ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`],
  // By its path: macOS looks for a bare name in the current directory too (dlopen(3)).
  darwin: ["/usr/lib/libSystem.B.dylib"],
  freebsd: ["libc.so.7"],
};

const SYMBOLS = {
  execv: { parameters: ["buffer", "buffer"], result: "i32" },
  signal: { parameters: ["i32", "pointer"], result: "pointer" },
  sigaction: { parameters: ["i32", "pointer", "buffer"], result: "i32" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  getrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  setrlimit: { parameters: ["i32", "buffer"], result: "i32" },
  ioctl: { parameters: ["i32", "u64"], result: "i32" },
} as const;

/** Signals by number; these are the same on Linux, macOS and BSD. */
const NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGPIPE: 13, SIGTERM: 15 } as const;

/** SIG_IGN of signal.h. */
const IGNORED = 1n;

let loaded: ReturnType<typeof load> | null = null;

function libc() {
  return (loaded ??= load());
}

function load() {
  for (const name of NAMES[Deno.build.os] ?? ["libc.so"]) {
    try {
      return Deno.dlopen(name, SYMBOLS).symbols;
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) return undefined;
      // No libc of that name: dlopen's errors carry no type.
    }
  }
}

/** Whether there is a libc to call. */
export function hasLibc(): boolean {
  return libc() !== undefined;
}

/** Becomes the program at `path`. Comes back only where that cannot be done. */
export function execv(path: string, argv: readonly Uint8Array[]): void {
  const calls = libc();
  if (!calls) return; // And without the permission no pointer can be made either.
  const words = argv.map(terminated);
  const pointers = new BigUint64Array(words.length + 1);
  words.forEach((word, i) => {
    pointers[i] = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(word)));
  });
  // Rust's runtime ignores SIGPIPE, and an ignored signal stays ignored over exec: `ssh host | head`
  // would not end.
  calls.signal(NUMBERS.SIGPIPE, null);
  calls.execv(terminated(path), pointers);
}

/** Whether this process was started with the signal ignored, as under nohup(1) or by `&` in a script. */
export function isIgnored(signal: keyof typeof NUMBERS): boolean {
  // struct sigaction begins with the handler on all of them, and none is as large as this.
  const action = new BigUint64Array(32);
  if (libc()?.sigaction(NUMBERS[signal], null, action) !== 0) return false;
  return action[0] === IGNORED;
}

/** FIOCLEX of ioctl(2): like fcntl's FD_CLOEXEC, but without an argument, which arm64 passes otherwise. */
const FIOCLEX = Deno.build.os === "linux" ? 0x5451n : 0x20006601n;

/**
 * Keeps what the caller has open beyond stderr (`flock 9`, a job runner's pipe) out of what is started
 * from now on. The ssh that we become loses it too, but ssh closes all of it first thing (main() in
 * ssh.c, closefrom).
 */
export function keepDescriptors(): void {
  for (let descriptor = 3; descriptor < 1024; descriptor++) libc()?.ioctl(descriptor, FIOCLEX);
}

/** Of sys/resource.h. */
const RLIMIT_NOFILE = Deno.build.os === "linux" ? 7 : 8;

/** Lowers the soft limit of open files. */
export function setFileLimit(soft: number): void {
  // struct rlimit: the soft and the hard limit.
  const limits = new BigUint64Array(2);
  if (libc()?.getrlimit(RLIMIT_NOFILE, limits) !== 0 || limits[0] <= BigInt(soft)) return;
  limits[0] = BigInt(soft);
  libc()?.setrlimit(RLIMIT_NOFILE, limits);
}

/**
 * This process's own argv as bytes: Deno.args has U+FFFD in place of what is not UTF-8. `undefined`
 * where the system does not tell; Linux does, in /proc, which Deno opens to no one without --allow-all.
 */
export function processArgv(): Uint8Array[] | undefined {
  const calls = libc();
  if (!calls || Deno.build.os !== "linux") return undefined;
  const file = calls.open(terminated("/proc/self/cmdline"), 0);
  if (file < 0) return undefined;
  const bytes: number[] = [];
  const chunk = new Uint8Array(64 * 1024);
  for (;;) {
    const count = Number(calls.read(file, chunk, BigInt(chunk.length)));
    if (count <= 0) break;
    for (const byte of chunk.subarray(0, count)) bytes.push(byte);
  }
  calls.close(file);
  return splitAtNul(new Uint8Array(bytes));
}

/**
 * Whether a process has ended and only waits for its parent to take note: for ever where the parent is
 * an init that takes none, as in many a container. kill(2) tells it from the living by nothing.
 */
export function isZombie(pid: number): boolean {
  const calls = libc();
  if (!calls || Deno.build.os !== "linux") return false;
  const file = calls.open(terminated(`/proc/${pid}/stat`), 0);
  if (file < 0) return false;
  const bytes = new Uint8Array(1024);
  const count = Number(calls.read(file, bytes, BigInt(bytes.length)));
  calls.close(file);
  const stat = new TextDecoder().decode(bytes.subarray(0, Math.max(0, count)));
  return fieldsAfterName(stat)?.[0] === "Z";
}

const O_RDWR = 2;

/** Whether this process has a terminal; `undefined` without libc. Deno opens /dev/tty to no one. */
export function hasTerminalDevice(): boolean | undefined {
  const calls = libc();
  if (!calls) return undefined;
  const file = calls.open(terminated("/dev/tty"), O_RDWR);
  if (file >= 0) calls.close(file);
  return file >= 0;
}

/** Linux' file for the network that a process is in. */
export function networkFile(pid: number | "self"): string {
  return `/proc/${pid}/ns/net`;
}

/** The network namespace that this process is in ("net:[4026531833]"), where the system has them. */
export function networkNamespace(): string | undefined {
  if (Deno.build.os !== "linux") return undefined;
  const target = new Uint8Array(64);
  const path = terminated(networkFile("self"));
  const length = Number(libc()?.readlink(path, target, BigInt(target.length)) ?? -1);
  return length < 0 ? undefined : new TextDecoder().decode(target.subarray(0, length));
}

function splitAtNul(bytes: Uint8Array): Uint8Array[] {
  const words: Uint8Array[] = [];
  for (let start = 0; start < bytes.length;) {
    const end = bytes.indexOf(0, start);
    words.push(bytes.subarray(start, end < 0 ? bytes.length : end));
    start = end < 0 ? bytes.length : end + 1;
  }
  return words;
}

function terminated(text: string | Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = typeof text === "string" ? new TextEncoder().encode(text) : text;
  const word = new Uint8Array(bytes.length + 1);
  word.set(bytes);
  return word;
}
