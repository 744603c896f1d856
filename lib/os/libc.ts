/**
 * Calls libc by FFI for what Deno has no call for. Without a libc (no FFI permission, no libc under a name
 * that we know) each function does nothing, or says so by its result.
 */

const NAMES: Partial<Record<typeof Deno.build.os, readonly string[]>> = {
  linux: ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`],
  // A path: macOS looks for a bare name in the current directory too (dlopen(3)).
  darwin: ["/usr/lib/libSystem.B.dylib"],
  freebsd: ["libc.so.7"],
};

const SYMBOLS = {
  execv: { parameters: ["buffer", "buffer"], result: "i32" },
  signal: { parameters: ["i32", "pointer"], result: "pointer" },
  open: { parameters: ["buffer", "i32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
  readlink: { parameters: ["buffer", "buffer", "usize"], result: "isize" },
  fcntl: { parameters: ["i32", "i32"], result: "i32" },
  setsid: { parameters: [], result: "i32" },
  /** glibc only. */
  malloc_trim: { parameters: ["usize"], result: "i32", optional: true },
} as const;

/** Signals by number; these are the same on Linux, macOS and BSD. */
export const SIGNAL_NUMBERS: { readonly [signal in Deno.Signal]?: number } = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGPIPE: 13,
  SIGTERM: 15,
};

/** In signal.h. */
const SIG_IGN = 1n;

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

/** Becomes the program at `path`. Returns only if that fails. */
export function execv(path: string, argv: readonly Uint8Array[]): void {
  const calls = libc();
  if (!calls) return; // Without the permission, pointers cannot be made either.
  const words = argv.map(terminated);
  const pointers = new BigUint64Array(words.length + 1);
  words.forEach((word, i) => {
    pointers[i] = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(word)));
  });
  // Rust's runtime ignores SIGPIPE, and an ignored signal stays ignored across exec: `ssh host | head`
  // would not end.
  calls.signal(SIGNAL_NUMBERS.SIGPIPE!, null);
  calls.execv(terminated(path), pointers);
}

/** Restores the default action of a signal, if it is one that ends programs. */
export function restoreSignal(signal: Deno.Signal): void {
  const number = SIGNAL_NUMBERS[signal];
  if (number !== undefined) libc()?.signal(number, null);
}

/** Ignores a signal, and so do the processes that are started from now on. */
export function ignoreSignal(signal: Deno.Signal): void {
  const number = SIGNAL_NUMBERS[signal];
  if (number !== undefined) libc()?.signal(number, Deno.UnsafePointer.create(SIG_IGN));
}

/**
 * Returns this process's own argv as bytes: Deno.args has U+FFFD in place of what is not UTF-8. `undefined`
 * if the system does not provide it. Linux does, in /proc, which Deno opens only with --allow-all.
 */
export function processArgv(): Uint8Array[] | undefined {
  const bytes = readBytes("/proc/self/cmdline");
  return bytes && splitAtNul(bytes);
}

/**
 * Returns the text of a file in Linux's /proc, which Deno opens only with --allow-all. `undefined` if
 * there is none, or no way to read it.
 */
export function readKernelFile(path: string): string | undefined {
  const bytes = readBytes(path);
  return bytes && new TextDecoder().decode(bytes);
}

function readBytes(path: string): Uint8Array | undefined {
  const calls = Deno.build.os === "linux" ? libc() : undefined;
  if (!calls) return undefined;
  const file = calls.open(terminated(path), 0);
  if (file < 0) return undefined;
  let bytes = new Uint8Array(4096);
  let length = 0;
  for (;;) {
    const count = Number(calls.read(file, bytes.subarray(length), BigInt(bytes.length - length)));
    if (count <= 0) break;
    length += count;
    if (length === bytes.length) bytes = grown(bytes);
  }
  calls.close(file);
  return bytes.subarray(0, length);
}

function grown(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(4 * bytes.length);
  larger.set(bytes);
  return larger;
}

/** detach() checks descriptors up to this number: those that a shell or a job runner passes on are low. */
const DESCRIPTORS = 4096;
/** From fcntl.h. F_GETFD takes no third argument, which arm64 would pass differently. */
const [F_GETFD, FD_CLOEXEC] = [1, 1];

/**
 * Detaches from whoever started this process: leaves its session, terminal and directory, and closes the
 * files it left open, except stdin to stderr. Our own files are close-on-exec, and stay open.
 */
export function detach(): void {
  Deno.chdir("/");
  const calls = libc();
  if (!calls) return;
  calls.setsid();
  for (let descriptor = 3; descriptor < DESCRIPTORS; descriptor++) {
    const flags = calls.fcntl(descriptor, F_GETFD);
    if (flags >= 0 && (flags & FD_CLOEXEC) === 0) calls.close(descriptor);
  }
}

/** Returns unused memory to the system, except `kept` bytes. glibc only. */
export function trimMemory(kept: number): void {
  libc()?.malloc_trim?.(BigInt(kept));
}

/** Returns the pid namespace of this process ("pid:[4026531836]"), if the system has them. */
export function pidNamespace(): string | undefined {
  return linkTarget("/proc/self/ns/pid");
}

/** Returns the network namespace of this process ("net:[4026531833]"), if the system has them. */
export function networkNamespace(): string | undefined {
  return linkTarget("/proc/self/ns/net");
}

function linkTarget(path: string): string | undefined {
  if (Deno.build.os !== "linux") return undefined;
  const target = new Uint8Array(64);
  const length = Number(
    libc()?.readlink(terminated(path), target, BigInt(target.length)) ?? -1,
  );
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
