/**
 * The clients of an imagined installation: IPv4 and IPv6 addresses, ranges and names. A quarter has no limits of its own, half
 * has one of eight limits, a quarter has individual limits for two policies. One in a hundred is unlimited, one is blocked.
 */

import type pg from 'pg';
import { clientAddress } from '../../test/support/client-address.ts';

/** insertClients makes clients 1…count. For speed it disables the triggers and sets the columns that they would set. */
export async function insertClients(client: pg.ClientBase, count: number): Promise<void> {
  await client.query('begin');
  await client.query('set local statement_timeout = 0');
  await client.query('set local session_replication_role = replica');
  await client.query(`
    insert into clients (client_id, mode, capacity, refill_per_second, limits, version_us, changed_xid)
    select
      case
        when n % 10 < 6 then '10.' || (n >> 16) || '.' || (n >> 8) % 256 || '.' || n % 256
        when n % 10 = 6 then '20.' || (m >> 12) || '.' || (m >> 4) % 256 || '.' || (m & 15) * 16 || '/28'
        when n % 10 = 7 then '2001:db8:' || to_hex(1 + m / 65535) || ':' || to_hex(1 + m % 65535) || '::/64'
        else 'customer-' || lpad(n::text, 8, '0')
      end,
      case n % 100 when 0 then 'unlimited' when 50 then 'blocked' else 'limit' end,
      case n % 4 when 0 then null when 1 then 100 + n / 4 else 50 << (n / 4 % 8) end,
      case n % 4 when 0 then null when 1 then 0.5 + n % 1000 else 5 << (n / 4 % 8) end,
      case n % 4 when 1 then jsonb_build_object('per-day',
        jsonb_build_object('capacity', 10000 + n, 'refillPerSecond', 1 + n % 7)) else '{}' end,
      sluice_now_us(), pg_current_xact_id()
    from (select n, n / 10 as m from generate_series(1, ${count}) n) numbered`);
  await client.query('commit');
  await client.query('analyze clients');
}

/** goBack makes the table look like a restored backup: every version is older, and no trigger ran. */
export async function goBack(client: pg.ClientBase): Promise<void> {
  await client.query('begin');
  await client.query('set local session_replication_role = replica');
  await client.query("update clients set version_us = version_us - 1000000, mode = 'blocked'");
  await client.query('commit');
  await client.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sluice'",
  );
}

/** The address of a blocked client, the last one of 1…count. */
export function blockedAddress(count: number): string {
  return clientAddress(count - ((count + 50) % 100));
}

/** The addresses of `amount` clients that are neither blocked nor unlimited, spread over 1…count. */
export function limitedAddresses(count: number, amount: number): string[] {
  const step = Math.floor(count / amount / 10) * 10;
  return Array.from({ length: amount }, (_, index) => clientAddress(index * step + 1));
}
