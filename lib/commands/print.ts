/** The results of our commands: unlike a session's, they go to stdout. */

/** Prints lines whole. A reader that is gone (`sshs --list | head -1`) is nobody's loss. */
export function print(...lines: readonly string[]): void {
  const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
  try {
    for (let done = 0; done < bytes.length;) done += Deno.stdout.writeSync(bytes.subarray(done));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** Prints a value as JSON, without what a terminal could take for more than text. */
export function printJson(value: unknown): void {
  const text = JSON.stringify(value, null, 2);
  print(text.replace(
    /[\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  ));
}
