/** State that several components show. */
import { useLayoutEffect, useState } from 'preact/hooks';

/** Store holds one value and tells its subscribers when it is replaced. */
export class Store<T> {
  #value: T;
  readonly #listeners = new Set<() => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    this.#value = value;
    for (const listener of this.#listeners) listener();
  }

  /** Returns what ends the subscription. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }
}

/** useStore returns the value, and draws the component again with each new one. */
export function useStore<T>(store: Store<T>): T {
  const [value, setValue] = useState(store.value);
  useLayoutEffect(() => {
    const follow = () => setValue(() => store.value);
    // It may have changed between the first drawing and this subscription.
    follow();
    return store.subscribe(follow);
  }, [store]);
  return value;
}
