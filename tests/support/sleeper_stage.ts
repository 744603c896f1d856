import assert from "node:assert/strict";
import { exists } from "../../lib/os/files.ts";
import { roundTripOf } from "../../lib/lane/lane.ts";
import type { Lane } from "../../lib/lane/layout.ts";
import { noteAnswer } from "../../lib/lane/learned.ts";
import { Agents } from "../../lib/sleeper/lane_agent.ts";
import { Sleeper, type SleeperSystem } from "../../lib/sleeper/sleeper.ts";
import { realSystem } from "../../lib/os/system.ts";
import { eventually } from "./eventually.ts";
import { Lanes } from "./lanes.ts";
import { Sandbox } from "./sandbox.ts";
import { Sshd, type SshdOptions } from "./sshd.ts";

const PATIENCE = { deadline: 30_000 };

/** Lanes of {@linkcode Lanes}, and a sleeper in this process that looks after them. */
export class SleeperStage extends Lanes {
  #awake: Promise<number> = Promise.resolve(0);
  /** Added to the wall clock (`offset`) and to the steady one (`ahead`), ms. */
  offset = 0;
  ahead = 0;
  addresses = ["127.0.0.1", "192.0.2.1"];
  /** How often the sleeper has looked. */
  looks = 0;
  /** The keys of every agent. */
  keys: string[] | "silent" = ["AAAAAAAAAAAAAAAA"];
  /** Whether every agent is OpenSSH's own. */
  isOwnAgent = true;
  /** How often an agent was asked. */
  asked = 0;
  /** SSHS_LOOK. */
  look = "0.1";
  readonly system: SleeperSystem = {
    ...realSystem,
    env: (name: string) => name === "SSHS_LOOK" ? this.look : undefined,
    now: () => Date.now() + this.offset,
    steady: () => performance.now() + this.ahead,
    addresses: () => {
      this.looks++;
      return this.addresses;
    },
  };

  /** @param isKnown the server is known to answer pings, as one is after the first idle moment of a lane */
  static async create(options: SshdOptions = {}, isKnown = true): Promise<SleeperStage> {
    const sshd = await Sshd.start(options);
    const stage = new SleeperStage(await Sandbox.create(), sshd);
    if (isKnown) noteAnswer(stage.dir, Date.now());
    return stage;
  }

  /** Wakes the sleeper. */
  wake(system: Partial<SleeperSystem> = {}): void {
    const ask = () => {
      this.asked++;
      return Promise.resolve(this.keys);
    };
    const agents = new Agents(realSystem, ask, () => Promise.resolve(this.isOwnAgent));
    const given = { stateDir: this.sandbox.stateDir, spaces: "" };
    this.#awake = new Sleeper(given, { ...this.system, ...system }, agents).run();
  }

  /** Waits until the sleeper exits by itself; resolves to its status. */
  gone(): Promise<number> {
    return this.#awake;
  }

  /** Waits until the sleeper holds a lane and the server has answered. */
  async held(lane: Lane): Promise<void> {
    await eventually("the far end has answered", () => roundTripOf(lane), PATIENCE);
  }

  /** Wakes the sleeper, and waits until it holds a lane and the server has answered. */
  async hold(lane: Lane): Promise<void> {
    this.wake();
    await this.held(lane);
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    const { stateDir } = this.sandbox;
    if (exists(stateDir)) {
      // In one step, so that the sleeper puts nothing into it meanwhile.
      await Deno.rename(stateDir, `${stateDir}.gone`);
      await Deno.remove(`${stateDir}.gone`, { recursive: true });
    }
    assert.equal(await this.#awake, 0, "without its directory the sleeper goes");
    await super[Symbol.asyncDispose]();
  }

  log(): string {
    return Deno.readTextFileSync(`${this.sandbox.stateDir}/sleeper.log`);
  }
}
