/** Whether the garbage collector takes an object: nothing in the process holds it any more. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { waitFor } from './wait.ts';

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** collected waits until the object is gone. */
export async function collected(what: string, object: WeakRef<object>): Promise<void> {
  await waitFor(`${what} to be collected`, () => {
    collect();
    return object.deref() === undefined;
  });
}
