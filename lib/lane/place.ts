/** A place for a call on a lane: what is asked, and what comes of it. */
import type { Lane } from "./lane.ts";
import type { System } from "../os/system.ts";

/** All that is needed to find a call a place. */
export interface PlaceRequest {
  readonly ssh: string;
  /** The directory of the call's identity, and what goes into it: the identity's text. */
  readonly dir: string;
  readonly identity: string;
  /** As the user wrote it, and as ssh resolved it. */
  readonly destination: string;
  readonly resolved: string;
  /** What must be done before a master can be started; `asking` as below. */
  readonly groundwork: (asking: (open: boolean) => void) => Promise<Groundwork>;
  /** Done while the master logs in. */
  readonly meanwhile: () => Promise<void>;
  /** Told when a question to the user is open, and when it is done. */
  readonly asking: (open: boolean) => void;
  /** The name of the lease. */
  readonly lease: string;
  /** Seconds. */
  readonly linger: number;
  readonly grace: number;
  readonly maxSessions: number;
  readonly forwards: boolean;
  /** It connects through a ProxyCommand of the user's, or through a jump host. */
  readonly proxy?: "command" | "jump";
  /** The configuration forbids questions. */
  readonly batch: boolean;
  readonly quiet: boolean;
  /** Takes what a starting master says. */
  readonly stderr: (bytes: Uint8Array) => void;
}

/** What a master stands on: its jump host's lane. */
export type Groundwork =
  | {
    readonly kind: "ready";
    /** The options that the master is started with. */
    readonly options: readonly string[];
    /** Told the pid of the master that stands on it, or `undefined` when none came up. */
    readonly handOver: (master: number | undefined) => void;
  }
  | Extract<Place, { kind: "refused" }>;

export type Place =
  | { readonly kind: "lane"; readonly lane: Lane; readonly started: boolean }
  /** ssh could not connect or log in, and has said why: exit with its code. */
  | { readonly kind: "refused"; readonly code: number }
  /** `expected`: nothing is wrong with us, and nothing need be said. */
  | { readonly kind: "plain"; readonly reason: string; readonly expected?: boolean };

/** What of the OS it takes to find a place. */
export type PlaceSystem = Pick<System, "env" | "isAlive" | "kill" | "now" | "run">;
