/** Reads server-sent events of the admin port (WHATWG HTML, section 9.2), as far as Sluice writes them. */
import type { IncomingMessage } from 'node:http';

export interface ServerEvent {
  event: string;
  data: string;
}

/** Far more than a sample with hundreds of backends. */
const MAX_EVENT_LENGTH = 8 * 1024 * 1024;

/** eventsOf yields each event of an answer; for follow.ts. Throws when the connection breaks off or an event is too long. */
export async function* eventsOf(response: IncomingMessage): AsyncGenerator<ServerEvent> {
  let rest = '';
  for await (const chunk of response.setEncoding('utf8')) {
    const blocks = (rest + chunk).split('\n\n');
    rest = blocks.pop() ?? '';
    if (rest.length > MAX_EVENT_LENGTH) throw new Error('an event is too long');
    for (const block of blocks) {
      const event = eventOf(block);
      if (event !== null) yield event;
    }
  }
}

/** null: a comment, or a field that nobody reads. */
function eventOf(block: string): ServerEvent | null {
  const fields = block.split('\n').map((line) => /^(event|data): ?(.*)$/.exec(line));
  const valuesOf = (name: string) =>
    fields.filter((field) => field?.[1] === name).map((field) => field?.[2] ?? '');
  const data = valuesOf('data');
  return data.length === 0 ? null : { event: valuesOf('event').at(-1) ?? 'message', data: data.join('\n') };
}
