/** For the tests of our commands: a scene whose lanes stay open, and ways to look at them. */
import assert from "node:assert/strict";
import type { RunOptions, RunResult } from "./sandbox.ts";
import { Scene, type SceneOptions } from "./scene.ts";

export const DEADLINE = { deadline: 30_000 };

/** What stays in the state directory when nothing is shared any more. */
// A sleeper that was killed leaves its file.
const KEPT =
  /^(plans\/.*|stamps.*|waiting\/|used|sleeper|sleeper\.start|sleeper\.log|[0-9a-f]{16}\/([a-z]+|starter\.\d+|\d+\.leases\/)?)$/;

/** Opens a scene whose lanes linger for 10 minutes. */
export function openScene(options: SceneOptions = {}): Promise<Scene> {
  return Scene.open({ ...options, env: { SSHS_LINGER: "10m", SSHS_LOOK: "2", ...options.env } });
}

/** Writes our settings file. */
export async function writeSettings({ sandbox }: Scene, settings: unknown): Promise<void> {
  const dir = `${sandbox.home}/.config/sshs`;
  await Deno.mkdir(dir, { recursive: true });
  await Deno.writeTextFile(`${dir}/config.json`, JSON.stringify(settings));
}

/** Runs a command of ours. */
export function sshs(
  scene: Scene,
  args: readonly string[],
  options: RunOptions = {},
): Promise<RunResult> {
  return scene.run(["sshs", ...args], options);
}

/** Returns what `--list --json` prints. */
// deno-lint-ignore no-explicit-any
export async function listed(scene: Scene): Promise<any[]> {
  return JSON.parse((await sshs(scene, ["--list", "--json"])).stdout);
}

/** Asserts some parts of a program's result, and shows all of it on failure. */
export function expect({ code, stdout, stderr }: RunResult, want: Partial<RunResult>): void {
  for (const [key, value] of Object.entries(want)) {
    assert.deepEqual({ code, stdout, stderr }[key as "code"], value, `${key}: ${stdout}${stderr}`);
  }
}

/** Waits until nothing is shared, and no process is left. */
export function assertEnded(scene: Scene): Promise<void> {
  return scene.sandbox.assertClean({ ...DEADLINE, ignore: KEPT });
}
