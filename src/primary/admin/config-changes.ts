/** What a reload would change: the running configuration beside the one in the file. */
import { createHmac, randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import { type KeyPath, pathText } from '../../config/problems.ts';
import { isMapping } from '../../config/schema/schema-walk.ts';
import type { Settings } from '../../contract/settings.ts';
import { configView, HIDDEN } from './config-view.ts';

/** Paths as in the file. null: there is none on this side. */
interface ConfigChange {
  path: string;
  running: unknown;
  file: unknown;
}

/**
 * configChanges compares two configurations as `GET /api/v1/config` shows them; for its neighbour `…/diff`. Secrets are compared, and
 * not shown: one that changes is *** on both sides.
 */
export function configChanges(running: Settings, file: Settings): ConfigChange[] {
  const salt = randomBytes(32);
  const hide = (text: string): string => HIDDEN + createHmac('sha256', salt).update(text).digest('hex');
  const changes = [...changesIn(configView(running, hide), configView(file, hide), [])];
  return JSON.parse(JSON.stringify(changes).replaceAll(/\*\*\*[0-9a-f]{64}/g, HIDDEN));
}

function* changesIn(running: unknown, file: unknown, path: KeyPath): Generator<ConfigChange> {
  const [before = null, after = null] = [running, file];
  if (isDeepStrictEqual(before, after)) return;
  if (isMapping(before) && isMapping(after)) {
    for (const key of new Set([...Object.keys(before), ...Object.keys(after)]))
      yield* changesIn(before[key], after[key], [...path, key]);
  } else if (isNamedList(before) && isNamedList(after)) yield* changesInList(before, after, path);
  else yield { path: pathText(path), running: before, file: after };
}

/**
 * By the names of the items, so that one more at the beginning is one change. An item that is gone has its old place; where a new one has
 * the same place, both are one change.
 */
function* changesInList(before: object[], after: object[], path: KeyPath): Generator<ConfigChange> {
  const [oldNames, newNames] = [before.map(nameOf), after.map(nameOf)];
  const goneAt = (index: number) => (newNames.includes(oldNames[index]) ? null : before[index]);
  for (const [index, item] of after.entries()) {
    const same = before[oldNames.indexOf(newNames[index])];
    if (same !== undefined) yield* changesIn(same, item, [...path, index]);
    else yield { path: pathText([...path, index]), running: goneAt(index) ?? null, file: item };
  }
  for (const [index, item] of before.entries())
    if (goneAt(index) !== null && (index >= after.length || oldNames.includes(newNames[index])))
      yield { path: pathText([...path, index]), running: item, file: null };
  const stayed = oldNames.filter((name) => newNames.includes(name));
  const order = newNames.filter((name) => oldNames.includes(name));
  if (!isDeepStrictEqual(stayed, order)) yield { path: pathText(path), running: oldNames, file: newNames };
}

function isNamedList(value: unknown): value is object[] {
  return Array.isArray(value) && value.length > 0 && value.every((item) => nameOf(item) !== undefined);
}

/** What tells backends, routes and addresses of `listen` from their neighbours. */
function nameOf(item: unknown): unknown {
  return isMapping(item) ? (item.id ?? item.name ?? item.address) : undefined;
}
