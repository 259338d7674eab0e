import { join } from 'node:path';
import type { Settings } from '../contract/settings.ts';

/** DATA_FOLDER is where an installation keeps what is not in its database. */
export const DATA_FOLDER = './data';

/** pathInData is the path of a file or folder of this machine: beside the embedded database, so that both move together. */
export function pathInData({ url, embeddedPath }: Settings['database'], name: string): string {
  return join(url === null ? embeddedPath : DATA_FOLDER, name);
}
