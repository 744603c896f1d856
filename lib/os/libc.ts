/**
 * What Deno has no call for, from libc by FFI. Where it is not to be had
 * (no FFI permission, no libc by a name that we know) each does nothing, or says so by its result.
 */

const NAMES: Partial<Record<typeof Deno.build.os, readonly string[]>> = {
  linux: ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`],
  // By its path: macOS looks for a bare name in the current directory too (dlopen(3)).
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
  /** Of glibc alone. */
  malloc_trim: { parameters: ["usize"], result: "i32", optional: true },
} as const;

/** Signals by number; these are the same on Linux, macOS and BSD. */
const NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGPIPE: 13, SIGTERM: 15 } as const;

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

/** Has a signal do what it does by default, where it is one that programs are ended by. */
export function restoreSignal(signal: string): void {
  if (signal in NUMBERS) libc()?.signal(NUMBERS[signal as keyof typeof NUMBERS], null);
}

/**
 * This process's own argv as bytes: Deno.args has U+FFFD in place of what is not UTF-8. `undefined`
 * where the system does not tell; Linux does, in /proc, which Deno opens to no one without --allow-all.
 */
export function processArgv(): Uint8Array[] | undefined {
  const bytes = readBytes("/proc/self/cmdline");
  return bytes && splitAtNul(bytes);
}

/**
 * The text of one of Linux' files about processes, which Deno opens to no one without --allow-all.
 * `undefined` where there is none, or no way to read it.
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

/** Descriptors are looked at up to this number: what a shell or a job runner hands on is among the first. */
const DESCRIPTORS = 4096;
/** Of fcntl.h; that one takes no third argument, which arm64 would pass otherwise. */
const [F_GETFD, FD_CLOEXEC] = [1, 1];

/**
 * Leaves whoever has started this process: its session and terminal, its directory, and what it has
 * open beyond stderr. All that is our own is close-on-exec, and stays.
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

/** Gives unused memory back to the system, but for `kept` bytes. glibc only. */
export function trimMemory(kept: number): void {
  libc()?.malloc_trim?.(BigInt(kept));
}

/** The pid namespace that this process is in ("pid:[4026531836]"), where the system has them. */
export function pidNamespace(): string | undefined {
  return linkTarget("/proc/self/ns/pid");
}

/** The network namespace that this process is in ("net:[4026531833]"), where the system has them. */
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
