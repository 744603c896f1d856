/** Every word that our own commands print, but for the tables' heads, the manual and the doctor's. */
import type { Command } from "./command.ts";
import type { LaneState, SeenLane } from "./seen_lane.ts";
import { duration } from "./table.ts";

export const commandWords = {
  misuse: ({ reason, hint }: Extract<Command, { kind: "misuse" }>) => `${reason}; try: ${hint}`,

  nothingShared: () => "Nothing is shared",
  noSleeper: () =>
    "No sleeper is awake: what is idle goes by itself soon, and the next call wakes one",
  nothingToStop: (name: string, there: readonly string[]) =>
    there.length === 0
      ? `Nothing is shared, so there is no ${name} to stop`
      : `No ${name} is shared; there is ${[...new Set(there)].join(", ")}`,
  closed: (host: string, sessions: number) =>
    `${host}: takes no new sessions; ends with its last (${count(sessions, "session")})`,
  stopped: (host: string, sessions: number) =>
    sessions > 0 ? `${host}: stopped, with ${count(sessions, "session")}` : `${host}: stopped`,
  notStopped: (host: string, pid: number) =>
    `${host}: its master does not end; try: kill -KILL ${pid}`,

  doesNotLinger: (host: string) =>
    `logged in, but its linger is 0; try: sshs --hold 10m ${host}, or set a linger`,
  warming: (up: number, failed: number, total: number) =>
    `sshs: ${up} of ${total} up${failed > 0 ? `, ${failed} failed` : ""} ...`,
  warmed: (up: number, total: number) => `${up} of ${total} up`,

  held: (host: string, seconds: number, until: Date) =>
    seconds === Infinity
      ? `${host}: held for ever`
      : `${host}: held for ${duration(seconds)}, until ${until.toLocaleString("sv")}`,
  notHeld: (host: string) => `${host}: nothing is held`,
  released: (host: string) => `${host}: no longer held`,

  inside: () => "it would run inside another call of sshs",
  laneReason(state: LaneState | undefined) {
    if (state === undefined) return "nothing is against it; the call would log in and open a lane";
    return state === "unverified"
      ? "a lane is open; the call would ask its far end first"
      : "a lane is open";
  },
  newLane: () => "none yet: a connection master would be started",
  laneFacts: ({ lane, record, sessions, state }: SeenLane) =>
    `${lane.name} (${state}, pid ${record.pid}, ${sessions} of ${record.maxSessions} in use)`,
  launcher: (hasPlan: boolean) =>
    hasPlan ? "has a plan for these words" : "has no plan for these words, and starts sshs",
} as const;

/** So many things. */
export function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}
