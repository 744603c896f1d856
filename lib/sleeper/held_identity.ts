/** The directory of an identity in the sleeper's hands: its lanes, and what is left when they are gone. */
import { Flight, hasFailedSince } from "../lane/flight.ts";
import { type Hands, HeldLane, type HeldSystem } from "./held_lane.ts";
import { endAbandoned } from "../lane/master.ts";
import { lanesAmong, lanesOf, removeLane } from "../lane/lane.ts";
import { WatchedDir } from "../os/watched_dir.ts";

/** Calls that wait for one that has failed look again within this time, ms: share.ts, LOOK_AGAIN. */
const FAILURE_STAYS = 2000;

export class HeldIdentity {
  readonly #dir: string;
  readonly #hands: Hands;
  readonly #files: WatchedDir;
  readonly #lanes = new Map<string, HeldLane>();

  constructor(dir: string, hands: Hands) {
    this.#dir = dir;
    this.#hands = hands;
    this.#files = new WatchedDir(dir);
  }

  /** Looks after the lanes once, new ones too. "gone": there are none, and the directory is removed. */
  async lookAfter(system: HeldSystem): Promise<"here" | "gone"> {
    const names = this.#files.names();
    if (!names) {
      this.letGo();
      return "gone";
    }
    for (const lane of lanesAmong(this.#dir, names)) {
      if (!this.#lanes.has(lane.name)) this.#lanes.set(lane.name, new HeldLane(lane, this.#hands));
    }
    await Promise.all(Array.from(this.#lanes.values(), (held) => this.#look(held, names, system)));
    return this.#lanes.size === 0 && await this.#clear(system) ? "gone" : "here";
  }

  /** Takes nothing for granted any more. */
  doubt(): void {
    for (const held of this.#lanes.values()) held.doubt();
  }

  /** When the first of the lanes is to be let go, in ms from now. */
  dueIn(system: HeldSystem): number {
    return Math.min(...Array.from(this.#lanes.values(), (held) => held.dueIn(system)));
  }

  letGo(): void {
    for (const held of this.#lanes.values()) held.letGo();
  }

  async #look(held: HeldLane, names: readonly string[], system: HeldSystem): Promise<void> {
    if (await held.lookAfter(names, system) === "here") return;
    this.#lanes.delete(held.lane.name);
    removeLane(held.lane);
    this.#hands.forgetPlans(held.lane);
  }

  /** Removes the directory. False: a call is at work in it. */
  async #clear(system: HeldSystem): Promise<boolean> {
    const now = system.now();
    if (hasFailedSince(this.#dir, now - FAILURE_STAYS, now)) return false;
    using flight = Flight.tryTake(this.#dir);
    // Once more: a lane may have been opened since the look.
    if (!flight || lanesOf(this.#dir).length > 0) return false;
    await endAbandoned(this.#dir, system);
    flight.removeDirectory();
    return true;
  }
}
