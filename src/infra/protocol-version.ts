import { hash } from 'node:crypto';
import { PROTOCOL_TEXT } from '../contract/messages.ts';
import { sluiceVersion } from './build-info.ts';

/** The primary and a worker refuse each other when theirs differ. */
export const PROTOCOL_VERSION = protocolVersionOf(sluiceVersion(), PROTOCOL_TEXT);

/** protocolVersionOf differs between any two versions of the product, and between builds of one whose messages have other shapes. */
export function protocolVersionOf(product: string, shapes: string): number {
  return Number.parseInt(hash('sha256', product + shapes).slice(0, 8), 16);
}
