import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';

const KINDS = {
  [constants.NODE_PERFORMANCE_GC_MINOR]: 'minor',
  [constants.NODE_PERFORMANCE_GC_MAJOR]: 'major',
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL]: 'incremental',
  [constants.NODE_PERFORMANCE_GC_WEAKCB]: 'weak',
} as const;
interface Detail {
  kind: number;
}
const MS_PER_SEC = 1_000;

/** GarbageWatch adds up for how long the collection of garbage has stopped this process; made once, by Reporter. */
export class GarbageWatch {
  readonly seconds = { minor: 0, major: 0, incremental: 0, weak: 0 };

  constructor() {
    const observer = new PerformanceObserver((list) => {
      // Entries of this type have a detail, which @types/node does not know.
      for (const { detail, duration } of list.getEntries() as (PerformanceEntry & { detail: Detail })[]) {
        const kind = KINDS[detail.kind];
        if (kind !== undefined) this.seconds[kind] += duration / MS_PER_SEC;
      }
    });
    observer.observe({ type: 'gc' });
  }
}
