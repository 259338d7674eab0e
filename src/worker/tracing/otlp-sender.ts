/** The way of spans to a collector, by the SDK of OpenTelemetry: OTLP over HTTP with protobuf. Loaded only where `tracing` is written. */
import type { Agent } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ExportResultCode } from '@opentelemetry/core';
import {
  convertLegacyHttpOptions,
  createOtlpHttpExportDelegate,
} from '@opentelemetry/otlp-exporter-base/node-http';
import { ProtobufTraceSerializer } from '@opentelemetry/otlp-transformer';
import type { RequestSpan } from '../../proxy/request-span.ts';
import { spansOf } from './otlp-spans.ts';
import { type Rejection, SEND_MAX_MS, type SpanSender } from './span-sender.ts';

/** Requests that become spans in one turn of the event loop: 1 ms as a rule. */
const PER_TURN = 32;
/** Later the SDK makes no further try. */
const CUT_MS = SEND_MAX_MS + 500;
const COMPONENT = 'otlp_http_span_exporter';

export class OtlpSender implements SpanSender {
  readonly #exporter: ReturnType<typeof exporterOf>;
  /** null until the first batch leaves. */
  #agent: Agent | null = null;
  /** From the answer that is being read; the exporter ends its batch in the same turn. */
  #rejection: Rejection | null = null;

  /** @param endpoint of TracingSettings. What else the exporter can be told it reads from the environment (OTEL_EXPORTER_OTLP_HEADERS). */
  constructor(endpoint: string) {
    this.#exporter = exporterOf(endpoint, {
      onAgent: (agent) => {
        this.#agent = agent;
      },
      onAnswer: (rejection) => {
        this.#rejection = rejection;
      },
    });
  }

  async send(batch: readonly RequestSpan[]): Promise<Rejection | null> {
    const pieces: Uint8Array[] = [];
    for (let from = 0; from < batch.length; from += PER_TURN) {
      if (from > 0) await nextTurn();
      const spans = batch.slice(from, from + PER_TURN).flatMap(spansOf);
      pieces.push(ProtobufTraceSerializer.serializeRequest(spans) ?? new Uint8Array());
    }
    return new Promise((resolve, reject) => {
      // The SDK's time-out is one of silence: an answer that drips would keep its connection, and one of the SDK's 30 places.
      const timer = setTimeout(() => {
        // First: the SDK takes what it has of an answer for a whole one.
        reject(new Error('the collector does not end its answer'));
        this.#agent?.destroy();
      }, CUT_MS).unref();
      this.#exporter.export(pieces, ({ code, error }) => {
        clearTimeout(timer);
        if (code === ExportResultCode.SUCCESS) resolve(this.#rejection);
        else reject(error ?? new Error('the collector refuses the spans'));
        this.#rejection = null;
      });
    });
  }

  close(): Promise<void> {
    return this.#exporter.shutdown();
  }
}

interface ExporterListener {
  onAgent(agent: Agent): void;
  onAnswer(rejection: Rejection | null): void;
}

/** The SDK's OTLPTraceExporter, but for its serializer: that one makes all spans at once, and keeps what the collector answers to itself. */
function exporterOf(endpoint: string, { onAgent, onAnswer }: ExporterListener) {
  const wanted = { url: `${endpoint}/v1/traces`, timeoutMillis: SEND_MAX_MS };
  const headers = { 'Content-Type': 'application/x-protobuf' };
  const serializer = {
    // Messages of protocol buffers in a row are one message with the fields of all.
    serializeRequest: (pieces: readonly Uint8Array[]) => Buffer.concat(pieces),
    deserializeResponse(bytes: Uint8Array) {
      const { partialSuccess } = ProtobufTraceSerializer.deserializeResponse(bytes);
      const { rejectedSpans: spans = 0, errorMessage: message = '' } = partialSuccess ?? {};
      onAnswer(spans > 0 || message !== '' ? { spans, message } : null);
    },
  };
  const options = convertLegacyHttpOptions(wanted, 'TRACES', 'v1/traces', headers);
  const agentFactory = async (protocol: string): Promise<Agent> => {
    const agent = await options.agentFactory(protocol);
    onAgent(agent);
    return agent;
  };
  return createOtlpHttpExportDelegate(
    { ...options, agentFactory },
    serializer,
    COMPONENT,
    { name: 'span', countItems: ({ length }) => length },
    undefined,
  );
}
