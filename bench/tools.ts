/** The programs that the cases need beside ssh, from Debian's packages where they are missing. */
import { findProgram, run } from "../tests/support/programs.ts";
import { progress } from "./progress.ts";

/** Program: package. */
const PACKAGES: Readonly<Record<string, string>> = {
  hyperfine: "hyperfine",
  plink: "putty-tools",
  puttygen: "putty-tools",
  git: "git",
  rsync: "rsync",
};

/** Installs what is missing, as root where there is apt-get. Resolves to what is missing still. */
export async function installTools(): Promise<string[]> {
  const lacking = missing();
  if (lacking.length === 0 || Deno.uid() !== 0 || !findProgram("apt-get")) return lacking;
  const packages = [...new Set(lacking.map((program) => PACKAGES[program]))];
  progress(`installing ${packages.join(", ")}`);
  try {
    await run("apt-get", ["update"]);
    await run("apt-get", ["install", "--yes", "--no-install-recommends", ...packages]);
  } catch (error) {
    progress(`${(error as Error).message}`);
  }
  return missing();
}

function missing(): string[] {
  return Object.keys(PACKAGES).filter((program) => !findProgram(program));
}
