import { hash } from 'node:crypto';
import { PROTOCOL_TEXT } from '../contract/messages.ts';
import { sluiceVersion } from './build-info.ts';

/** Differs between any two versions of the product, and of its messages; the primary and a worker refuse each other when theirs differ. */
export const PROTOCOL_VERSION = Number.parseInt(
  hash('sha256', sluiceVersion() + PROTOCOL_TEXT).slice(0, 8),
  16,
);
