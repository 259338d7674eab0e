/** A container of the product without a container engine: its image's file system, mounted as compose mounts it. Needs root. */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { type Child, runToEnd, spawnChild } from '../support/child.ts';
import { CONTAINER, Jail } from '../support/jail.ts';
import { tempFolder } from '../support/temp-folder.ts';
import type { Stage } from './dockerfile.ts';

/** The user of the image. */
export const USER = 1000;
/** Removes all variables of this process. */
export const NOTHING = Object.fromEntries(Object.keys(process.env).map((name) => [name, undefined]));

export interface Container {
  /** The folder that is /app/data. */
  readonly volume: string;
  start(words: string[], env?: Record<string, string>): Child;
  run(words: string[], env?: Record<string, string>): ReturnType<typeof runToEnd>;
}

/** makeContainer makes one of a built stage. @param files of the image that this one sees changed: the texts by path in /app */
export async function makeContainer(
  t: TestContext,
  stage: Stage,
  files: Record<string, string> = {},
): Promise<Container> {
  const here = tempFolder(t);
  const volume = join(here, 'volume');
  mkdirSync(volume);
  chownSync(volume, USER, USER);
  chmodSync(here, 0o755);
  const mounts = Object.entries(files).flatMap(([path, text], index) => {
    const file = join(here, String(index));
    writeFileSync(file, text);
    return [file, `app/${path}`];
  });
  const jail = await Jail.make(t, CONTAINER, [stage.root, volume, ...mounts]);
  const env = (more = {}) => ({ env: { ...NOTHING, ...stage.env, ...more } });
  return {
    volume,
    start(words, more) {
      const child = spawnChild(...jail.command(words, USER), env(more));
      t.after(() => child.kill());
      return child;
    },
    run: (words, more) => runToEnd(...jail.command(words, USER), env(more)),
  };
}
