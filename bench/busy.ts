/** Other work on the machine: loops that each take all of a processor that they get. */
import { endAll } from "../tests/support/processes.ts";

/** Starts so many loops; disposing of them ends them. */
export function startBusy(loops: number): AsyncDisposable {
  const children = Array.from(
    { length: loops },
    () => new Deno.Command("sh", { args: ["-c", "while :; do :; done"], stdin: "null" }).spawn(),
  );
  return {
    async [Symbol.asyncDispose]() {
      await endAll(children.map(({ pid }) => pid));
      await Promise.all(children.map(({ status }) => status));
    },
  };
}
