/** What becomes of a lane by what is seen of its far end. */

/** How late an answer may be, ms, while sessions are open on the lane: a large upload delays it. */
const PATIENCE = 60_000;
/** How long a session may take to open, ms, on a server that cannot be asked: it takes one round trip. */
const STUCK_AFTER = 10_000;
/** After this time without the master's own address nothing comes back on its connection, ms. */
const ADDRESS_GONE = 10_000;

export interface Evidence {
  /** The sessions on the lane: whether each is open (`undefined`: unknown), and how old it is, ms. */
  readonly sessions: readonly { readonly isOpen: boolean | undefined; readonly age: number }[];
  /** A call waits for an answer about the lane. */
  readonly isAwaited: boolean;
  /** The server is known to answer pings: only then its silence proves something. */
  readonly isProven: boolean;
  /** How late the answer to the last ping is, ms; 0 if it is not. */
  readonly silentFor: number;
  /** How long ago the last ping that was answered was sent, ms. */
  readonly answeredAgo: number;
  /** There is no mark, and the server must not be asked for one. */
  readonly isUnknowable: boolean;
  /** How long the machine has been without the master's local address, ms. */
  readonly addressGoneFor: number;
}

/** `end`: its master, so that the calls on it connect by themselves. `retire`: it takes no more sessions. */
export type Verdict = { readonly kind: "end" | "retire"; readonly why: string } | undefined;

/** Judges. Where the system does not say which sessions are open, nothing is ended on a guess. */
export function verdictOn(evidence: Evidence): Verdict {
  const { sessions, isAwaited, isProven, silentFor, answeredAgo } = evidence;
  const waiting = sessions.filter(({ isOpen }) => isOpen === false);
  const isStuck = waiting.some(({ age }) => age > STUCK_AFTER);
  const isSilent = isProven ? silentFor > 0 : isStuck;
  if (waiting.length > 0 && evidence.addressGoneFor >= ADDRESS_GONE) {
    return { kind: "end", why: "its local address is gone, and a session waits to be opened" };
  }
  // None of their commands was sent.
  if (isSilent && waiting.length > 0 && waiting.length === sessions.length) {
    return { kind: "end", why: "the far end is silent, and no session is open yet" };
  }
  if (evidence.isUnknowable && isAwaited) {
    return { kind: "retire", why: "nothing shows that the far end is there" };
  }
  const isUnknown = sessions.every(({ isOpen, age }) => isOpen === undefined && age < answeredAgo);
  // An idle lane stays: the next call waits for its answer.
  const isLate = sessions.length > 0 && (isStuck || isUnknown || silentFor > PATIENCE);
  if (isSilent && (isAwaited || isLate)) return { kind: "retire", why: "the far end is silent" };
}
