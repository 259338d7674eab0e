import type { RequestSpan } from '../../proxy/request-span.ts';

/** SpanSender makes spans of requests and sends them; TraceExport calls it with one batch after the other. */
export interface SpanSender {
  /** Rejects where the collector has not taken them within SEND_MAX_MS, further tries included. */
  send(batch: readonly RequestSpan[]): Promise<void>;
  close(): Promise<void>;
}

export const SEND_MAX_MS = 5_000;
