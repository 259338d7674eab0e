/** The schema of the block `tracing`. */
import type { Parsed } from './addresses.ts';
import * as Key from './fields.ts';

/** Without credentials: the endpoint is shown by the admin port. */
function parseEndpoint(raw: string): Parsed<string> {
  const url = URL.parse(raw);
  const isPlain = url !== null && `${url.username}${url.password}${url.search}${url.hash}` === '';
  if (isPlain && /^https?:$/.test(url.protocol)) return { value: url.href.replace(/\/+$/, '') };
  return { message: 'must be a URL like http://127.0.0.1:4318, without user, query and fragment' };
}

export const tracingSchema = Key.block(
  'Traces by OpenTelemetry ([how](tracing.md)). Without the block there are none.',
  {
    endpoint: Key.text(
      'URL',
      'The collector, by OTLP over HTTP. Spans are sent to `/v1/traces` below it.',
      parseEndpoint,
      { range: '`http://…`, `https://…`' },
    ),
    sample: Key.decimal(
      0.01,
      [0, 1],
      'Share of the requests that are recorded. Where a peer of `trustedProxies` sends `traceparent`, its sampled flag decides instead.',
    ),
  },
  '0.8',
);
