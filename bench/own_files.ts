/** From fcntl.h of Linux. */
const [F_SETFD, FD_CLOEXEC] = [2, 1];

/**
 * Keeps from the calls what the bench's own caller left open above stderr: a call with more open files than
 * an ordinary one has starts no helpers that outlive it, and so waits otherwise.
 */
export function keepOwnFiles(): void {
  const { symbols } = Deno.dlopen("libc.so.6", {
    fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  });
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    if (Number(name) > 2) symbols.fcntl(Number(name), F_SETFD, FD_CLOEXEC);
  }
}
