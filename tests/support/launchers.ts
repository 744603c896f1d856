/** The launchers `ssh`, `scp` and `sftp`, as an installation has them. */
import { libraryFiles } from "../../lib/launcher/launcher.ts";
import { putInPlace } from "../../lib/launcher/new_files.ts";
import { BUNDLE, needProgram } from "./programs.ts";

/**
 * The absolute path of an `ssh` that all scenes install instead of ours. The system's own shows whether a
 * test asks only for what plain ssh does; that of an older sshs, whether the test can fail.
 */
const TESTED_SSH = Deno.env.get("SSHS_TEST_SSH");

/**
 * Makes a library in a directory, and returns that of its scripts: launchers that run the bundle with `deno`,
 * or if `plain` the system's own programs.
 */
export function writeLaunchers(
  library: string,
  { plain = false, deno = Deno.execPath() } = {},
): string {
  const bin = `${library}/bin`;
  if (!plain && !TESTED_SSH) {
    putInPlace(libraryFiles(library, BUNDLE, deno), { isShared: true });
    // Plans hold only where nothing has just been changed, and they watch for another ssh in PATH.
    Deno.utimeSync(`${bin}/ssh`, 0, 0);
    return bin;
  }
  Deno.mkdirSync(bin, { recursive: true });
  for (const name of ["ssh", "scp", "sftp"]) {
    const target = plain ? needProgram(name) : TESTED_SSH!.replace(/ssh$/, name);
    Deno.symlinkSync(target, `${bin}/${name}`);
  }
  return bin;
}
