import assert from "node:assert/strict";
import type { RunResult } from "./sandbox.ts";

/** Asserts that a program has succeeded, and has printed this on stdout and nothing on stderr. */
export function assertQuiet({ code, stdout, stderr }: RunResult, expected: string): void {
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: expected, stderr: "" });
}
