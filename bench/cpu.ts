/** What processes have done so far, as /proc says. */

/** CPU time in ms, and how often a thread has woken up. What has ended counts nothing. */
export function activity(pids: readonly number[]): { ms: number; wakeups: number } {
  let [ms, wakeups] = [0, 0];
  for (const pid of pids) {
    try {
      for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
        const task = `/proc/${pid}/task/${name}`;
        ms += parseInt(Deno.readTextFileSync(`${task}/schedstat`)) / 1e6;
        const status = Deno.readTextFileSync(`${task}/status`);
        wakeups += Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)![1]);
      }
    } catch (error) {
      // ESRCH, which Deno throws as a plain Error for a read.
      const isGone = error instanceof Deno.errors.NotFound || /os error 3\)/.test(`${error}`);
      if (!isGone) throw error;
    }
  }
  return { ms, wakeups };
}
