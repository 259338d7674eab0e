/** How many clients and API keys a table of the directory holds. */
import { isApiKeyAt, isTombstoneAt } from '../../src/clients/packed-record.ts';
import { type RecordTable, SHARDS } from '../../src/clients/record-table.ts';

/** Without tombstones. */
export function clientCountOf(table: RecordTable): number {
  return count(table, (record) => !isApiKeyAt(record, 0));
}

/** Without tombstones. */
export function keyCountOf(table: RecordTable): number {
  return count(table, (record) => isApiKeyAt(record, 0));
}

function count(table: RecordTable, isCounted: (record: Buffer) => boolean): number {
  let found = 0;
  for (let shard = 0; shard < SHARDS; shard++)
    for (const record of table.records(shard)) if (!isTombstoneAt(record, 0) && isCounted(record)) found++;
  return found;
}
