/** Charts of the last day: inline SVG that anybody can read as a table too. */

import { clock, number, text } from "./owner_api.js";
import { Coming, Panel, useData, useId } from "./owner_parts.js";
import { html } from "./preact.js";

const TOGETHER = 2; // rows of a quarter of an hour that make one bar
const [WIDTH, HEIGHT] = [960, 120];

/** Join rows to longer ones: counts are added, and of what waited the most is kept. */
function joined(rows, slot) {
  const found = [];
  for (let at = 0; at < rows.length; at += TOGETHER) {
    const some = rows.slice(at, at + TOGETHER);
    const sum = (name) => some.reduce((total, row) => total + row[name], 0);
    found.push({
      at: some[0].at,
      until: some.at(-1).at + slot,
      pictures: sum("pictures"),
      failed: sum("failed"),
      cancelled: sum("cancelled"),
      within: sum("within"),
      early: sum("early"),
      late: sum("late"),
      waiting: Math.max(...some.map((row) => row.waiting)),
    });
  }
  return found;
}

// The next number that reads well on an axis.
function ceiling(most) {
  if (most <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= most && Number.isInteger(step));
}

const span = (row) => `${clock(row.at)} – ${clock(row.until)}`;

/** One chart: `series` are `{name, label, tone}`, stacked in each bar; `total` stands at the top. */
function Chart({ title, rows, series, total }) {
  const name = useId();
  const sum = (row) => series.reduce((all, { name: key }) => all + row[key], 0);
  const top = ceiling(Math.max(...rows.map(sum)));
  const step = WIDTH / rows.length;
  const bars = rows.flatMap((row, index) => {
    let below = 0;
    return series.map(({ name: key, label, tone }) => {
      const height = (HEIGHT * row[key]) / top;
      below += height;
      if (!height) return null;
      return html`<rect key=${`${row.at}${key}`} class=${`share ${tone}`} x=${index * step + 1.5} y=${HEIGHT - below} width=${step - 3} height=${height}>
        <title>${span(row)}: ${number(row[key])} ${label}</title></rect>`;
    });
  });
  const all = series.map(({ name: key, label }) => `${label} ${number(rows.reduce((count, row) => count + row[key], 0))}`);
  return html`<figure class="chart" aria-labelledby=${name}>
    <figcaption id=${name}><span class="chart-title">${title}</span><b class="chart-total">${total}</b></figcaption>
    <div class="plot">
      <span class="plot-top" aria-hidden="true">${number(top)}</span>
      <svg viewBox=${`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label=${text("chart.described", { title, parts: all.join(", ") })}>
        <line class="rule" x1="0" y1="0.5" x2=${WIDTH} y2="0.5" /><line class="rule" x1="0" y1=${HEIGHT / 2} x2=${WIDTH} y2=${HEIGHT / 2} />
        ${bars}
        <line class="rule base" x1="0" y1=${HEIGHT - 0.5} x2=${WIDTH} y2=${HEIGHT - 0.5} />
      </svg>
      <p class="plot-times" aria-hidden="true">${[0, 0.25, 0.5, 0.75].map((part) => html`<span>${clock(rows[Math.floor(part * rows.length)].at)}</span>`)}<span>${text("chart.now")}</span></p>
    </div>
    ${series.length > 1 && html`<ul class="legend">${series.map(({ name: key, label, tone }) => html`<li key=${key}><span class=${`swatch ${tone}`}></span><span>${label}</span></li>`)}</ul>`}
    <${Numbers} title=${title} rows=${rows} series=${series} />
  </figure>`;
}

// The table behind a chart, without the rows where nothing happened.
function Numbers({ title, rows, series }) {
  const some = rows.filter((row) => series.some(({ name }) => row[name]));
  return html`<details class="numbers"><summary>${text("chart.numbers")}<span class="unseen"> ${title}</span></summary>
    ${some.length ? html`<div class="scroll" tabindex="0" role="group" aria-label=${title}><table>
      <thead><tr><th scope="col">${text("chart.time")}</th>${series.map(({ name, label }) => html`<th key=${name} scope="col" class="figure">${label}</th>`)}</tr></thead>
      <tbody>${some.map((row) => html`<tr key=${row.at}><th scope="row">${span(row)}</th>${series.map(({ name }) => html`<td key=${name} class="figure">${number(row[name])}</td>`)}</tr>`)}</tbody>
    </table></div>` : html`<p class="quiet">${text("chart.none")}</p>`}
  </details>`;
}

/** The charts of the last day. */
export function Charts() {
  const [data, , away] = useData("charts", 60);
  if (!data) return html`<${Panel} title=${text("charts")}><${Coming} away=${away} /></${Panel}>`;
  const rows = joined(data.rows, data.slot);
  const sum = (name) => data.rows.reduce((all, row) => all + row[name], 0);
  const [within, early, late] = [sum("within"), sum("early"), sum("late")];
  const ended = within + early + late;
  const one = (name, label, tone) => ({ name, label, tone });
  return html`<${Panel} title=${text("charts")} about=${text("charts.about")}>
    <div class="charts">
      <${Chart} title=${text("chart.pictures")} total=${number(sum("pictures"))} rows=${rows} series=${[one("pictures", text("chart.pictures"), "accent")]} />
      <${Chart} title=${text("chart.waiting")} total=${text("chart.most", { n: number(Math.max(...rows.map((row) => row.waiting))) })} rows=${rows}
        series=${[one("waiting", text("chart.waiting"), "soft")]} />
      <${Chart} title=${text("chart.ended")} total=${number(sum("failed"))} rows=${rows}
        series=${[one("failed", text("chart.failed"), "bad"), one("cancelled", text("chart.cancelled"), "dim")]} />
      <${Chart} title=${text("chart.promises")} total=${ended ? text("chart.kept", { share: number((100 * within) / ended) }) : "–"} rows=${rows}
        series=${[one("within", text("chart.within"), "good"), one("early", text("chart.early"), "soft"), one("late", text("chart.late"), "warm")]} />
    </div>
  </${Panel}>`;
}
