import { Store } from './store.ts';

/**
 * Whether nobody sees this tab. It reads no stream then: a browser has six connections to a server for all of its tabs, and each stream
 * holds one.
 */
export const hidden = new Store(document.hidden);
document.addEventListener('visibilitychange', () => hidden.set(document.hidden));
