/**
 * The worker slots of the instance: those that are wanted, numbered from 0, and those beside them. Beside them are a replacement that
 * starts, until it serves, and workers that were replaced or are wanted no more, until they have ended. Nobody starts those again.
 */
import type { WorkerLink } from './worker-link.ts';
import type { WorkerSlot, WorkerState, WorkerView } from './worker-slot.ts';

/** Fleet is made by the supervisor. */
export class Fleet {
  /** The wanted ones, by their number. */
  readonly slots: WorkerSlot[];
  readonly #beside = new Set<WorkerSlot>();
  readonly #makeSlot: (index: number) => WorkerSlot;

  constructor(count: number, makeSlot: (index: number) => WorkerSlot) {
    this.#makeSlot = makeSlot;
    this.slots = Array.from({ length: count }, (_, index) => makeSlot(index));
  }

  /** all: the wanted ones first. */
  all(): WorkerSlot[] {
    return [...this.slots, ...this.#beside];
  }

  isWanted(slot: WorkerSlot): boolean {
    return this.slots[slot.index] === slot;
  }

  /** makeReplacement makes a slot beside this one, with its number. */
  makeReplacement({ index }: WorkerSlot): WorkerSlot {
    const slot = this.#makeSlot(index);
    this.#beside.add(slot);
    return slot;
  }

  /** replace lets a replacement take the place of the wanted slot of its number, which it returns and which then is beside. */
  replace(by: WorkerSlot): WorkerSlot | undefined {
    const before = this.slots[by.index];
    if (before !== undefined) this.#beside.add(before);
    this.slots[by.index] = by;
    this.#beside.delete(by);
    return before;
  }

  /** resize makes slots or drops the highest ones, which are beside the fleet then. @returns what it made and what it dropped */
  resize(count: number): { made: WorkerSlot[]; dropped: WorkerSlot[] } {
    const dropped = this.slots.splice(count);
    for (const slot of dropped) this.#beside.add(slot);
    const made: WorkerSlot[] = [];
    while (this.slots.length < count) {
      const slot = this.#makeSlot(this.slots.length);
      this.slots.push(slot);
      made.push(slot);
    }
    return { made, dropped };
  }

  /** forget drops a slot that is beside the fleet and has ended. */
  forget(slot: WorkerSlot): void {
    this.#beside.delete(slot);
  }

  /** links are the workers that may be sent messages. */
  links(): WorkerLink[] {
    return this.all().flatMap((slot) => slot.reachableLink ?? []);
  }

  /** servingLinks are those of the wanted workers that serve. */
  servingLinks(): WorkerLink[] {
    return this.slots.flatMap((slot) => (slot.state === 'serving' ? (slot.reachableLink ?? []) : []));
  }

  /**
   * ratedLinks are the workers that serve; where none does, those that drain. Rates are means: that of a replaced worker fades, while its
   * replacement shows the same callers already.
   */
  ratedLinks(): WorkerLink[] {
    const serving = this.servingLinks();
    return serving.length > 0 ? serving : this.links();
  }

  /** everyLink has the workers that start, too: what they are sent waits for them. */
  everyLink(): WorkerLink[] {
    return this.all().flatMap((slot) => slot.link ?? []);
  }

  /** views lists every slot, the wanted ones first. */
  views(): (WorkerView & { wanted: boolean })[] {
    return this.all().map((slot) => ({ ...slot.view(), wanted: this.isWanted(slot) }));
  }

  /** counts is the number of slots by state. */
  counts(): Record<WorkerState, number> {
    const counts: Record<WorkerState, number> = { starting: 0, serving: 0, draining: 0, dead: 0 };
    for (const slot of this.all()) counts[slot.state]++;
    return counts;
  }
}
