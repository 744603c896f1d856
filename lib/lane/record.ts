/** What is known of a lane from its start: `<n>.lane`, written once by the starter. */
import { readText, statOf } from "../os/files.ts";
import type { OfferRule } from "../ssh/agent.ts";
import type { Lane } from "./layout.ts";

export interface LaneRecord {
  /** As the user wrote it, and as ssh resolved it: `user@host:port`. */
  readonly destination: string;
  readonly resolved: string;
  /** Seconds that the lane stays after its last session; null: forever. */
  readonly linger: number | null;
  /** Maximum concurrent sessions. */
  readonly maxSessions: number;
  /** Seconds that the master stays when nobody holds it. */
  readonly grace: number;
  /** The master may forward an agent or a display. */
  readonly forwards: boolean;
  /** The socket of the agent whose keys the master may have used. */
  readonly agent: string | null;
  /** Which of the agent's keys ssh offers. */
  readonly offers?: OfferRule;
  /** The pid namespace of its pids ("pid:[4026531836]"), if the system has pid namespaces. */
  readonly pids?: string;
  /** When the certificate that it may have used expires, in seconds since the epoch. */
  readonly until?: number;
  /** Seconds after its start during which it takes sessions; null: no limit. */
  readonly maxAge?: number | null;
}

/** Returns the record of a lane; `undefined` if it is gone or invalid: nobody uses such a lane. */
export function readRecord(lane: Lane): LaneRecord | undefined {
  const text = readText(lane.record);
  return text === undefined ? undefined : parseRecord(text);
}

/** Parses a record. A power failure may leave one empty or truncated. */
function parseRecord(text: string): LaneRecord | undefined {
  let record: LaneRecord | null;
  try {
    record = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const isWhole = typeof record?.destination === "string" && record.maxSessions > 0;
  return isWhole ? record! : undefined;
}

/** Returns when the login was completed, ms since the epoch. */
export function startOf(lane: Lane): number | undefined {
  return statOf(lane.record)?.mtime?.getTime();
}

/** Returns when the lane stops taking sessions, whatever keeps it, ms since the epoch. */
export function endOf(lane: Lane, { until, maxAge }: LaneRecord): number {
  const start = startOf(lane) ?? Infinity;
  return Math.min((until ?? Infinity) * 1000, start + (maxAge ?? Infinity) * 1000);
}

/** Returns until when the lane stays regardless of its linger, ms since the epoch. */
export function keptUntil(lane: Lane): number {
  const text = readText(lane.keep)?.trim() ?? "";
  return text === "forever" ? Infinity : (Number(text) || 0) * 1000;
}
