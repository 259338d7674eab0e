/** What has happened in an instance, as the event log keeps it and the admin port tells it. */

export const EVENT_KINDS = [
  'backend_state',
  'panic',
  'reload',
  'worker',
  'store',
  'database',
  'certificate',
  'instance',
  'admin',
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

/** The subject of a reload that somebody asked for. */
export const CONFIGURATION = 'configuration';

export type Severity = 'info' | 'warning' | 'error';

/** EventActor is who caused an event through the admin port. */
export interface EventActor {
  /** admin: by the token of the port; none: the port has no token. */
  who: 'admin' | 'none';
  /** The address of the caller. */
  from: string;
  requestId: string;
}

export interface EventEntry {
  /** Rises by one with each event, also over restarts, as the first one of a process has the milliseconds of its start. */
  number: number;
  /** ISO 8601, UTC. */
  at: string;
  kind: EventKind;
  severity: Severity;
  /** One plain sentence, 500 characters at most. Names in it are as others gave them. */
  text: string;
  /** What it is about, such as `app/10.0.0.12:80`, `worker 1`, `client acme`; null: the instance. */
  subject: string | null;
  /** null: nobody asked for it. */
  actor: EventActor | null;
  /** The facts of the sentence; each is 2,000 characters of JSON at most, with `…` where more was left out. */
  data: Record<string, unknown>;
}
