/** Which word may have been meant. Pure. */

/** More slips than these and it is a guess. */
const MAX_SLIPS = 2;

/** The candidate that is most like a word, if there is one like it: `lst` and `li` for `list`. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const lower = word.toLowerCase();
  const begun = candidates.filter((candidate) => lower !== "" && candidate.startsWith(lower));
  if (begun.length === 1) return begun[0];
  const [best] = candidates
    .map((candidate) => ({ candidate, slips: slips(lower, candidate) }))
    .filter(({ candidate, slips }) => slips <= MAX_SLIPS && slips < candidate.length / 2 + 0.5)
    .sort((a, b) => a.slips - b.slips);
  return best?.candidate;
}

/** How many letters must be put in, left out or changed (Levenshtein), two swapped ones counting as one. */
function slips(a: string, b: string): number {
  const rows = [Array.from({ length: b.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= a.length; i++) {
    rows[i] = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = rows[i - 1][j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]
        ? rows[i - 2][j - 2] + 1
        : Infinity;
      rows[i][j] = Math.min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, changed, swapped);
    }
  }
  return rows[a.length][b.length];
}
