/**
 * A plan: what the launcher does with the same arguments from now on, without the program. It is sh text that
 * the launcher sources: tests of everything that the decision depends on, and then what to do.
 */
import { isSystemError, makeDir, removePath, writeWhole } from "../os/files.ts";
import { quote, VERSION } from "../os/program.ts";
import { OF_SESSION } from "../ssh/environment.ts";
import { SMALL_ENVIRONMENT } from "../ssh/request_size.ts";
import type { Watch } from "../ssh/watches.ts";
import { checksumOf, type Conditions } from "./conditions.ts";

/**
 * How far a plan is backdated from when its configuration was read, in ms. Some shells compare whole
 * seconds, so a file that changes in the second after the read must count as newer.
 */
const BACKDATE = 2000;

/**
 * Builds the plan for a key: tests joined by `&&`, and the answer. Before each test sshs_void gets the name of
 * what is tested, so a test that fails leaves it there. The launcher sources the text, so everything in it
 * that is not ours is quoted. Returns `undefined` if something cannot be quoted, a path is not absolute, or a
 * name is not a variable's. Without watches the plan holds only for calls that waited for this answer, which
 * `asker` (a pid) requested.
 */
export function planText(
  key: string,
  conditions: Conditions,
  answer: string,
  asker?: number,
): string | undefined {
  const { environment, isWhole, job, lapses, sent, watches } = conditions;
  const names = [...Object.keys(environment), ...(sent === "all" ? [] : sent)];
  if (environment.PATH === undefined || !(watches || asker)) return undefined;
  if (!names.every((name) => /^[A-Za-z_][A-Za-z0-9_]*$/.test(name))) return undefined;
  const place = `[ "$sshs_version/$sshs_key/$sshs_job" = ${
    quoted([VERSION, key, job].join("/"))
  } ]`;
  const tests = [
    ...["sshs_void=sshs", place],
    ...environmentTests(conditions),
    ...(sent === "all" ? [] : lengthTests(sent)),
    ...(isWhole || sent === "all" ? exportTests(conditions) : []),
    ...(lapses ? timeTests(`"$sshs_dir/${lapses}"`) : []),
    ...(watches ? watchTests(watches) : ["sshs_void=now", `[ "$sshs_asked" = ${asker} ]`]),
    "sshs_void=",
  ];
  // In braces, so that nothing runs unless the whole plan is there.
  const text = `{\n${tests.join(" &&\n")} ||\nreturn\n${answer}}\n`;
  return text.includes(UNQUOTABLE) ? undefined : text;
}

/** What stands in a text of sh for a word that no shell can hold. */
export const UNQUOTABLE = "\0";

/** Returns a text as one word of sh. */
export function quoted(text: string): string {
  return quote(text) ?? UNQUOTABLE;
}

function environmentTests({ environment, hidden }: Conditions): string[] {
  const set = Object.entries(environment).filter(([, value]) => value !== undefined);
  const unset = Object.keys(environment).filter((name) => environment[name] === undefined);
  return [
    // ssh treats an empty variable as unset, if it reads any of these.
    `sshs_void="${unset.map((name) => `\${${name}:+${name} }`).join("")}"`,
    '[ -z "$sshs_void" ]',
    ...set.flatMap(([name, value]) => [
      `sshs_void=${name}`,
      `[ "\${${name}-}" = ${quoted(value!)} ]`,
    ]),
    ...(hidden
      ? [
        `sshs_void='${hidden.names.join(" ")}'`,
        `[ "$(${checksumOf(hidden.names)})" = '${hidden.sum}' ]`,
      ]
      : []),
  ];
}

function lengthTests(names: readonly string[]): string[] {
  if (names.length === 0) return [];
  const sum = names.map((name) => `\${#${name}}`).join(" + ");
  return ["sshs_void=SendEnv", `[ $((${sum})) -le ${SMALL_ENVIRONMENT} ]`];
}

function timeTests(file: string): string[] {
  const isLater = `[ ${file} -nt "$sshs_dir/used" ]`;
  return ["sshs_void=time", `[ -e ${file} ]`, 'true >"$sshs_dir/used"', isLater];
}

/**
 * Returns the tests that need the whole environment: that it is small enough to be sent, and that it has no
 * variable which the plan does not know. They fork once.
 */
function exportTests({ environment, hidden, isWhole, sent }: Conditions): string[] {
  const known = [...Object.keys(environment), ...hidden?.names ?? [], ...OF_SESSION].join(" | ");
  return [
    "sshs_void=environment",
    "sshs_line=$(export -p)",
    ...(sent === "all" ? [`[ \${#sshs_line} -le ${SMALL_ENVIRONMENT} ]`] : []),
    ...(isWhole
      ? [
        "sshs_void= sshs_word=$IFS IFS='\n'",
        `{ set -f
for sshs_line in $sshs_line; do
  case $sshs_line in
  export\\ * | declare\\ -*\\ * | typeset\\ -*\\ *) sshs_line=\${sshs_line%%=*} ;;
  *) continue ;; # of a value
  esac
  case \${sshs_line##* } in
  ${known} | *%%*) ;;
  *) sshs_void="$sshs_void\${sshs_line##* } " ;;
  esac
done
IFS=$sshs_word
set +f
[ -z "$sshs_void" ]; }`,
      ]
      : []),
  ];
}

/**
 * Returns the tests of files. Each checks with `-e` those that it compares: if one is missing, -nt and -ot are
 * true in one shell and false in another.
 */
export function watchTests(watches: readonly Watch[]): string[] {
  const it = '"$sshs_void"';
  const place = (path: string) => path.startsWith("/") ? quoted(path) : UNQUOTABLE;
  return watches.flatMap(({ path, stamp, target }) => {
    const time = stamp && place(stamp);
    return [
      `sshs_void=${place(path)}`,
      time
        ? `[ -e ${it} ] && [ -e ${time} ] && [ ! ${it} -nt ${time} ] && [ ! ${it} -ot ${time} ]`
        : `[ ! -e ${it} ]`,
      ...(target ? [`[ ${it} -ef ${place(target)} ]`] : []),
    ];
  });
}

/**
 * Writes the plan to `<stateDir>/plans`, all or nothing, readable only by its owner. `key` is a path of one or
 * several names. `since` is when the configuration was read (ms since the epoch, taken before `ssh -G`
 * starts): any later change makes the plan void. Does without a plan that the system refuses to write.
 */
export function writePlan(stateDir: string, key: string, text: string, since: number): void {
  const names = key.split("/");
  if (names.some((name) => ["", ".", ".."].includes(name))) return;
  const path = `${stateDir}/plans/${key}`;
  try {
    for (let i = 0; i < names.length; i++) {
      makeDir([`${stateDir}/plans`, ...names.slice(0, i)].join("/"));
    }
    writeWhole(path, text, { mtime: since - BACKDATE });
  } catch (error) {
    if (!isSystemError(error)) throw error;
    removePath(path);
  }
}
