/** What people read of clients and keys; with --json they get the admin port's own. */
import * as z from 'zod';

const limits = z.object({ capacity: z.number(), refillPerSecond: z.number() });

export const clientSchema = z.looseObject({
  clientId: z.string(),
  mode: z.string(),
  capacity: z.number().nullable(),
  refillPerSecond: z.number().nullable(),
  limits: z.record(z.string(), limits),
});
export const keySchema = z.looseObject({
  keyId: z.string(),
  name: z.string().nullable(),
  createdAt: z.string(),
});
export const issuedKeySchema = keySchema.extend({ key: z.string() });

export type ClientView = z.infer<typeof clientSchema>;
export type KeyView = z.infer<typeof keySchema>;

export const CLIENT_HEADINGS = ['CLIENT', 'MODE', 'CAPACITY', 'REFILL/S', 'LIMITS OF OTHER POLICIES'];
export const KEY_HEADINGS = ['KEY ID', 'CREATED', 'NAME'];

/** clientCells is a line of `list`; `-` where the policy's own limits apply. */
export function clientCells(client: ClientView): string[] {
  const { clientId, mode, capacity, refillPerSecond } = client;
  const others = Object.entries(client.limits).map(
    ([policy, own]) => `${policy}=${own.capacity}/${own.refillPerSecond}`,
  );
  return [clientId, mode, String(capacity ?? '-'), String(refillPerSecond ?? '-'), others.join(' ')];
}

export function keyCells({ keyId, createdAt, name }: KeyView): string[] {
  return [keyId, createdAt, name ?? ''];
}

/** clientLines is the answer of `get`. */
export function clientLines(client: ClientView): string[] {
  const [, , capacity, refill, others] = clientCells(client);
  return [
    `client           ${client.clientId}`,
    `mode             ${client.mode}`,
    `capacity         ${client.capacity === null ? 'of the policy' : capacity}`,
    `refillPerSecond  ${client.refillPerSecond === null ? 'of the policy' : refill}`,
    ...(others === '' ? [] : [`other policies   ${others}`]),
  ];
}

/** Table writes rows page by page: its columns are as wide as the first page wants them. */
export class Table {
  readonly #headings: readonly string[];
  #widths: number[] | null = null;

  constructor(headings: readonly string[]) {
    this.#headings = headings;
  }

  /** lines of a page; the first begins with the headings. */
  lines(rows: readonly string[][]): string[] {
    const isFirst = this.#widths === null;
    const page = isFirst ? [[...this.#headings], ...rows] : rows;
    const widths =
      this.#widths ?? this.#headings.map((_, i) => Math.max(...page.map((row) => row[i]?.length ?? 0)));
    this.#widths = widths;
    return page.map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  }
}
