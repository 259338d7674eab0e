/** Writes docs/resilience.md from the newest complete results of `make chaos`: of Sluice, and of the peers beside it. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { tableOf, verdictOf, whenAndWhere } from '../rig/pages.ts';
import { type ChaosFaultResult, type ChaosResult, completeOf } from '../rig/results.ts';

const PAGE = fileURLToPath(new URL('../../docs/resilience.md', import.meta.url));

const INTRODUCTION = `What clients notice when something fails around or inside a running Sluice. \`make chaos\` injects each fault of this page.

* **The load.** 1,000 requests a second over 64 connections, at a constant rate: a request is due at its time, whether or not earlier ones are answered. Every request that was due counts. It
  has failed if its connection was refused, ended before the answer was whole, if there was no answer in 10 s, or if the status is 400 or more. The client
  never tries again by itself. Latency counts from the time when the request was due.
* **The setup.** A production build with two workers, three backends in processes of their own, probes once a second, a deadline of 1 s for answers and of 300 ms for one try, ejection after 5
  errors in a row, slow start of 10 s, two retries. The peers are set up to do the same where they can ([bench/chaos/subjects](../bench/chaos/subjects)).
* **Quiet** is the same load just before something is broken; p99 is the latency that 99 of 100 good answers keep.
* **The others**, where a backend is bad, are the requests that were due 1.5 s or more after that began, when it has been ejected. *All* begin with the fault: each worker learns of a slow backend by tries that took
  300 ms, and by then the backend has those that are under way; others wait for one of the 64 connections meanwhile.
* **Slow clients** come 800 a second, and are measured once all are there. Slow readers have the small windows and segments of an attack over a network, and ask for 192 KiB. With the segments of the loopback a few hundred of them take the TCP memory of the whole machine, behind any of
  the servers ([more](operating.md#slow-clients)).
* **A row** is a bar: what must hold while the fault is there, what was measured, and whether it was reached. \`–\` in the column of a peer: the fault or the figure does not exist there.
* **The seed** makes a run repeatable: what is killed when, in which order. Times of the machine are not part of it.`;

/** reportOf returns the text of docs/resilience.md. @param peers results of other servers, for the columns beside ours */
export function reportOf(ours: ChaosResult, peers: readonly ChaosResult[]): string {
  const titles = ['fault', 'bar', 'Sluice', '', ...peers.map(({ subject }) => subject)];
  return [
    '# Resilience',
    '',
    '<!-- Written by bench/chaos/report.ts (make chaos). Change that, not this. -->',
    '',
    INTRODUCTION,
    '',
    ...whenAndWhere(ours),
    `Seed ${ours.seed}. Load average ${ours.loadAverage.before} before and ${ours.loadAverage.after} after.`,
    ...peers.map(({ subject, version, startedAt, seed }) => {
      return `${subject} ${version}: ${startedAt.slice(0, 16).replace('T', ' ')} UTC, seed ${seed}.`;
    }),
    '',
    ...tableOf(
      titles,
      ours.faults.flatMap((fault) => rowsOf(fault, peers)),
    ),
    '',
    'To repeat: `make chaos` (all, some twenty-five minutes), `make chaos ONLY=backend-killed,flapping SEED=7`, `make chaos SHORT=1`,',
    '`make chaos PEER=haproxy`, `make chaos PEER=nginx`, `make chaos ONLY=soak SOAK_MIN=60`.',
    '',
  ].join('\n');
}

function rowsOf(fault: ChaosFaultResult, peers: readonly ChaosResult[]): string[][] {
  const { name, title, problem, findings } = fault;
  if (findings.length === 0) return [[title, '', `no figure: ${problem}`, '–', ...peers.map(() => '')]];
  return findings.map(({ bar, measured, reached }, i) => [
    i === 0 ? title : '',
    bar,
    measured,
    verdictOf(reached),
    ...peers.map((peer) => cellOf(peer, name, bar)),
  ]);
}

function cellOf({ faults }: ChaosResult, name: string, bar: string): string {
  const fault = faults.find((each) => each.name === name);
  const finding = fault?.findings.find((each) => each.bar === bar);
  if (finding === undefined) return fault === undefined || fault.problem === '' ? '–' : 'no figure';
  return finding.reached === false ? `**${finding.measured}**` : finding.measured;
}

/** writeReport writes the page, and returns a sentence about it. */
export function writeReport(): string {
  const results = completeOf('chaos');
  const of = (subject: string) => results.findLast((each) => each.subject === subject);
  const ours = of('sluice');
  if (ours === undefined) return 'no complete result of Sluice yet, so no docs/resilience.md';
  const peers = ['nginx', 'haproxy'].flatMap((name) => of(name) ?? []);
  writeFileSync(PAGE, reportOf(ours, peers));
  return `docs/resilience.md from the run of ${ours.startedAt}`;
}

if (import.meta.main) console.log(writeReport());
