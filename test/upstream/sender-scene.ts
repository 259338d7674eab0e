/** A sender of requests on a wire without a kernel. */
import { CHUNKED_BODY } from '../../src/contract/request-head.ts';
import type { UpstreamRequest } from '../../src/upstream/exchange.ts';
import { RequestSender } from '../../src/upstream/request-sender.ts';
import { StuckWire } from '../support/stuck-wire.ts';

/** makeSender counts what a sender tells its owner; its wire takes nothing while `stuck`. */
export function makeSender() {
  const wire = new StuckWire();
  const counts = { sent: 0, blocked: 0, unblocked: 0, writable: 0 };
  const sender = new RequestSender(wire, {
    onRequestSent: () => counts.sent++,
    onBlocked: () => counts.blocked++,
    onUnblocked: () => counts.unblocked++,
    onWritable: () => counts.writable++,
  });
  wire.onDrain = () => sender.drained();
  return { sender, wire, counts };
}

export const REQUEST: UpstreamRequest = {
  method: 'POST',
  target: '/',
  headerLines: 'Host: backend\r\n',
  bodyLength: CHUNKED_BODY,
};
/** What REQUEST begins with on the wire. */
export const HEAD = 'POST / HTTP/1.1\r\nHost: backend\r\nTransfer-Encoding: chunked\r\n\r\n';
