/** What a decision on a call consists of: what it rests on, and what is known about a call that is shared. */
import type { Forward } from "../lane/mux_protocol.ts";
import type { LaneRecord } from "../lane/record.ts";
import type { Message } from "../os/terminal.ts";
import type { SshCall } from "../ssh/arguments.ts";
import type { SshConfig } from "../ssh/config_dump.ts";
import type { SettingsFile } from "./settings.ts";

/** What a decision is based on: the arguments, and what was read for them. */
export interface Basis {
  readonly call: SshCall;
  /** The directory that the call is made in. */
  readonly cwd: string;
  readonly config: SshConfig;
  /** How long ssh took to read its configuration, ms. */
  readonly took: number;
  /** When we began to read it, ms since the epoch. */
  readonly since: number;
  /** The configuration files that ssh read. */
  readonly texts: readonly { readonly path: string; readonly text: string }[];
  /** Our own settings file, with its path whether or not it exists. */
  readonly settings: SettingsFile | undefined;
  /** The files of keys and tickets that ssh looks for, whether or not they exist. */
  readonly files?: readonly string[];
  /** Whether ssh may answer otherwise at any moment: a `Match exec`, a network, a script in its place. */
  readonly mayChange?: boolean;
  /** Whether a plan for it lapses after an hour or two: a first Kerberos ticket may come unseen. */
  readonly lapses?: boolean;
}

/** The call becomes plain ssh with the user's own arguments. */
export interface Direct {
  readonly kind: "direct";
  readonly reason: string;
  /** What to type so that the call is shared. */
  readonly remedy?: string;
  /** A message for the user now: something is wrong that they did not choose. */
  readonly notice?: Message;
  /** What the decision is based on, if that is more than the arguments. */
  readonly basis?: Basis;
  /** The control socket of the lane that the call talks to (-O): see control.ts. */
  readonly socket?: string;
}

/** A shared call: everything known about it, down to the master's command line. */
export interface Shared extends Basis {
  readonly kind: "share";
  readonly stateDir: string;
  /** The name of the identity, and what it consists of. */
  readonly identity: string;
  readonly identityText: string;
  /** The name of the identity for copies, if they have connections of their own. */
  readonly copies?: string;
  /** What is known of a lane that this call opens. */
  readonly record: LaneRecord;
  /** What the session asks its master to forward. */
  readonly listens: readonly Forward[];
  readonly quiet: boolean;
  /** Whether a shell can tell that the same arguments still lead to the same decision. */
  readonly isWatchable: boolean;
  /** The jump host's call. */
  readonly jump?: Shared;
  /** A message for the user: the settings are wrong. */
  readonly notice?: Message;
}

/** Returns a decision that the call goes direct. */
export function direct(reason: string, remedy?: string): Direct {
  return { kind: "direct", reason, remedy };
}

/** Returns the call and those of its jump hosts. */
export function callsOf(shared: Shared): Shared[] {
  return [shared, ...(shared.jump ? callsOf(shared.jump) : [])];
}
