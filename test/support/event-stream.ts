/** A reader of server-sent events. */
import { type IncomingMessage, request } from 'node:http';
import type { TestContext } from 'node:test';
import { waitFor } from './wait.ts';

export interface StreamedEvent {
  event: string;
  id: string | null;
  data: Record<string, unknown>;
}

export interface EventReader {
  readonly response: IncomingMessage;
  /** So far. */
  readonly events: StreamedEvent[];
  /** The lines that begin with a colon, so far. */
  readonly comments: string[];
  /** Whether the answer has ended, or was cut. */
  isOver(): boolean;
  close(): void;
}

/** readEvents begins to read once the head has come; the test closes it. @param isPaused it reads nothing */
export function readEvents(
  t: TestContext,
  url: string,
  { headers = {}, isPaused = false }: { headers?: Record<string, string>; isPaused?: boolean } = {},
): Promise<EventReader> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { agent: false, headers }, (response) => {
      const reader = { events: [] as StreamedEvent[], comments: [] as string[] };
      let isOver = false;
      let text = '';
      response.on('close', () => {
        isOver = true;
      });
      response.on('error', () => undefined);
      response.setEncoding('utf8');
      if (!isPaused)
        response.on('data', (chunk: string) => {
          text += chunk;
          for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
            take(text.slice(0, end), reader);
            text = text.slice(end + 2);
          }
        });
      resolve({ ...reader, response, isOver: () => isOver, close: () => sent.destroy() });
    });
    t.after(() => sent.destroy());
    sent.on('error', reject);
    sent.end();
  });
}

/** changesOf are the texts of the event log of a running Sluice, the oldest first. */
export async function changesOf(t: TestContext, adminUrl: string): Promise<string[]> {
  const { events, close } = await readEvents(t, `${adminUrl}/api/v1/events`);
  await waitFor('the first sample', () => events.some(({ event }) => event === 'sample'));
  close();
  return events.filter(({ event }) => event === 'change').map(({ data }) => String(data.text));
}

function take(block: string, { events, comments }: Pick<EventReader, 'events' | 'comments'>): void {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const [, name = '', value = ''] = /^([^:]*): ?(.*)$/s.exec(line) ?? [];
    if (name === '') comments.push(value);
    else fields.set(name, value);
  }
  const data = fields.get('data');
  if (data === undefined) return;
  const event = fields.get('event') ?? 'message';
  events.push({ event, id: fields.get('id') ?? null, data: JSON.parse(data) as Record<string, unknown> });
}
