/**
 * `sshs --hold DURATION HOST`: keeps a lane open that long, whatever its linger; 0 releases it. If there is
 * no lane, the launcher opens one without a session, as for --warm.
 */
import { basename } from "@std/path/posix/basename";
import { dirname } from "@std/path/posix/dirname";
import { decide, type DecideSystem } from "../call/decide.ts";
import { isOpen, readMaster } from "../lane/lane.ts";
import { identityDir, type Lane, laneAt } from "../lane/layout.ts";
import { isMuxTrouble, MuxConnection } from "../lane/mux_client.ts";
import { openStateDir, stateDirPath } from "../lane/state_dir.ts";
import { placeLibrary } from "../launcher/launcher.ts";
import { removePath, writeText } from "../os/files.ts";
import { pause, type System } from "../os/system.ts";
import { type Message, print, say, words } from "../os/terminal.ts";
import { tellSleeper, type TellSystem } from "../sleeper/sleeper_file.ts";
import { findRealSsh } from "../ssh/real_ssh.ts";
import { learnedOf, seeLanes, type SeeSystem, stateDirOf } from "./seen.ts";
import { lanesMeant } from "./stop.ts";
import { cell } from "./table.ts";
import { commandWords } from "./words.ts";

/** The last moment of JavaScript's clock, ms since the epoch. */
const LAST_MOMENT = 8.64e15;

/** How long the sleeper may take to start and to take the lane, ms. */
const TAKE_DEADLINE = 10_000;

export type HoldSystem = OpenSystem & SeeSystem & TellSystem;

/** Holds the lane of a call for `seconds`, opening it if need be. Returns the exit status. */
export async function hold(
  seconds: number,
  argv: readonly string[],
  system: HoldSystem,
): Promise<number> {
  const host = cell(argv[argv.length - 1]);
  if (seconds === 0) return await release(host, argv, system);
  const until = Math.min(system.now() + seconds * 1000, LAST_MOMENT);
  const opened = await openAndKeep(argv, until, system);
  if (opened.kind === "failed") {
    say(commandWords.failed(host, opened.problem));
    return 1;
  }
  await tellSleeper({ stateDir: stateDirOf(opened.lane) }, system);
  await untilTaken(opened.lane, system);
  print(commandWords.held(host, seconds, new Date(until)));
  return 0;
}

/** Opens the lane of a call and writes down until when to keep it (ms since the epoch). */
async function openAndKeep(
  argv: readonly string[],
  until: number,
  system: OpenSystem,
): Promise<Opened> {
  let opened = await openLane(argv, system, { mayAsk: true });
  // Without a linger, the sleeper may close the lane before it sees that it is kept.
  for (let tries = 0; opened.kind === "open" && tries < 2; tries++) {
    writeText(opened.lane.keep, until < LAST_MOMENT ? `${Math.ceil(until / 1000)}\n` : "forever\n");
    if (isOpen(opened.lane)) break;
    removePath(opened.lane.keep);
    opened = await openLane(argv, system, { mayAsk: true });
  }
  return opened;
}

async function release(
  host: string,
  argv: readonly string[],
  system: DecideSystem & SeeSystem & TellSystem,
): Promise<number> {
  const meant = await lanesMeant(argv, await seeLanes(system), system);
  const held = meant.filter(({ isHeld }) => isHeld);
  for (const { lane } of held) removePath(lane.keep);
  for (const dir of new Set(held.map(({ lane }) => stateDirOf(lane)))) {
    await tellSleeper({ stateDir: dir }, system);
  }
  if (held.length === 0) say(commandWords.notHeld(host));
  else print(commandWords.released(host));
  return held.length === 0 ? 1 : 0;
}

/**
 * Stays connected to the lane until the sleeper has taken it and noted its master: by itself, a master that
 * must not linger exits after a grace of 2 s.
 */
async function untilTaken(lane: Lane, system: Pick<System, "now">): Promise<void> {
  try {
    using _connection = await MuxConnection.connect(lane.socket);
    const end = system.now() + TAKE_DEADLINE;
    while (!readMaster(lane) && system.now() < end) {
      await pause(50);
    }
  } catch (error) {
    if (!isMuxTrouble(error)) throw error; // Otherwise the next call finds it dead.
  }
}

export type Opened =
  | { readonly kind: "open"; readonly lane: Lane }
  /** `wantsAnswer`: ssh would have asked the user something. */
  | { readonly kind: "failed"; readonly problem: Message; readonly wantsAnswer: boolean };

export type OpenSystem = DecideSystem & Pick<System, "run">;

/** The launcher's exit status in open mode if the login failed, as ssh's own: sshs_start(). */
export const LOGIN_FAILED = 255;

/** The same if the call would become plain ssh, for whatever reason: sshs_plain(). */
export const CANNOT_SHARE = 3;

/** What ssh says if it needed a password, passphrase, code or "yes", and BatchMode did not let it ask. */
const WANTS_ANSWER =
  /Permission denied|Host key verification failed|Too many authentication failures/;

/**
 * Opens the lane of a call, or finds it open.
 *
 * @param options.mayAsk ssh asks its questions on the terminal, and says there why it fails; otherwise it
 * asks none (BatchMode)
 * @throws {StateDirError} if there is no state directory to open it in
 */
export async function openLane(
  argv: readonly string[],
  system: OpenSystem,
  options: { mayAsk: boolean },
): Promise<Opened> {
  const launcher = `${await placeLibrary(
    openStateDir({ stateDir: stateDirPath(system) }, system),
    system,
  )}/bin/ssh`;
  const { code, stdout, stderr } = await system.run("/bin/sh", [launcher, ...argv], {
    env: { SSHS_TASK: options.mayAsk ? "open" : "open-batch" },
    showStderr: options.mayAsk,
  });
  if (code === 0) {
    const path = stdout.trimEnd();
    return { kind: "open", lane: laneAt(dirname(path), basename(path)) };
  }
  if (code === CANNOT_SHARE) return failed(await whyNotShared(argv, system));
  const said = stderr.split(/\r?\n/).findLast((line) => line.trim() !== "");
  const fault = said ?? commandWords.cannotLogIn();
  return failed({ fault }, code === LOGIN_FAILED && WANTS_ANSWER.test(stderr));
}

function failed(problem: Message, wantsAnswer = false): Opened {
  return { kind: "failed", problem, wantsAnswer };
}

async function whyNotShared(argv: readonly string[], system: OpenSystem): Promise<Message> {
  const ssh = findRealSsh(system);
  if (ssh === undefined) return words.noSsh();
  const decision = await decide(argv, ssh, system);
  if (decision.kind === "direct") return commandWords.cannotShare(decision.reason, decision.remedy);
  const learned = learnedOf(identityDir(decision), system);
  if (learned) return { fault: learned, hint: commandWords.freshHint(argv) };
  return { fault: commandWords.busyElsewhere() };
}
