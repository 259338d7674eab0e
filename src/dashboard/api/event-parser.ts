/** More than any event has. */
const MAX_EVENT_CHARS = 8 * 1024 * 1024;

/** ServerEvent is one event; `id` is that of the last event that had one. */
export interface ServerEvent {
  type: string;
  data: string;
  id: string | null;
}

/** EventParser takes the text of a stream in pieces of any size (WHATWG HTML §9.2.6). */
export class EventParser {
  readonly #onEvent: (event: ServerEvent) => void;
  #rest = '';
  /** Of the event so far. */
  #chars = 0;
  #type = 'message';
  #data: string[] = [];
  #id: string | null = null;

  constructor(onEvent: (event: ServerEvent) => void) {
    this.#onEvent = onEvent;
  }

  push(text: string): void {
    const lines = (this.#rest + text).split('\n');
    this.#rest = lines.pop() ?? '';
    for (const line of lines) this.#line(line.endsWith('\r') ? line.slice(0, -1) : line);
    if (this.#chars + this.#rest.length > MAX_EVENT_CHARS)
      throw new Error('an event of the stream is too large');
  }

  #line(line: string): void {
    this.#chars += line.length;
    if (line === '') this.#dispatch();
    else if (line.startsWith('data:')) this.#data.push(textOf(line));
    else if (line.startsWith('event:')) this.#type = textOf(line);
    else if (line.startsWith('id:')) this.#id = textOf(line);
  }

  #dispatch(): void {
    if (this.#data.length > 0) this.#onEvent({ type: this.#type, data: this.#data.join('\n'), id: this.#id });
    this.#type = 'message';
    this.#data = [];
    this.#chars = 0;
  }
}

function textOf(line: string): string {
  return line.slice(line.indexOf(':') + 1).replace(/^ /, '');
}
