/** What the pages made of results share. */
import type { RunFacts } from './results.ts';

/** whenAndWhere says when a result was measured, at which commit and on which machine. */
export function whenAndWhere({ startedAt, revision, machine }: RunFacts): string[] {
  return [
    `Measured ${startedAt.slice(0, 16).replace('T', ' ')} UTC at commit ${revision.commit.slice(0, 10)}${revision.dirty ? ' with local changes' : ''},`,
    `Node.js ${machine.node}, ${machine.cpuCount} × ${machine.cpuModel}, Linux ${machine.kernel}.`,
  ];
}

/** verdictOf is the cell that says whether a bar was reached; null: there is no figure. */
export function verdictOf(reached: boolean | null): string {
  if (reached === null) return '–';
  return reached ? 'reached' : '**not reached**';
}

/** tableOf makes a table in Markdown. */
export function tableOf(titles: string[], rows: string[][]): string[] {
  return [titles, titles.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
}
