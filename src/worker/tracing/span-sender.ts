import type { RequestSpan } from '../../proxy/request-span.ts';

/** Rejection is what a collector says of a batch that it has taken, or the rest of it. */
export interface Rejection {
  /** That it did not take; 0: its message is a warning. */
  spans: number;
  message: string;
}

/** SpanSender makes spans of requests and sends them; TraceExport calls it with one batch after the other. */
export interface SpanSender {
  /** Rejects where the collector has not taken them within SEND_MAX_MS, further tries included. */
  send(batch: readonly RequestSpan[]): Promise<Rejection | null>;
  close(): Promise<void>;
}

export const SEND_MAX_MS = 5_000;
