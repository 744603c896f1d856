/** The launchers `ssh`, `scp` and `sftp`, as an installation has them. */
import { launcherText } from "../../lib/launcher/launcher.ts";
import { BUNDLE_FLAGS, SLEEPER_FLAGS, VERSION } from "../../lib/os/program.ts";
import { BUNDLE, needProgram } from "./programs.ts";

/**
 * The absolute path of an `ssh` that all scenes install instead of ours. The system's own shows whether a
 * test asks only for what plain ssh does; that of an older sshs, whether the test can fail.
 */
const TESTED_SSH = Deno.env.get("SSHS_TEST_SSH");

/**
 * Puts `ssh`, `scp` and `sftp` into an empty directory: launchers that run the bundle with `deno`, or if
 * `plain` the system's own.
 */
export async function writeLaunchers(
  bin: string,
  { plain = false, deno = Deno.execPath() } = {},
): Promise<void> {
  for (const name of ["ssh", "scp", "sftp", ...(plain ? [] : ["sshs"])]) {
    const path = `${bin}/${name}`;
    if (plain) await Deno.symlink(needProgram(name), path);
    else if (TESTED_SSH) await Deno.symlink(TESTED_SSH.replace(/ssh$/, name), path);
    else await Deno.writeTextFile(path, textFor(bin, deno), { mode: 0o755 });
  }
}

/** Returns the text of a launcher in `bin`, as an installation has it. */
function textFor(bin: string, deno: string): string {
  return launcherText({
    version: VERSION,
    uid: Deno.uid() ?? 0,
    bin,
    deno,
    program: BUNDLE,
    flags: BUNDLE_FLAGS,
    sleeperFlags: SLEEPER_FLAGS,
  })!;
}
