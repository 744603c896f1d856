/**
 * Calls libc by FFI for what Deno has no call for. Without a libc under a name that we know each function does
 * nothing, or returns.
 */

const NAMES = [
  // First and with its path: macOS looks for a bare name in the current directory too (dlopen(3)).
  "/usr/lib/libSystem.B.dylib",
  "libc.so.6",
  `libc.musl-${Deno.build.arch}.so.1`,
  "libc.so.7", // FreeBSD
];

const SYMBOLS = {
  execv: { parameters: ["buffer", "buffer"], result: "i32" },
  signal: { parameters: ["i32", "pointer"], result: "pointer" },
  close: { parameters: ["i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32"], result: "i32" },
  setsid: { parameters: [], result: "i32" },
  /** glibc only. */
  malloc_trim: { parameters: ["usize"], result: "i32", optional: true },
} as const;

let loaded: ReturnType<typeof load> | null = null;

function libc() {
  return (loaded ??= load());
}

function load() {
  for (const name of NAMES) {
    try {
      return Deno.dlopen(name, SYMBOLS).symbols;
    } catch {
      // No libc of that name: dlopen's errors carry no type.
    }
  }
}

/**
 * Becomes the program that the first word names. Each word of its argv has a NUL at its end. Returns only if
 * that fails.
 */
export function execv(words: Uint8Array<ArrayBuffer>): void {
  const start = Deno.UnsafePointer.value(Deno.UnsafePointer.of(words));
  const pointers: bigint[] = [];
  for (let at = 0; at < words.length; at = words.indexOf(0, at) + 1) {
    pointers.push(start + BigInt(at));
  }
  // Rust's runtime ignores SIGPIPE, and an ignored signal stays ignored across exec: `ssh host | head`
  // would not end.
  libc()?.signal(SIGPIPE, null);
  libc()?.execv(words, new BigUint64Array([...pointers, 0n]));
}

/** The same on Linux, macOS and BSD. */
const SIGPIPE = 13;

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

/** How much malloc(3) keeps, bytes: to get it again each time would cost CPU. */
const KEPT = 1024n * 1024n;

/** Returns unused memory, which V8 and malloc(3) (only glibc's) would keep: 3 to 6 MB with 50 lanes. */
export function trimMemory(): void {
  // Needs --expose-gc. The "last resort" collection also compacts what is left.
  (globalThis as { gc?: (how: object) => void }).gc?.({
    type: "major",
    execution: "sync",
    flavor: "last-resort",
  });
  libc()?.malloc_trim?.(KEPT);
}
