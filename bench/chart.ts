/** The results as an SVG for README: four situations, and a bar for each way. Pure. */
import { WAYS } from "./lab.ts";
import { number } from "./report.ts";
import type { Row, Table } from "./table.ts";

const { plain, auto, sshs } = WAYS;

/** The situations: the first column of a table, and the column that counts calls without an answer. */
const PANELS = [
  { title: "The second call", id: "warm" },
  { title: "The first call", id: "first" },
  { title: "50 first calls at once", id: "burst/delivered/50", failed: 3, lost: "fail" },
  { title: "A call after the link died", id: "recovery/idle/10", failed: 1, lost: "no answer" },
];

type Panel = typeof PANELS[number];

const WIDTH = 760;
const MARGIN = 20;
/** Where the names of the ways end and the bars begin, and how long a bar is at most. */
const BARS = 340;
const LONGEST = 250;
const STEP = 19;
const BAR = 13;

const STYLE = `
    text { font: 13px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #1f2328; }
    .title { font-weight: 600; } .small { fill: #59636e; font-size: 12px; }
    .page { fill: #ffffff; } .ours { fill: #0969da; } .other { fill: #afb8c1; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; } .small { fill: #9198a1; }
      .page { fill: #0d1117; } .ours { fill: #4493f8; } .other { fill: #59636e; }
    }`;

/** Returns the chart of a run, with `about` below it. */
export function chart(tables: readonly Table[], about: string): string {
  const parts: string[] = [];
  let top = 16;
  for (const shown of PANELS) {
    const table = tables.find(({ id }) => id === shown.id);
    if (table === undefined) continue;
    const rows = [plain, auto, sshs].flatMap((name) =>
      table.rows.find((row) => row.name === name) ?? []
    );
    parts.push(`  <text class="title" x="${MARGIN}" y="${top + 11}">${shown.title}</text>`);
    const most = Math.max(...rows.map(({ cells: [first] }) => first.median));
    rows.forEach((row, i) => parts.push(bar(shown, row, top + i * STEP, LONGEST / most)));
    top += rows.length * STEP + 14;
  }
  const height = top + 20;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="How long ssh takes: plain, with ControlMaster, and with sshs">
  <style>${STYLE}
  </style>
  <rect class="page" width="${WIDTH}" height="${height}" rx="8"/>
${parts.join("\n")}
  <text class="small" x="${MARGIN}" y="${height - 12}">${escape(about)}</text>
</svg>
`;
}

function bar({ failed, lost }: Panel, row: Row, top: number, scale: number): string {
  const { median } = row.cells[0];
  const missing = failed === undefined ? 0 : row.cells[failed].median;
  const width = Math.max(median * scale, 1).toFixed(1);
  const note = missing === 0 ? "" : lost === "fail" ? `, ${number(missing, "")} fail` : `, ${lost}`;
  return `  <text x="${BARS - 8}" y="${top + 11}" text-anchor="end">${row.name}</text>
  <rect class="${
    row.name === sshs ? "ours" : "other"
  }" x="${BARS}" y="${top}" width="${width}" height="${BAR}" rx="2"/>
  <text class="small" x="${BARS + Number(width) + 7}" y="${top + 11}">${
    time(median)
  }${note}</text>`;
}

function time(ms: number): string {
  return ms >= 1000 ? `${number(ms / 1000, "s")} s` : `${ms.toFixed(0)} ms`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
