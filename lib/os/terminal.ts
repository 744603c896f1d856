/**
 * Every word that sshs prints. All of it goes to stderr (stdout belongs to the session), begins with
 * "sshs:", and says what to do next where there is something to do. Nothing is printed under -q,
 * BatchMode=yes or LogLevel=QUIET.
 */
import { isSystemError } from "./files.ts";

const encoder = new TextEncoder();

/** Text from elsewhere, made harmless for a terminal: control characters become visible. */
export function harmless(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, (char) => {
    const code = char.charCodeAt(0);
    return code < 0x20 ? `^${String.fromCharCode(code + 64)}` : `\\u${code.toString(16)}`;
  });
}

/** Writes bytes to stderr whole. A stderr that is closed, or a file on a full disk, is nobody's loss. */
export function writeStderr(bytes: Uint8Array): void {
  try {
    for (let done = 0; done < bytes.length;) done += Deno.stderr.writeSync(bytes.subarray(done));
  } catch (error) {
    if (!(isSystemError(error) || error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** One line of ours on stderr, whatever is in it. */
export function say(line: string): void {
  writeStderr(encoder.encode(`sshs: ${harmless(line).replaceAll("\n", "^J")}\n`));
}

export const words = {
  noSsh: () => "Cannot find the real ssh: there is none in PATH but sshs; set SSHS_SSH to its path",
  notShared: (why: string) => `Not shared: ${why}`,
  waiting: (destination: string) => `Waiting for another call that is logging in to ${destination}`,
  settings: (problem: string) => `Not read: ${problem}; using the defaults`,
} as const;
