/**
 * Measures how overloaded the worker is, and tells Overload (src/proxy), four times a second. What is looked at:
 *
 * event_loop_delay  the longest turns of the loop. Late are those above `overload.eventLoopDelay`, once three of the last four
 *                   quarters of a second had one: single stalls do not count. Nor do turns that wait for a processor while
 *                   others have it: to refuse requests would not shorten them.
 * heap              live and dead objects, against V8's limit.
 * memory            memory of the control group, if it has a limit.
 *
 * The level rises at once and falls once nothing has asked for it for HOLD_MS:
 *
 * none      → softened  something is above its first bound (`eventLoopDelay`, `heapPercent.soften`)
 * softened  → shedding  the pressure is above 0. With heap and memory it is a function of the percentage. The delay has no second bound: while the
 *                       loop stays late the pressure grows, and shrinks at half the pace afterwards.
 */
import { getHeapStatistics } from 'node:v8';
import { systemClock } from '../contract/clock.ts';
import { toError } from '../contract/errors.ts';
import { OVERLOAD_LEVELS, type OverloadLevel } from '../contract/overload.ts';
import type { OverloadSettings } from '../contract/settings.ts';
import { CgroupMemory } from '../infra/cgroup-memory.ts';
import type { Logger } from '../infra/logging/logger.ts';
import { LoopDelayMonitor } from '../infra/loop-delay.ts';
import type { Overload } from '../proxy/overload.ts';

const TICK_MS = 250;
const HOLD_MS = 5_000;
/** Quarters whose longest turns are compared, and which of them, from the shortest on, must be late. */
const QUARTERS = 4;
const DECISIVE = 1;
/** A worker that has used less CPU time than this part of a quarter is not late by its own work. */
const MIN_CPU_RATIO = 1 / 3;
/** Late quarters before the pressure grows: to end keep-alive may be enough. */
const PATIENCE = 4;
const PRESSURE_STEP = 0.1;
/** The delay alone never refuses all critical requests. */
const MAX_DELAY_PRESSURE = 2.9;
const FULL_PERCENT = 100;
const US_PER_MS = 1_000;

/** LoadSample is what one look has found. Percentages are of the limits; 0 where there is none. */
export interface LoadSample {
  loopDelayMs: number;
  /** CPU time of the process by time that has passed; may be above 1. */
  cpuRatio: number;
  heapPercent: number;
  memoryPercent: number;
}

type Reason = 'event_loop_delay' | 'heap' | 'memory';
interface Finding {
  reason: Reason;
  isAbove: boolean;
  pressure: number;
}

/** OverloadMonitor is made once per worker (worker/data-plane.ts). */
export class OverloadMonitor {
  /** Why the level is what it is; null with `none`. */
  reason: Reason | null = null;
  readonly #overload: Overload;
  readonly #logger: Logger;
  readonly #settings: () => OverloadSettings;
  readonly #loopDelay = new LoopDelayMonitor();
  readonly #cgroup = CgroupMemory.find();
  readonly #delays = new Float64Array(QUARTERS);
  #ticks = 0;
  #lateCount = 0;
  #delayPressure = 0;
  #heldUntilMs = 0;
  #memoryPercent = 0;
  #maxDelayMs = 0;
  #cpu = process.cpuUsage();
  #lookedMs = systemClock.monotonicMs();

  /** @param settings those in force */
  constructor(overload: Overload, logger: Logger, settings: () => OverloadSettings) {
    this.#overload = overload;
    this.#logger = logger;
    this.#settings = settings;
  }

