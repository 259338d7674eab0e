/** The errors by which node says that it or nghttp2 has ended a session for a flood. */
import { systemCodeOf } from '../../../contract/errors.ts';
import type { FloodKind } from './flood-guard.ts';

const NGHTTP2_ERR_TOO_MANY_CONTINUATIONS = -905;

/** floodOf is null for any other error, such as a malformed frame. */
export function floodOf(error: Error): FloodKind | null {
  if ('errno' in error && error.errno === NGHTTP2_ERR_TOO_MANY_CONTINUATIONS) return 'continuation';
  return systemCodeOf(error) === 'ERR_HTTP2_TOO_MANY_INVALID_FRAMES' ? 'invalid_frames' : null;
}
