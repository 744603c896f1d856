/** Asks when processes were born: one child process for all that is asked at the same moment. */
import { births, type System } from "./system.ts";

export class BirthRegister {
  readonly #system: Pick<System, "run">;
  #pids: number[] = [];
  #answer?: Promise<ReadonlyMap<number, string>>;

  constructor(system: Pick<System, "run">) {
    this.#system = system;
  }

  /** The births of these processes, among others; see `births`. */
  of(pids: readonly number[]): Promise<ReadonlyMap<number, string>> {
    this.#pids.push(...pids);
    // Asked when all that run now have added what they want to know.
    return this.#answer ??= Promise.resolve().then(() => this.#ask());
  }

  #ask(): Promise<ReadonlyMap<number, string>> {
    const pids = this.#pids;
    this.#pids = [];
    this.#answer = undefined;
    return births(pids, this.#system);
  }
}
