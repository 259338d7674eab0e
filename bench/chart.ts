/** The chart of the report: CPU time per request, split into user and system time, one panel per scenario. */
import { figureOf, type MatchupResult, type PeersResult } from './rig/results.ts';

const WIDTH = 760;
const LABEL_WIDTH = 170;
const BAR_WIDTH = 460;
const BAR_HEIGHT = 16;
const ROW_HEIGHT = 22;
const PANEL_HEAD = 34;

interface Bar {
  label: string;
  /** The median over the rounds, as in the table. */
  cpuUs: number;
  /** Between 0 and 1. A share, because the medians of user and system time need not add up to the median of the total. */
  userShare: number;
}

/** chartOf draws an SVG that is readable on light and on dark pages. */
export function chartOf(result: PeersResult): string {
  let top = 8;
  const panels = result.matchups.flatMap((matchup) => {
    const bars = barsOf(result, matchup);
    if (bars.length === 0) return [];
    const panel = panelOf(matchup.title, bars, top);
    top += PANEL_HEAD + bars.length * ROW_HEIGHT + 12;
    return [panel];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" font-family="sans-serif" font-size="12">`,
    '<title>CPU time per request of each balancer, user and system</title>',
    `<rect width="${WIDTH}" height="${top}" fill="#ffffff"/>`,
    ...panels,
    '</svg>\n',
  ].join('\n');
}

function barsOf(result: PeersResult, { name, rows }: MatchupResult): Bar[] {
  return rows.flatMap(({ label }) => {
    const cpuUs = figureOf(result, name, label);
    const userUs = figureOf(result, name, label, 'userUs');
    const systemUs = figureOf(result, name, label, 'systemUs');
    if (cpuUs === null || userUs === null || systemUs === null) return [];
    return [{ label, cpuUs, userShare: userUs / (userUs + systemUs) }];
  });
}

function panelOf(title: string, bars: Bar[], top: number): string {
  const most = Math.max(...bars.map(({ cpuUs }) => cpuUs));
  const lines = bars.map((bar, index) => barOf(bar, top + PANEL_HEAD + index * ROW_HEIGHT, BAR_WIDTH / most));
  const legend =
    `<tspan fill="#2b6cb0">■ user</tspan> <tspan fill="#90cdf4">■ system</tspan>` +
    '<tspan fill="#555555"> · CPU µs per request, less is better</tspan>';
  return [
    `<text x="8" y="${top + 16}" font-weight="bold" fill="#1a202c">${escaped(title)}</text>`,
    `<text x="${WIDTH - 8}" y="${top + 16}" text-anchor="end" font-size="11">${legend}</text>`,
    ...lines,
  ].join('\n');
}

function barOf({ label, cpuUs, userShare }: Bar, top: number, pixelsPerUs: number): string {
  const ours = label.startsWith('sluice');
  const user = cpuUs * userShare * pixelsPerUs;
  const system = cpuUs * (1 - userShare) * pixelsPerUs;
  const baseline = top + 12;
  return [
    `<text x="${LABEL_WIDTH - 6}" y="${baseline}" text-anchor="end" fill="#1a202c"${ours ? ' font-weight="bold"' : ''}>${escaped(label)}</text>`,
    `<rect x="${LABEL_WIDTH}" y="${top}" width="${user.toFixed(1)}" height="${BAR_HEIGHT}" fill="#2b6cb0"/>`,
    `<rect x="${(LABEL_WIDTH + user).toFixed(1)}" y="${top}" width="${system.toFixed(1)}" height="${BAR_HEIGHT}" fill="#90cdf4"/>`,
    `<text x="${(LABEL_WIDTH + user + system + 6).toFixed(1)}" y="${baseline}" fill="#1a202c">${cpuUs.toFixed(cpuUs < 100 ? 1 : 0)}</text>`,
  ].join('');
}

function escaped(text: string): string {
  return text.replace(/&/g, '&amp;').replace(/</g, '&lt;');
}
