/**
 * What the manager of certificates needs beside an authority. A machine that is alone has LocalStore, others share tables.
 */
import type { AcmeChallenge } from '../../contract/messages.ts';

/** A name as it is when it is looked at with the intent to order. */
export interface Claim {
  /** The certificate that all machines have; null: there is none yet. */
  pem: string | null;
  /** Whether the next attempt is this machine's, now. It counts as failed until `settle` says more. */
  isGranted: boolean;
  /** Failures in a row, a granted attempt included. */
  failures: number;
  /** Until the next attempt may begin. */
  waitMs: number;
}

/** Where attempts are written down, and who may make the next one. */
export interface AcmeStore {
  /** accountKey returns the key (PEM) of the account. Where there is none yet, it becomes `ownPem`. */
  accountKey(ownPem: string): Promise<string>;
  /**
   * claim takes the next attempt for a name, if it is time for one and nobody has another certificate than `known`. A
   * machine that dies has failed: until holdMs later no machine tries.
   */
  claim(name: string, known: string | null, holdMs: (failures: number) => number): Promise<Claim>;
  /** settle ends an attempt: the failures in a row, and how long no other one may begin. */
  settle(name: string, failures: number, waitMs: number): Promise<void>;
  /** publish gives a certificate to all machines, and keeps it; absent where this machine is alone. */
  publish?(name: string, pem: string): Promise<void>;
}

/** Who answers the challenges of an order. prepare, start and close are absent where there are no other machines. */
export interface AcmeChallenges {
  /** prepare takes over the certificates of other machines, as far as it can within five seconds; never rejects. */
  prepare?(): Promise<void>;
  /** start resolves once the certificates and challenges of other machines are known, or cannot be. */
  start?(): Promise<void>;
  /** openChallenge resolves once every worker of every machine answers the challenge, or rejects once the signal ends the order. */
  openChallenge(challenge: AcmeChallenge, signal: AbortSignal): Promise<void>;
  closeChallenge(token: string): Promise<void>;
  close?(): Promise<void>;
}
