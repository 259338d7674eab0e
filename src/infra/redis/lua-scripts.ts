/** The scripts in lua/, beside src/ and dist/. Their names are `<verb>-<noun>-<number of keys, or n for any>.lua`. */
import { readFileSync } from 'node:fs';
import { productFile } from '../product-files.ts';

export interface LuaScript {
  lua: string;
  /** Absent: it is the first argument of each call. */
  numberOfKeys?: number;
}

/** loadLuaScript reads one script, at start-up. Throws if the installation lacks it. */
export function loadLuaScript(fileName: string): LuaScript {
  const keys = /-(\d+|n)\.lua$/.exec(fileName)?.[1];
  if (keys === undefined) throw new TypeError(`${fileName} does not say how many keys it takes`);
  const lua = readFileSync(productFile(`lua/${fileName}`), 'utf8');
  return keys === 'n' ? { lua } : { lua, numberOfKeys: Number(keys) };
}
