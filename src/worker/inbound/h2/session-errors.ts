/** Which of node's errors of a session mean that nghttp2 has ended it for a flood. */
import { systemCodeOf } from '../../../contract/errors.ts';
import type { FloodKind } from './flood-guard.ts';

/** floodOf is null for any other error, such as a malformed frame. */
export function floodOf(error: Error): FloodKind | null {
  switch (systemCodeOf(error)) {
    case 'ERR_HTTP2_TOO_MANY_INVALID_FRAMES':
      return 'empty_data';
    default:
      return null;
  }
}
