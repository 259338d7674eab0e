/**
 * An unordered list whose members know their index, so that adding and removing take constant time. Not a Map: V8 replaces its
 * hash table every few dozen insertions, and each old table refers to the next one. Once a table is in the old generation, it
 * keeps all later members alive until the next full collection: with a connection per request a scavenge copied 60 % of the
 * young generation instead of 2 % (7–14 ms instead of 0.5 ms).
 */

/** `place` is written by the list only. */
export interface Placed {
  place: number;
}

/** The place of what is in no list. */
export const NOWHERE = -1;

/** PlacedList holds each member once; a member belongs to one list at most. */
export class PlacedList<T extends Placed> {
  readonly items: T[] = [];

  add(item: T): void {
    if (item.place === NOWHERE) item.place = this.items.push(item) - 1;
  }

  /** remove lets the last member take the place; without effect on what is not in the list. */
  remove(item: T): void {
    const { place } = item;
    if (place === NOWHERE) return;
    item.place = NOWHERE;
    const last = this.items.pop();
    if (last === undefined || last === item) return;
    this.items[place] = last;
    last.place = place;
  }
}
