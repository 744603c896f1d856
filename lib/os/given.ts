/**
 * What the launcher has settled before it runs this program. The rules are the launcher's alone
 * (launcher.sh); here they are taken as given and not found out again.
 */
export interface Given {
  /** The directory of the launcher's files, of this program, and of `bin/ssh`, a launcher. */
  readonly library: string;
  /** The state directory, which exists and is ours as far as sh can tell; "" if there is none. */
  readonly stateDir: string;
  /** The path of the real ssh; "" if there is none. */
  readonly ssh: string;
  /** The job that ends what the call leaves running: a service, a cgroup, a CI's cookie; "" if none. */
  readonly job: string;
  /** The namespaces of the call: "net:[1] pid:[2] mnt:[3] user:[4]"; "" if the system has none. */
  readonly spaces: string;
}
