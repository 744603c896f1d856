/** The doctor's look at the programs: the real ssh, Deno, and who is first in PATH. */
import { hasLibc } from "../os/libc.ts";
import { versionOf } from "../call/decision.ts";
import { findRealSsh, isLauncher } from "../ssh/real_ssh.ts";
import type { System } from "../os/system.ts";
import { type Finding, ok, warn } from "./finding.ts";
import { sshVersion } from "./version.ts";

export async function checkPrograms(system: Pick<System, "env" | "run">): Promise<Finding[]> {
  const ssh = findRealSsh(system);
  return [
    ...(ssh === undefined
      ? [warn("there is no real ssh in PATH", "install OpenSSH, or set SSHS_SSH to its path")]
      : checkVersion(ssh, await sshVersion(ssh, system))),
    ok(`Deno ${Deno.version.deno}`),
    hasLibc()
      ? ok("sshs can become ssh (execv)")
      : warn("sshs runs ssh as a child, for there is no FFI", "run it with --allow-ffi"),
    ...["ssh", "scp", "sftp"].flatMap((name) => checkPath(name, system)),
  ];
}

/** What is known of a version of OpenSSH that bears on sharing. */
export function checkVersion(ssh: string, version: string): Finding[] {
  const [major, minor] = versionOf(version);
  const isBefore = (a: number, b: number) => major < a || (major === a && minor < b);
  const found = `${version.split(",")[0]} at ${ssh}`;
  if (major === 0) {
    return [warn(`${found}: not OpenSSH`, "set SSHS_SSH to the path of OpenSSH's ssh")];
  }
  // SSH_ASKPASS_REQUIRE came with 8.4 (its release notes).
  if (isBefore(8, 4)) {
    return [warn(
      `${found}: before 8.4 a shared login cannot ask for a password`,
      "install OpenSSH 8.4 or later, or use keys and an agent",
    )];
  }
  // The rework of IPQoS in 10.1 looks at which sessions have a terminal, and mistook those over a
  // master; 10.2 was made for it (release notes of both, bz3872).
  if (major === 10 && minor === 1) {
    return [warn(
      `${found}: its new IPQoS handling makes shared terminals unusably slow`,
      "install OpenSSH 10.2 or later; until then: SSHS=off ssh HOST for a terminal",
    )];
  }
  return [ok(found)];
}

/** Whether the first program of a name in PATH is ours. */
function checkPath(name: string, system: Pick<System, "env">): Finding[] {
  const dirs = (system.env("PATH") ?? "").split(":").filter((dir) => dir.startsWith("/"));
  const found = dirs.map((dir) => ({ dir, path: `${dir.replace(/\/+$/, "")}/${name}` }))
    .map((place) => ({ ...place, ours: isLauncher(place.path) }))
    .filter(({ ours }) => ours !== undefined);
  const [first] = found;
  if (!first) return [];
  if (first.ours) return [ok(`${name} in PATH is sshs: ${first.path}`)];
  const ours = found.find(({ ours }) => ours);
  return [
    ours
      ? warn(`${first.path} stands in PATH before sshs' own`, `export PATH="${ours.dir}:$PATH"`)
      : warn(`${name} in PATH is ${first.path}, which does not share`, "sh install.sh"),
  ];
}
