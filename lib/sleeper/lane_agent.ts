/** The agents of lanes, and how often they are asked: some show a dialog, or keep a card busy. */
import { hasOtherKeys, notedKeys } from "../lane/agent_keys.ts";
import type { Lane } from "../lane/layout.ts";
import type { LaneRecord } from "../lane/record.ts";
import { writeText } from "../os/files.ts";
import type { System } from "../os/system.ts";
import { AGENT_DEADLINE, agentKeys, isOpenSshAgent } from "../ssh/agent.ts";

/** The keys in the user's agents. */
export class Agents {
  readonly #ask: typeof agentKeys;
  readonly #isOwn: (socket: string) => Promise<boolean>;
  /** Whether each is OpenSSH's own, which may be asked at any time. */
  readonly #kinds = new Map<string, Promise<boolean>>();
  /** Those that took too long once: they are not asked again. */
  readonly #silent = new Set<string>();
  readonly #answers = new Map<string, Promise<readonly string[] | undefined>>();

  constructor(
    system: Pick<System, "commandLines">,
    ask: typeof agentKeys = agentKeys,
    isOwn = (socket: string) => isOpenSshAgent(socket, system),
  ) {
    this.#ask = ask;
    this.#isOwn = isOwn;
  }

  /** Whether OpenSSH's own agent listens at a socket; found out once. */
  isOwn(socket: string): Promise<boolean> {
    return once(this.#kinds, socket, this.#isOwn);
  }

  /** Returns the public keys in the agent at a socket, in base64; `undefined` if it does not say. */
  keysOf(socket: string): Promise<readonly string[] | undefined> {
    return once(this.#answers, socket, () => this.#keysOf(socket));
  }

  /** Forgets the answers so far, so that agents are asked again. */
  forget(): void {
    this.#answers.clear();
  }

  async #keysOf(socket: string): Promise<readonly string[] | undefined> {
    if (this.#silent.has(socket)) return undefined;
    const keys = await this.#ask(socket, { deadline: AGENT_DEADLINE });
    if (keys === "absent") return [];
    if (keys !== "silent") return keys;
    // OpenSSH's own is late only on a busy machine.
    if (!await this.isOwn(socket)) this.#silent.add(socket);
  }
}

/** Returns what is known of a socket, or what is found out now. */
function once<T>(known: Map<string, T>, socket: string, find: (socket: string) => T): T {
  const value = known.get(socket) ?? find(socket);
  known.set(socket, value);
  return value;
}

/** The agent of a lane: the keys that its master may have used, and those that are in it now. */
export class LaneAgent {
  readonly #lane: Lane;
  readonly #record: Pick<LaneRecord, "agent" | "offers">;
  readonly #agents: Agents;
  /** The former, once known. */
  #noted?: readonly string[];
  /** It may be asked at any time, and not only after a call has come. */
  isPolled = false;

  constructor(lane: Lane, record: Pick<LaneRecord, "agent" | "offers">, agents: Agents) {
    this.#lane = lane;
    this.#record = record;
    this.#agents = agents;
  }

  /** Notes its keys if the call that logged in did not: the login may have added one (AddKeysToAgent). */
  async note(): Promise<void> {
    const { agent } = this.#record;
    if (agent === null) return;
    this.isPolled = await this.#agents.isOwn(agent);
    this.#noted = notedKeys(this.#lane);
    if (this.#noted) return;
    this.#noted = await this.#agents.keysOf(agent);
    // As `ssh-add -L` prints them, but for their types.
    const lines = this.#noted?.map((key) => `ssh-key ${key}\n`);
    if (lines) writeText(this.#lane.agent, lines.join(""));
  }

  /** Whether it has other keys now. */
  async hasChanged(): Promise<boolean> {
    const { agent } = this.#record;
    const keys = agent === null ? undefined : await this.#agents.keysOf(agent);
    return keys !== undefined && hasOtherKeys(this.#record, this.#noted, keys);
  }
}
