/** The ways of making a call that are compared, and the links they go over. */

/** How a call is made; the value is its name in the report. */
export const WAYS = {
  launcher: "sshs",
  slow: "sshs, full program",
  mux: "ssh -S, master up",
  auto: "ControlMaster auto",
  plink: "plink -share",
  plain: "plain ssh",
} as const;

export type Way = keyof typeof WAYS;

/** `far` takes 25 ms each way. */
export const LINKS = { loopback: "loopback", far: "50 ms link" } as const;

export type Link = keyof typeof LINKS;

export const EVERY_LINK: readonly Link[] = ["loopback", "far"];