  /** start is called once. The timer does not keep the process alive. */
  start(): void {
    setInterval(() => this.#look(), TICK_MS).unref();
  }

  get level(): OverloadLevel {
    return this.#overload.level;
  }

  /**
   * takeMaxDelayMs is the longest turn of the event loop since the last call. It is a maximum, not a percentile of turns: a stall of
   * 150 ms is one turn in thousands, but one event in seven of that second waits for it.
   */
  takeMaxDelayMs(): number {
    const maxMs = Math.max(this.#maxDelayMs, this.#loopDelay.takeMaxMs());
    this.#maxDelayMs = 0;
    return maxMs;
  }

  #look(): void {
    const loopDelayMs = this.#loopDelay.takeMaxMs();
    this.#maxDelayMs = Math.max(this.#maxDelayMs, loopDelayMs);
    const { used_heap_size: used, heap_size_limit: limit } = getHeapStatistics();
    const heapPercent = (used / limit) * FULL_PERCENT;
    const nowMs = systemClock.monotonicMs();
    const cpuRatio = this.#takeCpuRatio(nowMs);
    this.judge({ loopDelayMs, cpuRatio, heapPercent, memoryPercent: this.#memoryPercent }, nowMs);
    // For the next look: the files of a group may take the kernel a while.
    this.#cgroup?.usedPercent().then(
      (percent) => {
        this.#memoryPercent = percent;
      },
      (thrown) => {
        if (this.#memoryPercent !== 0)
          this.#logger.warn({ err: toError(thrown) }, 'the memory of the control group cannot be read');
        this.#memoryPercent = 0;
      },
    );
  }

  #takeCpuRatio(nowMs: number): number {
    const { user, system } = process.cpuUsage(this.#cpu);
    const passedMs = nowMs - this.#lookedMs;
    this.#cpu = process.cpuUsage();
    this.#lookedMs = nowMs;
    return (user + system) / US_PER_MS / passedMs;
  }

  /** judge is called with each sample; by tests alone with made ones. @param nowMs monotonic */
  judge(sample: LoadSample, nowMs: number): void {
    const { heapPercent } = this.#settings();
    const findings: Finding[] = [
      this.#judgeDelay(sample),
      { reason: 'heap', ...judgePercent(sample.heapPercent, heapPercent) },
      { reason: 'memory', ...judgePercent(sample.memoryPercent, heapPercent) },
    ];
    const worst = findings.reduce((a, b) => (weightOf(b) > weightOf(a) ? b : a));
    const { pressure, isAbove } = worst;
    const wanted = pressure > 0 ? 'shedding' : isAbove ? 'softened' : 'none';
    const { level } = this.#overload;
    if (OVERLOAD_LEVELS.indexOf(wanted) >= OVERLOAD_LEVELS.indexOf(level))
      this.#heldUntilMs = nowMs + HOLD_MS;
    const next = nowMs < this.#heldUntilMs && wanted !== 'shedding' && level !== 'none' ? level : wanted;
    if (isAbove || pressure > 0 || next === 'none') this.reason = next === 'none' ? null : worst.reason;
    this.#overload.set(next, pressure);
    if (next !== level) this.#tell(next, sample);
  }

  #tell(level: OverloadLevel, { loopDelayMs, heapPercent, memoryPercent }: LoadSample): void {
    const facts = {
      overload: level,
      reason: this.reason,
      loopDelayMs: Math.round(loopDelayMs),
      heapPercent: Math.round(heapPercent),
      memoryPercent: Math.round(memoryPercent),
    };
    if (level === 'none') this.#logger.info(facts, 'this worker is no longer overloaded');
    else this.#logger.warn(facts, 'this worker is overloaded');
  }

  #judgeDelay({ loopDelayMs, cpuRatio }: LoadSample): Finding {
    this.#delays[this.#ticks++ % QUARTERS] = cpuRatio < MIN_CPU_RATIO ? 0 : loopDelayMs;
    const sustainedMs = this.#delays.toSorted()[DECISIVE] ?? 0;
    const isAbove = sustainedMs > this.#settings().eventLoopDelayMs;
    this.#lateCount = isAbove ? this.#lateCount + 1 : 0;
    if (this.#lateCount > PATIENCE) this.#raise();
    else if (!isAbove) this.#lower();
    return { reason: 'event_loop_delay', isAbove, pressure: this.#delayPressure };
  }

  /** Passes over priorities that nobody asks for: to refuse them would relieve nothing. */
  #raise(): void {
    const { asked } = this.#overload;
    let pressure = this.#delayPressure;
    while (pressure < 2 && asked[Math.floor(pressure)] === 0) pressure = Math.floor(pressure) + 1;
    this.#delayPressure = Math.min(MAX_DELAY_PRESSURE, pressure + PRESSURE_STEP);
  }

  #lower(): void {
    const { asked } = this.#overload;
    let pressure = this.#delayPressure - PRESSURE_STEP / 2;
    while (pressure > 0 && asked[Math.ceil(pressure) - 1] === 0) pressure = Math.ceil(pressure) - 1;
    this.#delayPressure = Math.max(0, pressure);
  }
}

/**
 * Above `soften` keep-alive ends. From the middle between the bounds on, a share of the requests of low priority is refused, which
 * reaches all at `shed`; from there on all of low and normal priority, and a share of the critical ones, which reaches all at 100 %.
 */
function judgePercent(percent: number, { soften, shed }: OverloadSettings['heapPercent']) {
  const isAbove = percent > soften;
  if (percent >= shed) return { isAbove, pressure: 2 + share(percent, shed, FULL_PERCENT) };
  return { isAbove, pressure: share(percent, (soften + shed) / 2, shed) };
}

function share(value: number, from: number, to: number): number {
  return value <= from ? 0 : Math.min(1, (value - from) / (to - from));
}

function weightOf({ isAbove, pressure }: Finding): number {
  return pressure > 0 ? 1 + pressure : Number(isAbove);
}
