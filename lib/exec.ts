/**
 * This process becomes another program: execv(3) through FFI, the only FFI there is. The session's
 * process then *is* ssh: its pid, its terminal, its signals and its exit status need no handing on.
 */

const LIBC: Partial<Record<typeof Deno.build.os, readonly string[]>> = {
  linux: ["libc.so.6", `libc.musl-${Deno.build.arch}.so.1`],
  darwin: ["libSystem.B.dylib"],
  freebsd: ["libc.so.7"],
};

const SYMBOLS = {
  execv: { parameters: ["buffer", "buffer"], result: "i32" },
  signal: { parameters: ["i32", "pointer"], result: "pointer" },
} as const;

const SIGPIPE = 13;

/** ssh's own status for its failures: ssh(1), EXIT STATUS. */
export const EXIT_FAILURE = 255;

/**
 * Becomes the program at `path` with `argv` (`argv[0]` included) and this process's environment.
 * Comes back only by exiting: with the program's status where it had to be run as a child (no FFI
 * permission, no libc by a known name), with 126 or 127 as a shell does where it cannot be run.
 */
export async function become(path: string, argv: readonly string[]): Promise<never> {
  execv(path, argv);
  Deno.exit(await runAsChild(path, argv));
}

function execv(path: string, argv: readonly string[]): void {
  const libc = openLibc();
  if (!libc) return;
  const encoder = new TextEncoder();
  const words = argv.map((word) => encoder.encode(`${word}\0`));
  const pointers = new BigUint64Array(words.length + 1);
  words.forEach((word, i) => {
    pointers[i] = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(word)));
  });
  // Rust's runtime ignores SIGPIPE, and an ignored signal stays ignored over exec: `ssh host | head`
  // would not end.
  libc.signal(SIGPIPE, null);
  libc.execv(encoder.encode(`${path}\0`), pointers);
}

function openLibc() {
  for (const name of LIBC[Deno.build.os] ?? ["libc.so"]) {
    try {
      return Deno.dlopen(name, SYMBOLS).symbols;
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) return undefined;
      // No libc of that name: dlopen's errors carry no type.
    }
  }
}

/** Signals of a terminal reach the child by themselves: they must only not end us before it. */
const FROM_TERMINAL: readonly Deno.Signal[] = ["SIGINT", "SIGQUIT"];
const FORWARDED: readonly Deno.Signal[] = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"];

async function runAsChild(path: string, argv: readonly string[]): Promise<number> {
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(path, {
      args: argv.slice(1),
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
  } catch (error) {
    const missing = error instanceof Deno.errors.NotFound;
    const said = new TextEncoder().encode(
      `sshs: Cannot run ${path}: ${(error as Error).message}\n`,
    );
    Deno.stderr.writeSync(said);
    return missing ? 127 : 126;
  }
  for (const signal of FROM_TERMINAL) Deno.addSignalListener(signal, () => {});
  for (const signal of FORWARDED) Deno.addSignalListener(signal, () => child.kill(signal));
  const { code } = await child.status;
  return code;
}
