/**
 * What a server has shown of itself, kept for each identity for a day. Most servers answer a ping and bear
 * many sessions on a connection. Some network devices, and some small servers, do not, and nothing but
 * their behaviour tells: ssh says what program it talks to only under -v.
 *
 *     direct       calls go direct: the server allows one session a connection (the second line says so)
 *     ended-early  the last connection ended together with its first session
 *     sessions     no more sessions than this number at once on a connection
 *     several      it has borne a second session
 *     pings        "answers"; "once" after a first ping without an answer; "mute" after a second, on another
 *                  connection: such a server may end the connection for a ping
 *
 * Each counts until its mtime, which sh can compare without starting a program.
 */
import { readText, removePath, setModified, statOf, writeText } from "../os/files.ts";

/** In ms. */
const DAY = 24 * 3600_000;
/** How long a number of sessions is kept that was seen once, ms: one killed client's may still be open. */
const ONCE = 10 * 60_000;

const FACTS = ["direct", "ended-early", "sessions", "several", "pings"] as const;
type Fact = typeof FACTS[number];

/** Returns why calls of an identity go direct at `now` (ms since the epoch), and until when, if they do. */
export function directOf(dir: string, now: number): { until: number; why: string } | undefined {
  const text = learned(dir, "direct", now);
  if (text === undefined) return undefined;
  const [until, why = ""] = text.split("\n");
  return { until: Number(until), why };
}

/** Returns how many sessions a server of an identity bears at once on a connection, if that was learned. */
export function sessionsOf(dir: string, now: number): number | undefined {
  return Number(learned(dir, "sessions", now)) || undefined;
}

/** Returns what is known of how a server takes pings. */
export function pingsOf(dir: string, now: number): "answers" | "once" | "mute" | undefined {
  const word = learned(dir, "pings", now);
  return word === "answers" || word === "once" || word === "mute" ? word : undefined;
}

/** Records that a ping was answered. */
export function noteAnswer(dir: string, now: number): void {
  if (pingsOf(dir, now + DAY / 2) === "answers") return; // Noted not long ago.
  learn(dir, "pings", "answers", now);
}

/** Records that the first ping on a connection was not answered, or has ended the connection. */
export function noteNoAnswer(dir: string, now: number): void {
  const known = pingsOf(dir, now);
  if (known !== "answers") learn(dir, "pings", known ? "mute" : "once", now);
}

/** Records that a server refused a session while `count` others were on the connection. */
export function noteRefusal(dir: string, count: number, now: number): void {
  if (count < 1) return;
  const isKnown = readText(`${dir}/sessions`)?.trim() === `${count}`;
  learn(dir, "sessions", `${count}`, now, isKnown ? DAY : ONCE);
}

/**
 * Records that a connection ended together with its first session. After the second in a row, calls of
 * the identity go direct.
 */
export function noteEarlyEnd(dir: string, now: number): void {
  if (learned(dir, "ended-early", now) === undefined) return learn(dir, "ended-early", "", now);
  removePath(`${dir}/ended-early`);
  noteDirect(dir, "its server allows one session per connection", now);
}

/** Records why calls of an identity go direct for a day. */
export function noteDirect(dir: string, why: string, now: number): void {
  learn(dir, "direct", `${Math.floor((now + DAY) / 1000)}\n${why}`, now);
}

/** Returns the text of a fact, if it counts at `now`. */
export function learned(dir: string, fact: Fact, now: number): string | undefined {
  const until = statOf(`${dir}/${fact}`)?.mtime?.getTime() ?? 0;
  return until > now && until <= now + DAY + 1000 ? readText(`${dir}/${fact}`)?.trim() : undefined;
}

/** Records a fact, for a day unless `validFor` (ms) is given. */
export function learn(dir: string, fact: Fact, text: string, now: number, validFor = DAY): void {
  writeText(`${dir}/${fact}`, `${text}\n`);
  setModified(`${dir}/${fact}`, now + validFor);
}

/** Forgets what was learned about an identity: a new login may show something else. */
export function forgetLearned(dir: string): void {
  for (const name of [...FACTS, "terminal"]) removePath(`${dir}/${name}`);
}
