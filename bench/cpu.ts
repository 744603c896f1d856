/** Returns the CPU time of processes so far, as /proc says, in ms. Those that have ended count nothing. */
export function cpuOf(pids: readonly number[]): number {
  let ms = 0;
  for (const pid of pids) {
    try {
      for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
        ms += parseInt(Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`)) / 1e6;
      }
    } catch (error) {
      // ESRCH, which Deno throws as a plain Error for a read.
      const isGone = error instanceof Deno.errors.NotFound || /os error 3\)/.test(`${error}`);
      if (!isGone) throw error;
    }
  }
  return ms;
}
