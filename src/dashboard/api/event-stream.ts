/** Reads server-sent events by fetch, because EventSource cannot send the token. */
import { send } from './call.ts';
import { EventParser, type ServerEvent } from './event-parser.ts';

/** The server sends something every 15 s at least; a stream that is silent for longer is dead. */
const SILENCE_MS = 35_000;

/**
 * readEvents calls onEvent for each event until the stream ends. Rejects with CallError where it is refused, and with Error when it
 * is silent or too large. Aborting the signal ends it without an error.
 */
export async function readEvents(
  path: string,
  onEvent: (event: ServerEvent) => void,
  {
    signal,
    headers = {},
    onOpen = () => undefined,
  }: { signal: AbortSignal; headers?: Record<string, string>; onOpen?: () => void },
): Promise<void> {
  const silence = new AbortController();
  const either = AbortSignal.any([signal, silence.signal]);
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    const response = await send(path, { headers, signal: either });
    onOpen();
    const parser = new EventParser(onEvent);
    const decoder = new TextDecoder();
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      parser.push(decoder.decode(value, { stream: true }));
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}
