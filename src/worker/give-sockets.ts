/**
 * A program: gives the listening sockets of an orphan to the next primary, and ends. The orphan starts it, because node can send
 * descriptors by documented means only over the channel with which a process was started (NODE_CHANNEL_FD): here the primary's
 * connection. It accepts nothing.
 */
import { Socket } from 'node:net';
import { FIRST_INHERITED_FD, GIVEN_COUNT } from '../contract/descriptors.ts';

/** The primary answers each socket within milliseconds. */
const GIVE_MS = 5_000;

if (import.meta.main) {
  setTimeout(() => process.exit(1), GIVE_MS).unref();
  process.once('disconnect', () => process.exit(0));
  for (let index = 0; index < Number(process.env[GIVEN_COUNT]); index++) {
    const socket = new Socket({ fd: FIRST_INHERITED_FD + index, readable: false, writable: false });
    process.send?.({ index }, socket, { keepOpen: true });
  }
}
